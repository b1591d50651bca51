"""The words of a report: what may be said about two return paths is decided here, not by a person.

"better than X" needs four things at once: SPA p below 0.05, DSR above 0.95, PBO below 0.2, and a
lead that survives doubled costs. Whatever is missing or undefined counts as not shown.
"""

from __future__ import annotations

from dataclasses import dataclass

from strategy.evaluation.inference import Interval

SPA_P_MAX = 0.05
DSR_MIN = 0.95
PBO_MAX = 0.20


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of the ensemble against one rival; None is unknown, hence not shown.

    ``difference`` is the paired difference of annual Sharpe, ``difference_doubled`` that with all
    costs doubled.
    """

    rival: str
    spa_p: float | None
    dsr: float | None
    pbo: float | None
    difference: Interval | None
    difference_doubled: Interval | None
    trials: int


def missing(evidence: Evidence) -> tuple[str, ...]:
    """Name every condition of "better" that does not hold."""
    found = []
    if evidence.spa_p is None or not evidence.spa_p < SPA_P_MAX:
        found.append(f"SPA p {_number(evidence.spa_p)}, needed below {SPA_P_MAX}")
    if evidence.dsr is None or not evidence.dsr > DSR_MIN:
        found.append(f"DSR {_number(evidence.dsr)}, needed above {DSR_MIN}")
    if evidence.pbo is None or not evidence.pbo < PBO_MAX:
        found.append(f"PBO {_number(evidence.pbo)}, needed below {PBO_MAX}")
    doubled = evidence.difference_doubled
    if doubled is None or not doubled.estimate > 0.0:
        found.append("the lead does not survive doubled costs")
    if evidence.difference is None or not evidence.difference.low > 0.0:
        found.append("the interval of the difference holds 0")
    return tuple(found)


def headline(evidence: Evidence) -> str:
    """Return the one sentence that a report may begin with."""
    lead = "undefined" if evidence.difference is None else str(evidence.difference)
    trials = f"{evidence.trials} trial{'s' if evidence.trials != 1 else ''} counted"
    if missing(evidence):
        verdict = f"not distinguishable from {evidence.rival}"
    else:
        verdict = f"better than {evidence.rival}"
    return f"The ensemble is {verdict}: difference of annual Sharpe {lead}; {trials}."


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
