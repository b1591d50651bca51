"""Was the risk what sizing took it to be? Volatility of full positions, and losses beyond a bound.

A full position is held long all the time, sized as the ensemble is. Its forecast deviation of a bar
is its size times the volatility that sizes are held against. Reported: in how many windows of 90
days the realised volatility lay within 15 % of the forecast, and whether losses beyond 1.645
forecast deviations came as often as a normal bound says (5 %), and not in clusters; the same of a
bound that is learned as bars close (``strategy.evaluation.loss_bound``).

Sources: Kupiec, Journal of Derivatives 3 (1995), unconditional coverage; Christoffersen,
International Economic Review 39 (1998), independence. Both are likelihood ratios, chi-square(1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategy.evaluation.loss_bound import TAIL_FRAC

Floats = NDArray[np.float64]

WINDOW_DAYS = 90
NEAR_FRAC = 0.15
BOUND = 1.6448536269514722


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskFigures:
    """Figures of a full position; None where nothing defines them (no window, no forecast).

    ``near_frac`` share of windows within 15 %; ``ratio`` realised over forecast volatility of all
    bars; ``beyond_frac`` share of bars with a loss beyond the bound; ``coverage_p`` and
    ``independence_p`` the tests' p-values: small ones reject the bound. The ``learned_`` ones are
    those of the learned bound.
    """

    windows: int
    near_frac: float | None
    ratio: float | None
    bars: int
    beyond_frac: float | None
    coverage_p: float | None
    independence_p: float | None
    learned_beyond_frac: float | None
    learned_coverage_p: float | None
    learned_independence_p: float | None


def risk_figures(
    return_T: Floats, size_T: Floats, volatility_T: Floats, bound_T: Floats, year_bars: float
) -> RiskFigures:
    """Judge forecasts ``volatility_T`` (a year, 0 where unknown) by the returns that followed.

    ``bound_T`` is the learned bound of a unit's loss, infinite where it is not known.
    """
    known = volatility_T > 0.0
    held_T = (size_T * return_T)[known]
    foreseen_T = (size_T * volatility_T)[known] / math.sqrt(year_bars)
    if not len(held_T):
        return RiskFigures(
            windows=0,
            near_frac=None,
            ratio=None,
            bars=0,
            beyond_frac=None,
            coverage_p=None,
            independence_p=None,
            learned_beyond_frac=None,
            learned_coverage_p=None,
            learned_independence_p=None,
        )
    length = max(2, round(year_bars / 365.25 * WINDOW_DAYS))
    count = len(held_T) // length
    ratios = [
        _ratio(held_T[n * length : (n + 1) * length], foreseen_T[n * length : (n + 1) * length])
        for n in range(count)
    ]
    is_beyond_T = held_T < -BOUND * foreseen_T
    learned = known & np.isfinite(bound_T)
    is_learned_T = return_T[learned] < -bound_T[learned]
    count_learned = int(is_learned_T.sum())
    return RiskFigures(
        windows=count,
        near_frac=float(np.mean([abs(r - 1.0) <= NEAR_FRAC for r in ratios])) if ratios else None,
        ratio=_ratio(held_T, foreseen_T),
        bars=len(held_T),
        beyond_frac=float(is_beyond_T.mean()),
        coverage_p=coverage_p(int(is_beyond_T.sum()), len(is_beyond_T), TAIL_FRAC),
        independence_p=independence_p(is_beyond_T),
        learned_beyond_frac=float(is_learned_T.mean()) if len(is_learned_T) else None,
        learned_coverage_p=coverage_p(count_learned, len(is_learned_T), TAIL_FRAC),
        learned_independence_p=independence_p(is_learned_T),
    )


def coverage_p(beyond: int, bars: int, tail_frac: float) -> float | None:
    """Return Kupiec's p-value that so many losses are the share ``tail_frac``; None for no bar."""
    if bars < 1:
        return None
    ratio = 2.0 * (_logs(beyond, bars, beyond / bars) - _logs(beyond, bars, tail_frac))
    return _survival(ratio)


def independence_p(is_beyond_T: NDArray[np.bool_]) -> float | None:
    """Return Christoffersen's p-value that losses do not cluster; None without both kinds."""
    before_T, after_T = is_beyond_T[:-1], is_beyond_T[1:]
    calm, loud = int((~before_T).sum()), int(before_T.sum())
    if not calm or not loud:
        return None
    from_calm, from_loud = int((after_T & ~before_T).sum()), int((after_T & before_T).sum())
    both = (from_calm + from_loud) / (calm + loud)
    apart = _logs(from_calm, calm, from_calm / calm) + _logs(from_loud, loud, from_loud / loud)
    return _survival(2.0 * (apart - _logs(from_calm + from_loud, calm + loud, both)))


def _ratio(held_T: Floats, foreseen_T: Floats) -> float:
    return float(held_T.std() / math.sqrt(float(np.mean(foreseen_T**2))))


def _logs(hits: int, bars: int, share: float) -> float:
    """Return the log likelihood of so many hits; what never came costs nothing."""
    found = hits * math.log(share) if hits else 0.0
    return found + ((bars - hits) * math.log1p(-share) if hits < bars else 0.0)


def _survival(ratio: float) -> float:
    """Return P(chi-square with one degree of freedom > ratio)."""
    return math.erfc(math.sqrt(max(ratio, 0.0) / 2.0))
