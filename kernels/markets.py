"""Synthetic markets: seeded, correlated, regime-switching, with books and trades that agree.

One hidden chain of regimes drives every instrument; ``kernels.market_worlds`` names the worlds.

Nobody can earn from these worlds what a real market would pay: they exercise code, and agents in
training, not claims.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from kernels import market_chain as chain
from kernels import market_steps as steps
from kernels.book import ASK_COUNT, BID_COUNT, Book, new_state, set_level
from kernels.events import DepthDiff, DepthSnapshot, Quote, Side, Trade
from kernels.market_worlds import (
    STATE_REGIMES,
    VARIANTS,
    Variant,
    opening_chain,
    state_table,
    transition_table,
    world_numbers,
)
from kernels.units import E8, Instrument

LEVEL_NOTIONAL_QUOTE = 30_000.0
FOLLOWER_BETA = 1.25
"""How strongly instruments after the first answer the common factor."""

BLOCK_STEPS = chain.STEPS_PER_BAR
TRUTH_MAX = 65_536


def event_of_row(row: list[int], levels_m2: NDArray[np.int64]) -> Quote | Trade | DepthDiff:
    """Turn one row of ``market_steps`` into its event; elapsed ns in both stamps."""
    kind, instrument, elapsed_ns, *rest = row
    if kind == steps.TRADE_ROW:
        return Trade(
            instrument=instrument,
            event_ns=elapsed_ns,
            received_ns=elapsed_ns,
            trade_id=rest[0],
            price_ticks=rest[1],
            quantity_lots=rest[2],
            aggressor=Side.BUY if rest[3] > 0 else Side.SELL,
        )
    if kind == steps.QUOTE_ROW:
        return Quote(
            instrument=instrument,
            event_ns=elapsed_ns,
            received_ns=elapsed_ns,
            update_id=rest[0],
            bid_ticks=rest[1],
            bid_lots=rest[2],
            ask_ticks=rest[3],
            ask_lots=rest[4],
        )
    first_ask = rest[5] + rest[3]
    return DepthDiff(
        instrument=instrument,
        event_ns=elapsed_ns,
        received_ns=elapsed_ns,
        first_update_id=rest[0],
        last_update_id=rest[1],
        previous_update_id=rest[2],
        bid_levels_n2=levels_m2[rest[5] : first_ask].copy(),
        ask_levels_n2=levels_m2[first_ask : first_ask + rest[4]].copy(),
    )


class SyntheticMarket:
    """An endless market for some instruments, a pure function of its arguments.

    ``opening_ticks`` are the first prices; ``generator`` is owned from then on. ``variant`` is
    a name of ``market_worlds.VARIANTS`` or a world of one's own. Events carry the
    time elapsed since the start in both stamps, in ns. ``truth`` is for tests only: the latest
    changes of regime as (elapsed ns, index into ``REGIMES``), which no event tells.
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        opening_ticks: Sequence[int],
        variant: str | Variant,
        generator: np.random.Generator,
    ) -> None:
        """Build the opening books; ValueError for an unknown variant or unequal lengths."""
        if isinstance(variant, str):
            if variant not in VARIANTS:
                raise ValueError(f"no synthetic market {variant!r}; there is {', '.join(VARIANTS)}")
            variant = VARIANTS[variant]
        if len(instruments) != len(opening_ticks) or not instruments:
            raise ValueError(f"{len(instruments)} instruments, {len(opening_ticks)} prices")
        if min(opening_ticks) < chain.CENTRE_TICKS_MIN:
            raise ValueError(f"opening price below {chain.CENTRE_TICKS_MIN:.0f} ticks")
        count = len(instruments)
        self.truth: deque[tuple[int, int]] = deque(maxlen=TRUTH_MAX)
        self._generator = generator
        self._table_KP = state_table(variant)
        self._next_KK = transition_table(variant)
        self._world_W = world_numbers(variant)
        self._chain_i, self._chain_f = opening_chain(variant, generator)
        self._ids_IC = np.zeros((count, 6), dtype=np.int64)
        self._ids_IC[:, steps.UPDATE_ID] = 1_000_000
        self._ids_IC[:, steps.TRADE_ID] = 1_000
        self._asset_IC = np.zeros((count, 4))
        self._books_IS = np.stack([new_state(steps.BOOK_CAPACITY) for _ in instruments])
        moves = BLOCK_STEPS * count
        self._changed_2n = np.zeros((2, 1 + steps.LEVELS_PER_MOVE // 2), dtype=np.int64)
        self._rows = np.zeros((moves * steps.ROWS_PER_MOVE, steps.ROW_COLUMNS), dtype=np.int64)
        self._levels_m2 = np.zeros((moves * steps.LEVELS_PER_MOVE, 2), dtype=np.int64)
        self._hidden_T = np.zeros(BLOCK_STEPS, dtype=np.int64)
        for index, (instrument, ticks) in enumerate(zip(instruments, opening_ticks, strict=True)):
            self._open(index, instrument, ticks)
        self._snapshots = tuple(self._snapshot(index) for index in range(count))

    @property
    def snapshots(self) -> tuple[DepthSnapshot, ...]:
        """The opening book of every instrument, at elapsed time 0."""
        return self._snapshots

    def events(self) -> Iterator[Quote | Trade | DepthDiff]:
        """Continue the market without end; elapsed time never falls.

        At one moment an instrument's trades come first, then its quote, then its depth update.
        """
        while True:
            yield from self.next_block()

    def next_block(self) -> list[Quote | Trade | DepthDiff]:
        """Advance by one second and return its events in order of time."""
        started_step = int(self._chain_i[chain.STEP])
        written = steps.run_steps(
            self._generator,
            BLOCK_STEPS,
            self._chain_i,
            self._chain_f,
            self._table_KP,
            self._next_KK,
            self._world_W,
            self._asset_IC,
            self._ids_IC,
            self._books_IS,
            self._changed_2n,
            self._rows,
            self._levels_m2,
            self._hidden_T,
        )
        for step, hidden in enumerate(self._hidden_T.tolist(), start=started_step):
            regime = STATE_REGIMES[hidden]
            if not self.truth or self.truth[-1][1] != regime:
                self.truth.append((step * chain.STEP_NS, regime))
        return [event_of_row(row, self._levels_m2) for row in self._rows[:written].tolist()]

    def _open(self, index: int, instrument: Instrument, ticks: int) -> None:
        lot_quote = ticks * instrument.tick_lot_quote_e8 / E8
        asset = self._asset_IC[index]
        asset[chain.CENTRE_TICKS] = ticks + 0.5
        asset[chain.BETA] = 1.0 if index == 0 else FOLLOWER_BETA
        asset[chain.LEVEL_LOTS] = max(LEVEL_NOTIONAL_QUOTE / lot_quote, 2.0)
        gap_ticks = steps.LEVEL_GAP_BPS * 1e-4 * ticks
        for side, touch in ((1, ticks), (-1, ticks + 1)):
            book = self._books_IS[index]
            set_level(book, side, touch, 1)
            self._changed_2n[:, 0] = 0
            steps.refresh_side(
                self._generator,
                book,
                side,
                touch,
                asset[chain.LEVEL_LOTS],
                gap_ticks,
                self._changed_2n[0 if side == 1 else 1],
            )

    def _snapshot(self, index: int) -> DepthSnapshot:
        book = Book(steps.BOOK_CAPACITY)
        book.state[:] = self._books_IS[index]
        return DepthSnapshot(
            instrument=index,
            event_ns=0,
            received_ns=0,
            last_update_id=int(self._ids_IC[index, steps.UPDATE_ID]),
            bid_levels_n2=book.levels(Side.BUY, int(book.state[BID_COUNT])),
            ask_levels_n2=book.levels(Side.SELL, int(book.state[ASK_COUNT])),
        )
