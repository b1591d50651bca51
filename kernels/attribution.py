"""Who earned it: fills of the netted account shared out among the agents, in whole lots.

Every agent has its own account in the arithmetic of ``kernels.ledger``, opened with nothing; one
more, the house, takes what nobody wished for. What a fill opens goes to the agents by the shares of
its order; what it closes, to those who hold, in proportion. (Were closing fills shared out by wish
as well, an agent that always buys would pile up positions that the account does not have.) So every
row holds on the account's side, and exactly: positions, fees, funding and, once marked, results of
all rows sum to those of the account. What the rounding to whole lots owes an agent is carried to
the next opening fill of the same instrument and side, so that over time nobody is favoured.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernels.events import Fill, Funding
from kernels.jit import njit
from kernels.ledger import (
    DAY_START,
    POSITION,
    ROW_COUNT,
    TOTALS_COUNT,
    Ledger,
    equity_e8,
    fold_day,
    fold_fill,
    fold_funding,
    fold_mark,
    fold_unpriced,
    new_state,
    reset_peaks,
)
from kernels.units import Instrument

SHARE_UNIT = 1_000_000
"""Shares are counted in millionths; carried lots in millionths of a lot."""


@njit
def fold_marks(states_AS: NDArray[np.int64], instrument: int, mark_ticks: int) -> None:
    """Value one instrument in every row."""
    for agent in range(states_AS.shape[0]):
        fold_mark(states_AS[agent], instrument, mark_ticks)


@njit
def fold_days(states_AS: NDArray[np.int64], now_ns: int) -> None:
    """Start a new loss day in every row when the UTC date advances."""
    for agent in range(states_AS.shape[0]):
        fold_day(states_AS[agent], now_ns)


@njit
def day_losses_e8(states_AS: NDArray[np.int64]) -> NDArray[np.int64]:
    """Loss of every row since its day began, 1e-8 quote; 0 for a gain."""
    losses_A = np.empty(states_AS.shape[0], dtype=np.int64)
    for agent in range(states_AS.shape[0]):
        losses_A[agent] = max(states_AS[agent, DAY_START] - equity_e8(states_AS[agent]), 0)
    return losses_A


def whole_shares(shares_A: Sequence[float]) -> list[int]:
    """Turn shares that sum to about 1 into millionths that sum to SHARE_UNIT exactly.

    Whoever has no share gets none; ValueError where nobody has one, or for a negative or NaN share.
    """
    total = sum(shares_A)
    if not total > 0.0 or not all(share >= 0.0 for share in shares_A):
        raise ValueError(f"no shares: {shares_A!r}")
    ideal = [share / total * SHARE_UNIT for share in shares_A]
    whole = [int(each) for each in ideal]
    order = sorted(range(len(whole)), key=lambda a: (whole[a] - ideal[a], a))
    for agent in [a for a in order if shares_A[a] > 0.0][: SHARE_UNIT - sum(whole)]:
        whole[agent] += 1
    return whole


def share_lots(lots: int, millionths_A: Sequence[int], carried_A: Sequence[int]) -> list[int]:
    """Share out whole lots that sum to ``lots``: to each its share and what it is owed, nearest.

    Only who has a share gets lots, nobody a negative number.
    """
    owed = [carried + lots * share for share, carried in zip(millionths_A, carried_A, strict=True)]
    takers = [agent for agent, share in enumerate(millionths_A) if share > 0]
    given = [0] * len(owed)
    for agent in takers:
        given[agent] = max(owed[agent] // SHARE_UNIT, 0)
    left = lots - sum(given)
    while left:
        step = 1 if left > 0 else -1
        able = takers if left > 0 else [agent for agent in takers if given[agent] > 0]
        best = max(able, key=lambda a: (step * (owed[a] - given[a] * SHARE_UNIT), -a))
        given[best] += step
        left -= step
    return given


class AgentLedger:
    """Accounts of all agents and of the house; folds what the account's ledger folds."""

    __slots__ = ("_agent_count", "_carried_NDA", "_grid", "_states_AS")

    def __init__(self, instruments: tuple[Instrument, ...], agent_count: int) -> None:
        """Open every account empty; compiles what it needs."""
        self._grid = tuple(each.tick_lot_quote_e8 for each in instruments)
        self._agent_count = agent_count
        self._states_AS = np.stack([new_state(self._grid, 0)] * (agent_count + 1))
        self._carried_NDA = np.zeros((len(instruments), 2, agent_count), dtype=np.int64)
        scratch_AS = self._states_AS.copy()
        fold_marks(scratch_AS, 0, 1)
        fold_days(scratch_AS, 0)
        day_losses_e8(scratch_AS)

    def adopt(self, account: Ledger) -> None:
        """Follow a ledger that took over the venue's account: what changed, the house's first.

        A change enters at the mark without result, or waits for the first price where there is
        none. A change that closes more than the house holds closes the agents in proportion.
        """
        for instrument in range(len(self._grid)):
            change = account.position_lots(instrument) - sum(self._held(instrument))
            mark_ticks = account.mark_ticks(instrument)
            given = self._given(instrument, change, ())
            for row, lots in enumerate(given):
                if lots and mark_ticks:
                    fold_fill(self._states_AS[row], instrument, lots, mark_ticks, 0)
                elif lots:
                    fold_unpriced(self._states_AS[row], instrument, lots)

    def apply_fill(self, fill: Fill, shares_A: Sequence[float]) -> None:
        """Share out one execution; without shares what it opens is the house's."""
        given = self._given(fill.instrument, int(fill.side) * fill.quantity_lots, shares_A)
        fees = in_proportion(fill.fee_quote_e8, [abs(lots) for lots in given])
        for row, (lots, fee_e8) in enumerate(zip(given, fees, strict=True)):
            if lots:
                fold_fill(self._states_AS[row], fill.instrument, lots, fill.price_ticks, fee_e8)

    def apply_funding(self, funding: Funding) -> None:
        """Share out a funding payment by position; the house takes it while nobody holds."""
        held = [abs(lots) for lots in self._held(funding.instrument)]
        for row, amount_e8 in enumerate(in_proportion(funding.amount_quote_e8, held)):
            if amount_e8:
                fold_funding(self._states_AS[row], amount_e8)

    def mark(self, instrument: int, mark_ticks: int) -> None:
        """Value one instrument; the account's ledger has checked the price."""
        fold_marks(self._states_AS, instrument, mark_ticks)

    def roll_day(self, now_ns: int) -> None:
        """Measure losses from now on once 00:00 UTC has passed."""
        fold_days(self._states_AS, now_ns)

    def forget_losses(self) -> None:
        """Measure losses from now on; an operator has looked at the past ones."""
        for state_S in self._states_AS:
            reset_peaks(state_S)

    def day_losses_quote_e8(self) -> list[int]:
        """Loss of every agent since 00:00 UTC, 1e-8 quote, 0 for a gain; the house is left out."""
        losses: list[int] = day_losses_e8(self._states_AS).tolist()
        return losses[:-1]

    def position_lots(self, agent: int, instrument: int) -> int:
        """What one agent holds; ``agent`` -1 is the house."""
        return int(self._states_AS[agent, TOTALS_COUNT + instrument * ROW_COUNT + POSITION])

    def result_quote_e8(self, agent: int) -> int:
        """Profit of one agent since the opening, marked, fees and funding in; -1 is the house."""
        return int(equity_e8(self._states_AS[agent]))

    @property
    def state(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give copies of accounts (A + 1, S) and of the carried lots, int64."""
        return self._states_AS.copy(), self._carried_NDA.copy()

    def restore(self, state: tuple[NDArray[np.int64], NDArray[np.int64]]) -> None:
        """Take over a saved state; ValueError unless it has this shape."""
        for ours, theirs in zip((self._states_AS, self._carried_NDA), state, strict=True):
            if theirs.dtype != np.int64 or theirs.shape != ours.shape:
                raise ValueError(f"agents' state has shape {theirs.shape}, wanted {ours.shape}")
        self._states_AS[:], self._carried_NDA[:] = state

    def _held(self, instrument: int) -> list[int]:
        held: list[int] = self._states_AS[
            :, TOTALS_COUNT + instrument * ROW_COUNT + POSITION
        ].tolist()
        return held

    def _given(self, instrument: int, signed_lots: int, shares_A: Sequence[float]) -> list[int]:
        """Signed lots of every row, the house last; they sum to ``signed_lots``."""
        sign = 1 if signed_lots > 0 else -1
        against = [max(-sign * held, 0) for held in self._held(instrument)]
        closing = min(abs(signed_lots), sum(against))
        given = in_proportion(closing, against)
        opening = abs(signed_lots) - closing
        if opening and len(shares_A) == self._agent_count and sum(shares_A) > 0.0:
            carried_A = self._carried_NDA[instrument, 0 if sign > 0 else 1]
            millionths_A = whole_shares(shares_A)
            opened = share_lots(opening, millionths_A, carried_A.tolist())
            for agent, (share, lots) in enumerate(zip(millionths_A, opened, strict=True)):
                carried_A[agent] += opening * share - lots * SHARE_UNIT
                given[agent] += lots
        else:
            given[-1] += opening
        return [sign * lots for lots in given]


def in_proportion(amount: int, weights: Sequence[int]) -> list[int]:
    """Split an amount by weights into whole parts that sum to it; all to the last without weights.

    No part is larger than its exact share rounded up, and without weight there is no part.
    """
    total = sum(weights)
    if total <= 0:
        return [0] * (len(weights) - 1) + [amount]
    parts = []
    before = seen = 0
    for weight in weights:
        seen += weight
        upto = amount * seen // total
        parts.append(upto - before)
        before = upto
    return parts
