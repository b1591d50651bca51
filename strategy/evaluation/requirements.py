"""What a judgement must satisfy to be believed, said line by line: met, missed, or not to be said.

    R1   not inferior to equal weight: lead at least 0, its lower end at least -0.30
    R2   "better" is said only where everything that it needs was shown
    R3   the mixture's wealth is behind no candidate by more than the log of its prior share
    R4   risk: windows of 90 days near the forecast, losses beyond the learned bound neither too
         many nor in clusters, no position above its limit
    R5   what the model believes of the next bar is not too bold, or it believes nothing; nine bars
         in ten end inside the band around it
    R7   no decision knows its future, and the live classes decide the same
    R8   what is charged for trading is within a fifth of what orders of past runs paid
    R10  every part was taken away once, with an interval, whatever it showed

None of them forbids or allows a claim: detectors and headline do. R6 and R9 need no line of their
own: the table of regimes and the seal say them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from strategy.evaluation.backtest import Backtest
from strategy.evaluation.calibration_figures import Slope
from strategy.evaluation.comparison import Variant
from strategy.evaluation.cost_figures import ORDERS_MIN, CostFigures
from strategy.evaluation.detectors import Finding
from strategy.evaluation.inference import Interval
from strategy.evaluation.risk_figures import RiskFigures

LEAD_MIN, LEAD_LOW_MIN = 0.0, -0.30
NEAR_FRAC_MIN, P_MIN = 0.80, 0.05
BOUND_SLACK = 1e-6
SLOPES, BAND = (0.5, 1.5), (0.88, 0.92)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One line; ``is_met`` None where the bars do not determine it."""

    name: str
    is_met: bool | None
    said: str


def requirements(
    run: Backtest,
    *,
    lead: Interval | None,
    headline: str,
    missing: Sequence[str],
    risk: RiskFigures,
    calibration: Sequence[Slope],
    band_frac: float | None,
    findings: Sequence[Finding],
    ablations: Sequence[Variant],
    charged: CostFigures | None = None,
) -> Iterator[Requirement]:
    """Yield every line."""
    yield Requirement(
        name="R1 not inferior to equal weight",
        is_met=None if lead is None else lead.estimate >= LEAD_MIN and lead.low >= LEAD_LOW_MIN,
        said=f"lead {'undefined' if lead is None else lead}",
    )
    yield Requirement(
        name="R2 better only where shown",
        is_met=("better than" in headline) == (not missing),
        said="all shown" if not missing else f"{len(missing)} conditions not shown, no claim made",
    )
    yield _bound(run)
    yield _risk(run, risk)
    yield _forecast(calibration[-1], band_frac)
    leaks = [finding for finding in findings if finding.name in ("truncation", "streaming")]
    yield Requirement(
        name="R7 no decision knows its future",
        is_met=all(finding.is_clean for finding in leaks) if leaks else None,
        said="; ".join(finding.said for finding in leaks) or "not looked for",
    )
    yield _charged(charged)
    undefined = sum(row.change is None for row in ablations)
    yield Requirement(
        name="R10 every part taken away",
        is_met=bool(ablations),
        said=f"{len(ablations)} ablations with paired intervals, {undefined} undefined",
    )


def _forecast(slope: Slope, band_frac: float | None) -> Requirement:
    """Hold the forecast of a bar against the bar; one that is shrunk to nothing is not too bold."""
    words = "no forecast: shrunk to nothing"
    is_met: bool | None = True
    if slope.slope is not None:
        words = f"slope {slope.slope:+.2f} [{slope.low:+.2f}, {slope.high:+.2f}]"
        is_met = SLOPES[0] <= slope.slope <= SLOPES[1]
    if band_frac is None:
        is_met, inside = None, "undefined"
    else:
        is_met, inside = is_met and BAND[0] <= band_frac <= BAND[1], f"{band_frac:.1%}"
    return Requirement(
        name="R5 forecasts not too bold",
        is_met=is_met,
        said=f"{words}; {inside} of bars inside the 90 % band around it",
    )


def _charged(charged: CostFigures | None) -> Requirement:
    """Hold the costs of the plan against what orders of past runs paid, where there are some."""
    said = "no orders of past runs were given"
    if charged is not None:
        said = f"{charged.orders:,} orders, {ORDERS_MIN} are needed"
        if charged.total is not None:
            said = (
                f"{charged.modelled_bps:.2f} bps charged, {charged.total} paid by "
                f"{charged.orders:,} orders"
            )
        if charged.error_frac is not None:
            said += (
                f": error {charged.error_frac:+.1%} "
                f"[{charged.error_low_frac:+.1%}, {charged.error_high_frac:+.1%}]"
            )
    return Requirement(
        name="R8 costs as in past runs",
        is_met=None if charged is None else charged.is_met,
        said=said,
    )


def _bound(run: Backtest) -> Requirement:
    """Hold the mixture against the candidate that made most; priors are part of its wealth."""
    own, best = float(run.followed.log_wealth_T[-1]), float(run.followed.log_wealth_J.max())
    name = run.followed.candidate_names[int(run.followed.log_wealth_J.argmax())]
    return Requirement(
        name="R3 wealth bound",
        is_met=own >= best - BOUND_SLACK,
        said=f"log wealth {own:+.3f}, of the best candidate ({name}) with its prior {best:+.3f}; "
        f"{run.followed.beyond_clip:.0f} deviations beyond the clip",
    )


def _risk(run: Backtest, risk: RiskFigures) -> Requirement:
    most = run.plan.exposure_frac_max
    above = float((abs(run.position_T) - most * run.size_T).max())
    # a position that is held unchanged while its limit shrinks stays within one hysteresis
    above -= float(run.plan.size.hysteresis_frac * run.size_T.max())
    parts = (risk.near_frac, risk.learned_coverage_p, risk.learned_independence_p)
    is_met = None
    if None not in parts:
        near, coverage, independence = (part or 0.0 for part in parts)
        is_met = near >= NEAR_FRAC_MIN and min(coverage, independence) >= P_MIN and above <= 1e-9
    words = ["undefined" if part is None else f"{part:.2f}" for part in parts]
    return Requirement(
        name="R4 risk as foreseen",
        is_met=is_met,
        said=f"{words[0]} of {risk.windows} windows near, losses beyond the learned bound: "
        f"coverage p {words[1]}, independence p {words[2]}; "
        f"{'no position' if above <= 1e-9 else 'a position'} above its limit",
    )
