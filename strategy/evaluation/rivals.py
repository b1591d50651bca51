"""What the ensemble is compared with: simple strategies that pay the same costs at the same size.

Row t of every array is bar t: a position is chosen with what was known at the close of t - 1, held
through bar t, and earns its return. One that needs no agent uses prices only. The leading training
bars are for learning (which agent was best, OAMP's weights); every path returned begins flat at the
first test bar, so the first entry is paid for too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategy.evaluation.execution import held_positions
from strategy.evaluation.optimistic_mixture import mixture_weights

Floats = NDArray[np.float64]

MOMENTUM_DAYS = 28
DAY_S = 86_400.0


class StageError(ValueError):
    """The arrays do not describe one market with one history of proposals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One market and what the agents proposed on it.

    ``return_T``: simple return of the price in each bar. ``target_TN``: each agent's target, in
    [-1, 1]. ``size_T``: position as a share of equity at a full target, the ensemble's own sizing,
    in [0, inf). ``deviation_T``: forecast deviation of the bar's return, above 0. ``cost_frac_T``:
    cost of a unit of turnover. ``hysteresis_frac``: smaller changes are left, as
    ``strategy.evaluation.execution`` has it; 0: every change is made. Raises StageError where
    shapes or ranges differ.
    """

    names: tuple[str, ...]
    return_T: Floats
    target_TN: Floats
    size_T: Floats
    deviation_T: Floats
    cost_frac_T: Floats
    bar_s: float
    training_bars: int
    hysteresis_frac: float = 0.0

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit each other."""
        bars = len(self.return_T)
        if self.target_TN.shape != (bars, len(self.names)) or not self.names:
            raise StageError(f"targets {self.target_TN.shape}, not {(bars, len(self.names))}")
        if {self.size_T.shape, self.deviation_T.shape, self.cost_frac_T.shape} != {(bars,)}:
            raise StageError("sizes, deviations and costs need one value a bar")
        if not 2 <= self.training_bars <= bars - 2:
            raise StageError(f"{self.training_bars} training bars of {bars}")
        if not (np.isfinite(self.return_T).all() and (self.return_T > -1.0).all()):
            raise StageError("returns must be finite and above -1")
        if not (np.abs(self.target_TN) <= 1.0).all():
            raise StageError("targets must lie in [-1, 1]")
        if not (np.isfinite(self.size_T).all() and (self.size_T >= 0.0).all()):
            raise StageError("sizes must be finite and not negative")
        if not (np.isfinite(self.deviation_T).all() and (self.deviation_T > 0.0).all()):
            raise StageError("deviations must be finite and above zero")
        if not ((self.cost_frac_T >= 0.0) & (self.cost_frac_T < 1.0)).all() or self.bar_s <= 0.0:
            raise StageError("costs must lie in [0, 1), the bar must last")


@dataclass(frozen=True, slots=True, kw_only=True)
class RivalPath:
    """What one strategy did in the test bars; ``tradable`` is false where it knew the outcome.

    ``gross_T``, ``cost_T`` and ``net_T`` (their difference) are fractions of equity per bar.
    """

    name: str
    position_T: Floats
    gross_T: Floats
    cost_T: Floats
    net_T: Floats
    tradable: bool = True


def rivals(stage: Stage) -> tuple[RivalPath, ...]:
    """Return every rival's path over the test bars, in the order of a report."""
    test = slice(stage.training_bars, None)
    full_T = np.ones(len(stage.return_T))
    own_TN = agent_returns(stage)
    trained = _best(own_TN[: stage.training_bars])
    hindsight = _best(_agents_in_test(stage))
    mixed_T = np.sum(mixture_weights(own_TN / stage.deviation_T[:, None]) * stage.target_TN, axis=1)
    sized = {
        "vol-targeted buy and hold": full_T,
        "vol-targeted momentum": momentum_target(stage),
        "equal weight": stage.target_TN.mean(axis=1),
        "majority vote": majority_target(stage.target_TN),
        "best in training": stage.target_TN[:, trained],
        "OAMP": mixed_T,
    }
    found = [
        follow("cash", 0.0 * full_T[test], stage),
        follow("buy and hold", full_T[test], stage),
    ]
    found += [follow(name, (stage.size_T * of_T)[test], stage) for name, of_T in sized.items()]
    best_T = (stage.size_T * stage.target_TN[:, hindsight])[test]
    found.append(follow("best in hindsight", best_T, stage, tradable=False))
    return tuple(found)


def follow(name: str, position_T: Floats, stage: Stage, *, tradable: bool = True) -> RivalPath:
    """Hold these positions (shares of equity) through the test bars, from flat, at the costs."""
    test = slice(stage.training_bars, None)
    return_T = stage.return_T[test]
    if position_T.shape != return_T.shape:
        raise StageError(f"{len(position_T)} positions for {len(return_T)} test bars")
    if stage.hysteresis_frac > 0.0:
        position_T = held_positions(position_T, stage.size_T[test], stage.hysteresis_frac)
    gross_T = position_T * return_T
    cost_T = stage.cost_frac_T[test] * np.abs(np.diff(position_T, prepend=0.0))
    return RivalPath(
        name=name,
        position_T=position_T,
        gross_T=gross_T,
        cost_T=cost_T,
        net_T=gross_T - cost_T,
        tradable=tradable,
    )


def agent_returns(stage: Stage) -> Floats:
    """Return each agent's own net return [T, N] at a full unit, from flat at the first bar."""
    change_TN = np.abs(np.diff(stage.target_TN, axis=0, prepend=np.zeros((1, len(stage.names)))))
    cost_TN = stage.cost_frac_T[:, None] * change_TN
    own_TN: Floats = stage.target_TN * stage.return_T[:, None] - cost_TN
    return own_TN


def majority_target(target_TN: Floats) -> Floats:
    """Return the side that most agents are on, long 1, flat 0 or short -1; a tie is flat."""
    side_TN = np.sign(target_TN)
    long_T, short_T = (side_TN > 0.0).sum(axis=1), (side_TN < 0.0).sum(axis=1)
    flat_T = side_TN.shape[1] - long_T - short_T
    is_long_T = (long_T > short_T) & (long_T > flat_T)
    is_short_T = (short_T > long_T) & (short_T > flat_T)
    side_T: Floats = is_long_T.astype(np.float64) - is_short_T.astype(np.float64)
    return side_T


def momentum_target(stage: Stage) -> Floats:
    """Return the sign of the return of the 28 days before each bar; flat until they are known."""
    span = max(1, round(MOMENTUM_DAYS * DAY_S / stage.bar_s))
    log_T = np.concatenate(([0.0], np.cumsum(np.log1p(stage.return_T))))  # log_T[t]: close of t - 1
    target_T = np.zeros(len(stage.return_T))
    if span < len(target_T):
        target_T[span:] = np.sign(log_T[span:-1] - log_T[: -span - 1])
    return target_T


def random_paths(
    target_T: Floats, stage: Stage, draws: int, chance: np.random.Generator
) -> Iterator[RivalPath]:
    """Yield paths that hold the test targets shifted round by a random number of bars.

    Every draw trades as often, is as long and as short as ``target_T``, apart from the one seam,
    and is sized as the ensemble is: only its timing is chance.
    """
    size_T = stage.size_T[stage.training_bars :]
    if target_T.shape != size_T.shape:
        raise StageError(f"{len(target_T)} targets for {len(size_T)} test bars")
    for n in range(draws):
        shift = int(chance.integers(1, len(target_T)))
        yield follow(f"random {n}", size_T * np.roll(target_T, shift), stage)


def _agents_in_test(stage: Stage) -> Floats:
    targets = stage.target_TN[stage.training_bars :].T
    size_T = stage.size_T[stage.training_bars :]
    return np.column_stack([follow("", size_T * of_T, stage).net_T for of_T in targets])


def _best(return_TN: Floats) -> int:
    """Return the column of the highest Sharpe; one that never varies has none and counts as 0."""
    deviation_N = return_TN.std(axis=0)
    ratio_N = np.zeros(return_TN.shape[1])
    np.divide(return_TN.mean(axis=0), deviation_N, out=ratio_N, where=deviation_N > 1e-14)
    return int(np.argmax(ratio_N))
