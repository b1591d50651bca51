"""Leak and fault detectors that run with every evaluation: what they find forbids any claim.

- *truncation*: without the bars after a cut, every earlier decision is the same, bit for bit.
- *streaming*: the live classes, asked bar by bar, decide as the batch did.
- *ledger*: net returns follow from closes, positions and costs in a second, independent way; a
  dropped cost or a return of another bar differs.
- *mixture*: what was played earned what the wealth mixture says; clipping after mixing breaks it.
- *best agent*: who is called best really was, before the test began.
- *placebo*: positions against returns shifted at random; timing that is too good is a leak.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from strategy.evaluation.backtest import Backtest, Plan, decide, listen
from strategy.evaluation.execution import FUNDING_S
from strategy.evaluation.figures import sharpe
from strategy.evaluation.rivals import Stage, agent_returns, random_paths
from strategy.evaluation.streaming import differing_rows, stream
from strategy.evaluation.truncation import truncation_leaks
from strategy.learning.bar_history import History
from strategy.runtime import Runtime

Floats = NDArray[np.float64]

MONEY_TOLERANCE = 1e-9
MIXTURE_TOLERANCE = 1e-6
PLACEBO_DRAWS = 200
PLACEBO_DEVIATIONS_MAX = 8.0
"""An edge so far beyond chance is taken for a leak until somebody has looked."""

STREAMED_ROWS = 400
TRUNCATED_BARS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One detector's answer; ``said`` is one sentence, with the figure it rests on."""

    name: str
    is_clean: bool
    said: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawBars:
    """Bars as they were read, and how a history is made of the first so many of them."""

    open_ns_T: NDArray[np.int64]
    prices_T4: Floats
    volume_T: Floats
    build: Callable[[NDArray[np.int64], Floats, Floats], History]

    def known(self, bars: int) -> Floats:
        """Return what the first bars held, one row each: open time split in two, prices, volume."""
        high_T, low_T = np.divmod(self.open_ns_T[:bars], 2**32)
        return np.column_stack((high_T, low_T, self.prices_T4[:bars], self.volume_T[:bars]))

    def history(self, known_TF: Floats) -> History:
        """Make a history of rows that ``known`` gave."""
        open_ns_T = known_TF[:, 0].astype(np.int64) * 2**32 + known_TF[:, 1].astype(np.int64)
        prices_T4 = np.ascontiguousarray(known_TF[:, 2:6])
        return self.build(open_ns_T, prices_T4, np.ascontiguousarray(known_TF[:, 6]))


def check_truncation(
    runtime: Runtime, bars: RawBars, plan: Plan, warm_bars: int, rows: int = TRUNCATED_BARS
) -> Finding:
    """Decide on shorter and shorter histories; ``warm_bars`` is what the features need."""
    count = min(len(bars.open_ns_T), warm_bars + rows)

    def decisions(known_TF: Floats) -> Floats:
        made = decide(listen(runtime, bars.history(known_TF)), plan)
        rows_TK = np.column_stack((made.positions(plan), made.followed.weight_TN))
        early = np.full((len(known_TF) - len(rows_TK), rows_TK.shape[1]), np.nan)
        return np.vstack((early, rows_TK))

    room = count - warm_bars
    cuts = sorted({warm_bars + room * part // 7 for part in (2, 4, 5, 6)})
    return judge_truncation(decisions, bars.known(count), cuts)


def judge_truncation(
    decisions: Callable[[Floats], Floats], known_TF: Floats, cuts: Sequence[int]
) -> Finding:
    """Say whether a decision changes when its future is deleted."""
    leaks = truncation_leaks(decisions, known_TF, cuts)
    said = f"{len(known_TF):,} bars, cut at {len(cuts)} places: every earlier decision is the same"
    if leaks:
        said = f"the decision at bar {leaks[0].bar} changes when bars from {leaks[0].cut} on go"
    return Finding(name="truncation", is_clean=not leaks, said=said)


def check_streaming(
    runtime: Runtime, history: History, played: Backtest, rows: int = STREAMED_ROWS
) -> Finding:
    """Ask the live classes about the first closes."""
    rows = min(rows, len(played))
    followed = played.followed
    streamed = stream(runtime, history, played.plan.meta, played.trade_frac_T, rows)
    apart = differing_rows(streamed, followed.weight_TN, followed.action_TN)
    said = f"{rows:,} decisions one by one through the live classes: {apart} differ"
    return Finding(name="streaming", is_clean=apart == 0, said=said)


def check_ledger(played: Backtest, close_T: Floats) -> Finding:
    """Book the run a second time from closes: units held, cash, costs, funding."""
    costs, bars = played.plan.costs, len(played)
    price_T = close_T[: bars + 1]
    held_T = np.concatenate(([0.0], played.position_T))
    moved_T = np.array([abs(now - then) for then, now in pairwise(held_T.tolist())])
    spread_T = [max(costs.half_spread_frac, costs.half_ticks * half) for half in played.half_tick_T]
    paid_T = (costs.fee_frac + np.array(spread_T) + costs.slippage_frac) * moved_T
    funding_frac = costs.funding_frac * (played.bar_ns / 1e9) / FUNDING_S
    earned_T = played.position_T * ((price_T[1:] - price_T[:-1]) / price_T[:-1] - funding_frac)
    net_T = np.maximum(earned_T - paid_T, -1.0)
    off = float(np.abs(net_T - played.net_T).max())
    said = f"net returns booked again from closes: largest difference {off:.1e}"
    if off > MONEY_TOLERANCE and float(np.abs(earned_T - played.net_T).max()) <= MONEY_TOLERANCE:
        said = "net returns are gross: no cost was taken off"
    return Finding(name="ledger", is_clean=off <= MONEY_TOLERANCE, said=said)


def check_mixture(played: Backtest) -> Finding:
    """Hold the mixture's wealth against what its weights and the clipped returns give."""
    followed = played.followed
    gain_T = np.sum(followed.weight_TN[:-1] * followed.paid_TN[1:], axis=1)
    own_T = np.where(followed.is_learned_T[1:], np.log1p(followed.kappa * gain_T), 0.0)
    path_off = float(np.abs(np.cumsum(own_T) - followed.log_wealth_T[1:]).max())
    mixed = float(np.logaddexp.reduce(followed.log_wealth_J))
    off = max(path_off, abs(mixed - float(followed.log_wealth_T[-1])))
    said = (
        f"log wealth {followed.log_wealth_T[-1]:+.3f} is that of the candidates to {off:.1e}; "
        f"{followed.beyond_clip:.1f} deviations lay beyond the clip"
    )
    return Finding(name="mixture", is_clean=off <= MIXTURE_TOLERANCE, said=said)


def check_best(called: tuple[str, ...], stage: Stage) -> Finding:
    """Say whether whom the report calls best in training had the highest Sharpe there.

    ``called`` are the agents whose path is that of "best in training", more than one where equal.
    """
    own_TN = agent_returns(stage)[: stage.training_bars]
    ratio_N = [sharpe(own_T, 1.0) or 0.0 for own_T in own_TN.T]
    best = stage.names[int(np.argmax(ratio_N))]
    said = f"best before the test: {best}, called best: {' or '.join(called) or 'nobody'}"
    return Finding(name="best agent", is_clean=best in called, said=said)


def check_placebo(position_T: Floats, stage: Stage, year_bars: float, seed: int) -> Finding:
    """Hold the positions against shifted returns: what is their timing worth?

    Clean unless their gross Sharpe lies beyond that of random shifts by 8 of their deviations:
    nothing honest is that good, a strategy that knows the bar it holds is.
    """
    return_T = stage.return_T[stage.training_bars :]
    own, before = (
        sharpe(position_T * np.roll(return_T, shift), year_bars) or 0.0 for shift in (0, 1)
    )
    drawn = [
        sharpe(path.gross_T, year_bars) or 0.0
        for path in random_paths(
            position_T / np.maximum(stage.size_T[stage.training_bars :], 1e-12),
            stage,
            PLACEBO_DRAWS,
            np.random.default_rng(seed),
        )
    ]
    middle, spread = float(np.mean(drawn)), float(np.std(drawn))
    far = (own - middle) / spread if spread > 0.0 else 0.0
    said = (
        f"gross Sharpe {own:+.2f} on its own bar, {before:+.2f} on the bar before, "
        f"{middle:+.2f} +- {spread:.2f} shifted at random: {far:+.1f} deviations"
    )
    return Finding(name="placebo", is_clean=far < PLACEBO_DEVIATIONS_MAX, said=said)
