"""Synthetic markets: seeded, correlated, regime-switching, with books and trades that agree.

Nine hidden states stand behind the seven regimes (breakout and reversal have a direction each);
one chain drives every instrument. Parameters are those of the project's misspecified test market:
durations, transitions, volatilities and drifts per state, one bar read as one second. Jumps,
spread, depth, activity and trade rate per state are chosen to look like a liquid perpetual.

Nobody can earn from these worlds what a real market would pay: they exercise code, and agents in
training, not claims.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels import market_steps as steps
from kernels.book import ASK_COUNT, BID_COUNT, Book, new_state, set_level
from kernels.events import DepthDiff, DepthSnapshot, Quote, Side, Trade
from kernels.units import E8, Instrument

STATE_REGIMES: tuple[int, ...] = (0, 1, 2, 3, 4, 4, 5, 5, 6)
"""Index into ``REGIMES`` of each hidden state: bull, bear, high and low volatility range,
breakout up and down, reversal up and down, crisis."""

BULL, BEAR, HIGH_VOL, LOW_VOL, BREAK_UP, BREAK_DOWN, REVERSE_UP, REVERSE_DOWN, CRISIS = range(9)

MEAN_BARS = (240.0, 180.0, 120.0, 200.0, 24.0, 24.0, 36.0, 36.0, 24.0)
SIGMA_BPS = tuple(
    s * 1e4 / 60.0 for s in (0.006, 0.007, 0.010, 0.003, 0.009, 0.010, 0.009, 0.010, 0.022)
)
DRIFT_SIGMAS = (1.0, -1.0, 0.0, 0.0, 1.6, -1.6, 1.3, -1.3, -1.2)
AUTOREGRESSION = (0.0, 0.0, -0.075, -0.075, 0.0, 0.0, 0.0, 0.0, 0.0)
JUMPS_PER_S = (0.002, 0.003, 0.005, 0.0005, 0.02, 0.02, 0.01, 0.01, 0.05)
ACTIVITY_FRAC = (0.75, 0.8, 0.85, 0.55, 1.0, 1.0, 0.9, 0.9, 1.0)
SPREAD_BPS = (0.03, 0.04, 0.10, 0.02, 0.12, 0.15, 0.10, 0.12, 0.6)
DEPTH_FACTOR = (1.0, 0.9, 0.7, 1.4, 0.6, 0.6, 0.7, 0.7, 0.35)
TRADES_PER_S = (8.0, 9.0, 12.0, 5.0, 20.0, 20.0, 15.0, 15.0, 30.0)
DOWN_JUMP_FRAC = (0.4, 0.6, 0.5, 0.5, 0.1, 0.9, 0.2, 0.8, 0.75)

NEXT_STATE = (
    (0.00, 0.03, 0.27, 0.40, 0.02, 0.03, 0.00, 0.20, 0.05),
    (0.03, 0.00, 0.30, 0.27, 0.03, 0.02, 0.20, 0.00, 0.15),
    (0.20, 0.20, 0.00, 0.30, 0.10, 0.10, 0.00, 0.00, 0.10),
    (0.10, 0.10, 0.20, 0.00, 0.30, 0.25, 0.00, 0.00, 0.05),
    (0.60, 0.00, 0.20, 0.05, 0.00, 0.00, 0.00, 0.15, 0.00),
    (0.00, 0.50, 0.20, 0.05, 0.00, 0.00, 0.10, 0.00, 0.15),
    (0.70, 0.00, 0.20, 0.10, 0.00, 0.00, 0.00, 0.00, 0.00),
    (0.00, 0.65, 0.20, 0.05, 0.00, 0.00, 0.00, 0.00, 0.10),
    (0.00, 0.30, 0.40, 0.00, 0.00, 0.00, 0.30, 0.00, 0.00),
)

REALISTIC_DRIFT = 0.05
TEXTBOOK_DRIFT = 0.20
"""Drift of a bar in standard deviations of a bar: barely there, and plain to see."""

LEVEL_NOTIONAL_QUOTE = 30_000.0
FOLLOWER_BETA = 1.25
"""How strongly instruments after the first answer the common factor."""

BLOCK_STEPS = steps.STEPS_PER_BAR
TRUTH_MAX = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One named kind of market: which hidden states it visits, how far and how wildly."""

    states: tuple[int, ...]
    drift_sigmas: float
    volatility_factor: float


VARIANTS: dict[str, Variant] = {
    "regimes": Variant(states=tuple(range(9)), drift_sigmas=REALISTIC_DRIFT, volatility_factor=1.0),
    "trending": Variant(
        states=(BULL, BEAR, BREAK_UP, BREAK_DOWN),
        drift_sigmas=TEXTBOOK_DRIFT,
        volatility_factor=1.0,
    ),
    "calm": Variant(
        states=(BULL, BEAR, LOW_VOL), drift_sigmas=REALISTIC_DRIFT, volatility_factor=0.6
    ),
    "volatile": Variant(
        states=(HIGH_VOL, BREAK_UP, BREAK_DOWN, REVERSE_UP, REVERSE_DOWN, CRISIS),
        drift_sigmas=REALISTIC_DRIFT,
        volatility_factor=1.5,
    ),
}
"""The markets by name, as ``SimulatedSettings.market`` lists them."""


def state_table(variant: Variant) -> NDArray[np.float64]:
    """Return the parameters of every hidden state in the columns of ``market_steps``."""
    sigma_bps = np.array(SIGMA_BPS) * variant.volatility_factor
    return np.ascontiguousarray(
        np.column_stack(
            [
                MEAN_BARS,
                sigma_bps,
                np.array(DRIFT_SIGMAS) * variant.drift_sigmas * sigma_bps,
                AUTOREGRESSION,
                JUMPS_PER_S,
                ACTIVITY_FRAC,
                SPREAD_BPS,
                DEPTH_FACTOR,
                TRADES_PER_S,
                DOWN_JUMP_FRAC,
            ]
        )
    )


def transition_table(variant: Variant) -> NDArray[np.float64]:
    """Return next-state probabilities within the variant's states.

    A state whose successors are all left out goes to any other state of the variant alike. Rows
    of states outside lead into the variant, so that a chain may start anywhere.
    """
    allowed = np.zeros(len(STATE_REGIMES))
    allowed[list(variant.states)] = 1.0
    table_KK = np.array(NEXT_STATE) * allowed
    for state, row in enumerate(table_KK):
        if row.sum() == 0.0:
            row[:] = allowed
            row[state] = 0.0
    table_KK /= table_KK.sum(axis=1, keepdims=True)
    return table_KK


class SyntheticMarket:
    """An endless market for some instruments, a pure function of its arguments.

    ``opening_ticks`` are the first prices; ``generator`` is owned from then on. Events carry the
    time elapsed since the start in both stamps, in ns. ``truth`` is for tests only: the latest
    changes of regime as (elapsed ns, index into ``REGIMES``), which no event tells.
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        opening_ticks: Sequence[int],
        variant: str,
        generator: np.random.Generator,
    ) -> None:
        """Build the opening books; ValueError for an unknown variant or unequal lengths."""
        if variant not in VARIANTS:
            raise ValueError(f"no synthetic market {variant!r}; there is {', '.join(VARIANTS)}")
        if len(instruments) != len(opening_ticks) or not instruments:
            raise ValueError(f"{len(instruments)} instruments, {len(opening_ticks)} prices")
        if min(opening_ticks) < steps.CENTRE_TICKS_MIN:
            raise ValueError(f"opening price below {steps.CENTRE_TICKS_MIN:.0f} ticks")
        count = len(instruments)
        self.truth: deque[tuple[int, int]] = deque(maxlen=TRUTH_MAX)
        self._generator = generator
        self._table_KP = state_table(VARIANTS[variant])
        self._next_KK = transition_table(VARIANTS[variant])
        self._chain_i = np.zeros(4, dtype=np.int64)
        self._chain_i[steps.HIDDEN] = generator.choice(VARIANTS[variant].states)
        self._chain_i[steps.BARS_LEFT] = 1
        self._chain_f = np.zeros(7)
        self._chain_f[steps.VARIANCE] = 1.0
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
        started_step = int(self._chain_i[steps.STEP])
        written = steps.run_steps(
            self._generator,
            BLOCK_STEPS,
            self._chain_i,
            self._chain_f,
            self._table_KP,
            self._next_KK,
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
                self.truth.append((step * steps.STEP_NS, regime))
        return [self._event(row) for row in self._rows[:written].tolist()]

    def _event(self, row: list[int]) -> Quote | Trade | DepthDiff:
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
            bid_levels_n2=self._levels_m2[rest[5] : first_ask].copy(),
            ask_levels_n2=self._levels_m2[first_ask : first_ask + rest[4]].copy(),
        )

    def _open(self, index: int, instrument: Instrument, ticks: int) -> None:
        lot_quote = ticks * instrument.tick_lot_quote_e8 / E8
        asset = self._asset_IC[index]
        asset[steps.CENTRE_TICKS] = ticks + 0.5
        asset[steps.BETA] = 1.0 if index == 0 else FOLLOWER_BETA
        asset[steps.LEVEL_LOTS] = max(LEVEL_NOTIONAL_QUOTE / lot_quote, 2.0)
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
                asset[steps.LEVEL_LOTS],
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
