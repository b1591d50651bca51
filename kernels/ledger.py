"""The one exact accounting of fills: linear contracts, average cost, integers only.

All state of one account is one flat int64 vector (``state_S``): totals first, then one row per
instrument, so that a training environment folds thousands of accounts with the same functions.
Amounts are 1e-8 quote, positions signed lots, prices ticks.

Rounding happens in one place only. A reduction releases its proportional share of the cost basis,
cut toward zero; what is cut stays in the basis of the lots that remain and leaves with the last
one. Hence after every fill, exactly: realised - cost basis == - sum of signed fill notionals, and
equity does not depend on the rounding at all.

Bounds, checked by ``Ledger`` and the duty of whoever calls the functions: a position of less than
3.0e9 lots and amounts below 2**61 (2.3e10 quote); within them no step can overflow.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.events import AccountState, Fill, Funding
from kernels.jit import njit
from kernels.units import Instrument

OPENING = 0
REALISED = 1
FEES = 2
FUNDING = 3
UNREALISED = 4
PEAK = 5
DAY_START = 6
DAY = 7
ADOPTED = 8
TOTALS_COUNT = 9
"""Totals of ``state_S``; DAY is days since 1970 UTC, -1 before the first ``roll_day``."""

POSITION = 0
COST = 1
MARK = 2
ROW_UNREALISED = 3
TICK_LOT = 4
IS_UNPRICED = 5
MARK_NS = 6
ROW_COUNT = 7
"""Columns of an instrument's row; COST is signed like POSITION, MARK is 0 while unknown.

IS_UNPRICED is 1 for a position taken over before any price was known; the first price sets its
cost. MARK_NS is when the newest mark came, UNIX ns, 0 where nobody said.
"""

LOTS_BOUND = 3_000_000_000
AMOUNT_BOUND_E8 = 2**61
NS_PER_DAY = 86_400_000_000_000


@njit
def equity_e8(state_S: NDArray[np.int64]) -> int:
    """Wallet plus unrealised result, 1e-8 quote."""
    return int(
        state_S[OPENING]
        + state_S[REALISED]
        + state_S[FUNDING]
        - state_S[FEES]
        + state_S[UNREALISED]
    )


@njit
def fold_value(state_S: NDArray[np.int64], instrument: int) -> None:
    """Value one row at its mark and carry totals and peak along; unmarked rows count at cost."""
    row = TOTALS_COUNT + instrument * ROW_COUNT
    unrealised = 0
    if state_S[row + MARK] > 0 and state_S[row + IS_UNPRICED] == 0:
        worth = state_S[row + POSITION] * state_S[row + MARK] * state_S[row + TICK_LOT]
        unrealised = worth - state_S[row + COST]
    state_S[UNREALISED] += unrealised - state_S[row + ROW_UNREALISED]
    state_S[row + ROW_UNREALISED] = unrealised
    equity = equity_e8(state_S)
    if equity > state_S[PEAK]:
        state_S[PEAK] = equity


@njit
def fold_mark(state_S: NDArray[np.int64], instrument: int, mark_ticks: int) -> None:
    """Set the mark of one instrument; a position taken over without a price gets its cost now."""
    row = TOTALS_COUNT + instrument * ROW_COUNT
    state_S[row + MARK] = mark_ticks
    if state_S[row + IS_UNPRICED] == 1:
        state_S[row + COST] = state_S[row + POSITION] * mark_ticks * state_S[row + TICK_LOT]
        state_S[row + IS_UNPRICED] = 0
    fold_value(state_S, instrument)


@njit
def fold_fill(
    state_S: NDArray[np.int64], instrument: int, signed_lots: int, price_ticks: int, fee_e8: int
) -> None:
    """Fold one execution: ``signed_lots`` > 0 bought, < 0 sold; ``fee_e8`` > 0 is paid.

    A reduction realises against the average cost; beyond flat the rest opens at the fill's price.
    """
    row = TOTALS_COUNT + instrument * ROW_COUNT
    tick_lot = state_S[row + TICK_LOT]
    position = state_S[row + POSITION]
    if state_S[row + IS_UNPRICED] == 1:
        state_S[row + COST] = position * price_ticks * tick_lot
        state_S[row + IS_UNPRICED] = 0
    opened = signed_lots
    if position * np.sign(signed_lots) < 0:
        closed = min(abs(signed_lots), abs(position))
        sign = 1 if position > 0 else -1
        # cost * closed / position without the 128-bit product: whole and rest apart, both exact
        cost = abs(state_S[row + COST])
        size = abs(position)
        released = sign * ((cost // size) * closed + ((cost % size) * closed) // size)
        state_S[REALISED] += sign * closed * price_ticks * tick_lot - released
        state_S[row + COST] -= released
        state_S[row + POSITION] -= sign * closed
        opened = signed_lots + sign * closed
    state_S[row + POSITION] += opened
    state_S[row + COST] += opened * price_ticks * tick_lot
    state_S[FEES] += fee_e8
    fold_value(state_S, instrument)


@njit
def fold_unpriced(state_S: NDArray[np.int64], instrument: int, signed_lots: int) -> None:
    """Take over a change of position before any price is known; the first price sets its cost."""
    row = TOTALS_COUNT + instrument * ROW_COUNT
    state_S[row + POSITION] += signed_lots
    state_S[row + COST] = 0
    state_S[row + IS_UNPRICED] = 0 if state_S[row + POSITION] == 0 else 1
    fold_value(state_S, instrument)


@njit
def fold_funding(state_S: NDArray[np.int64], amount_e8: int) -> None:
    """Book a funding payment, positive received."""
    state_S[FUNDING] += amount_e8
    equity = equity_e8(state_S)
    if equity > state_S[PEAK]:
        state_S[PEAK] = equity


@njit
def fold_day(state_S: NDArray[np.int64], now_ns: int) -> None:
    """Start a new loss day when the UTC date advances; a clock running back changes nothing."""
    day = now_ns // NS_PER_DAY
    if day > state_S[DAY]:
        state_S[DAY] = day
        state_S[DAY_START] = equity_e8(state_S)


@njit
def notional_e8(state_S: NDArray[np.int64], instrument: int) -> int:
    """Signed value of one position at its mark, at cost while unmarked."""
    row = TOTALS_COUNT + instrument * ROW_COUNT
    if state_S[row + MARK] > 0:
        return int(state_S[row + POSITION] * state_S[row + MARK] * state_S[row + TICK_LOT])
    return int(state_S[row + COST])


@njit
def exposure_e8(state_S: NDArray[np.int64]) -> tuple[int, int]:
    """Gross and net notional over all instruments."""
    gross = 0
    net = 0
    for instrument in range((state_S.size - TOTALS_COUNT) // ROW_COUNT):
        notional = notional_e8(state_S, instrument)
        gross += abs(notional)
        net += notional
    return gross, net


@njit
def reset_peaks(state_S: NDArray[np.int64]) -> None:
    """Let peak and day begin at the equity of now."""
    equity = equity_e8(state_S)
    state_S[PEAK] = equity
    state_S[DAY_START] = equity


def new_state(tick_lot_quote_e8: tuple[int, ...], wallet_quote_e8: int) -> NDArray[np.int64]:
    """Build the vector of a flat account; one row per entry of ``tick_lot_quote_e8``."""
    state_S = np.zeros(TOTALS_COUNT + ROW_COUNT * len(tick_lot_quote_e8), dtype=np.int64)
    state_S[OPENING] = state_S[PEAK] = state_S[DAY_START] = wallet_quote_e8
    state_S[DAY] = -1
    for index, tick_lot in enumerate(tick_lot_quote_e8):
        state_S[TOTALS_COUNT + index * ROW_COUNT + TICK_LOT] = tick_lot
    return state_S


class LedgerReading(NamedTuple):
    """One consistent reading of an account; lists by instrument, a mark of 0 was never set."""

    position_lots: list[int]
    mark_ticks: list[int]
    equity_quote_e8: int
    day_loss_frac: float
    drawdown_frac: float


class Ledger:
    """Positions, cash, result and loss measures of one account over fixed instruments."""

    __slots__ = ("_grid", "_state_S")

    def __init__(self, instruments: tuple[Instrument, ...], wallet_quote_e8: int) -> None:
        """Open flat with this wallet; ``adopt`` takes over what the venue really holds."""
        self._grid = tuple(each.tick_lot_quote_e8 for each in instruments)
        self._state_S = new_state(self._grid, wallet_quote_e8)

    def apply_fill(self, fill: Fill) -> None:
        """Book one execution; ValueError for a size or price that no exact step can carry."""
        row = self._row(fill.instrument)
        self._demand_price(fill.instrument, fill.price_ticks)
        if fill.quantity_lots <= 0:
            raise ValueError(f"fill {fill.trade_id}: quantity {fill.quantity_lots} lots")
        reach = abs(self._state_S.item(row + POSITION)) + fill.quantity_lots
        self._demand_room(fill.instrument, reach, fill.price_ticks)
        fold_fill(
            self._state_S,
            fill.instrument,
            int(fill.side) * fill.quantity_lots,
            fill.price_ticks,
            fill.fee_quote_e8,
        )

    def apply_funding(self, funding: Funding) -> None:
        """Book a funding payment of the venue."""
        fold_funding(self._state_S, funding.amount_quote_e8)

    def mark(self, instrument: int, mark_ticks: int, received_ns: int = 0) -> None:
        """Value one instrument at the venue's mark price; ValueError unless positive.

        Without ``received_ns`` the age of the mark is unknown, and a gate will call it stale.
        """
        row = self._row(instrument)
        self._demand_price(instrument, mark_ticks)
        self._demand_room(instrument, abs(self._state_S.item(row + POSITION)), mark_ticks)
        fold_mark(self._state_S, instrument, mark_ticks)
        self._state_S[row + MARK_NS] = received_ns

    def roll_day(self, now_ns: int) -> None:
        """Measure the day's loss from the equity of now once 00:00 UTC has passed."""
        fold_day(self._state_S, now_ns)

    def adopt(self, account: AccountState) -> None:
        """Take wallet and positions over from the venue; it is the truth.

        A difference in position enters at the mark without result, or, while there is no mark,
        waits for the first price. The first adoption also starts peak and day; a later one leaves
        both alone, so that reconnecting never forgives a loss.
        """
        if len(account.position_lots) != len(self._grid):
            raise ValueError(f"account names {len(account.position_lots)} positions")
        state_S = self._state_S
        for instrument, lots in enumerate(account.position_lots):
            row = self._row(instrument)
            reach = abs(lots) + abs(lots - state_S.item(row + POSITION))
            self._demand_room(instrument, reach, max(state_S.item(row + MARK), 1))
        for instrument, lots in enumerate(account.position_lots):
            row = self._row(instrument)
            mark_ticks = state_S.item(row + MARK)
            change = lots - state_S.item(row + POSITION)
            if change and mark_ticks:
                fold_fill(state_S, instrument, change, mark_ticks, 0)
            elif change:
                fold_unpriced(state_S, instrument, change)
        state_S[OPENING] += account.wallet_quote_e8 - self.wallet_quote_e8
        if not state_S[ADOPTED]:
            state_S[ADOPTED] = 1
            reset_peaks(state_S)
        state_S[PEAK] = max(state_S.item(PEAK), self.equity_quote_e8)

    def position_lots(self, instrument: int) -> int:
        """Signed position of one instrument."""
        return self._state_S.item(self._row(instrument) + POSITION)

    def entry_quote_e8(self, instrument: int) -> int:
        """Signed cost basis of the open position, 1e-8 quote."""
        return self._state_S.item(self._row(instrument) + COST)

    def mark_ticks(self, instrument: int) -> int:
        """Newest mark price of one instrument, 0 while unknown."""
        return self._state_S.item(self._row(instrument) + MARK)

    def is_marked(self, instrument: int) -> bool:
        """Tell whether a mark price has ever been set."""
        return self._state_S.item(self._row(instrument) + MARK) > 0

    @property
    def realised_quote_e8(self) -> int:
        """Result of closed lots before fees and funding."""
        return self._state_S.item(REALISED)

    @property
    def unrealised_quote_e8(self) -> int:
        """Result of open lots at their marks; an unmarked position counts at cost."""
        return self._state_S.item(UNREALISED)

    @property
    def fees_quote_e8(self) -> int:
        """Fees paid, positive is a cost."""
        return self._state_S.item(FEES)

    @property
    def funding_quote_e8(self) -> int:
        """Funding received less funding paid."""
        return self._state_S.item(FUNDING)

    @property
    def wallet_quote_e8(self) -> int:
        """Opening balance + realised + funding - fees."""
        state_S = self._state_S
        settled = state_S.item(REALISED) + state_S.item(FUNDING) - state_S.item(FEES)
        return state_S.item(OPENING) + settled

    @property
    def cash_quote_e8(self) -> int:
        """Wallet less the cost of what is held: the quote balance of a spot account."""
        return self.wallet_quote_e8 - int(self._state_S[TOTALS_COUNT + COST :: ROW_COUNT].sum())

    @property
    def equity_quote_e8(self) -> int:
        """Wallet plus unrealised result."""
        return self.wallet_quote_e8 + self._state_S.item(UNREALISED)

    @property
    def day(self) -> int:
        """UTC date that the loss of the day counts for, days since 1970; 0 before the first."""
        return self._state_S.item(DAY)

    @property
    def day_start_quote_e8(self) -> int:
        """Equity when the day began, from which its loss counts."""
        return self._state_S.item(DAY_START)

    @property
    def peak_quote_e8(self) -> int:
        """Highest equity after any fill, mark or funding since the opening."""
        return self._state_S.item(PEAK)

    @property
    def drawdown_frac(self) -> float:
        """Loss from the peak as a share of it; 1.0 when there was never any equity."""
        return _loss_frac(self._state_S.item(PEAK), self.equity_quote_e8)

    @property
    def day_loss_frac(self) -> float:
        """Loss since 00:00 UTC as a share of the equity then, 0.0 for a gain."""
        return _loss_frac(self._state_S.item(DAY_START), self.equity_quote_e8)

    def read(self) -> LedgerReading:
        """Give all that a limit needs, read at once."""
        numbers = self._state_S.tolist()
        settled_e8 = numbers[OPENING] + numbers[REALISED] + numbers[FUNDING] - numbers[FEES]
        equity_e8 = settled_e8 + numbers[UNREALISED]
        return LedgerReading(
            numbers[TOTALS_COUNT + POSITION :: ROW_COUNT],
            numbers[TOTALS_COUNT + MARK :: ROW_COUNT],
            equity_e8,
            _loss_frac(numbers[DAY_START], equity_e8),
            _loss_frac(numbers[PEAK], equity_e8),
        )

    @property
    def gross_notional_quote_e8(self) -> int:
        """Sum of the absolute position values at their marks."""
        return int(exposure_e8(self._state_S)[0])

    @property
    def net_notional_quote_e8(self) -> int:
        """Sum of the signed position values at their marks."""
        return int(exposure_e8(self._state_S)[1])

    @property
    def is_adopted(self) -> bool:
        """Tell whether the venue's own account has been taken over."""
        return self._state_S.item(ADOPTED) == 1

    @property
    def live_state(self) -> NDArray[np.int64]:
        """The state itself, int64 (S,), for kernels that read it; nobody else writes to it."""
        return self._state_S

    @property
    def state(self) -> NDArray[np.int64]:
        """Give a copy of the whole state, int64 (S,)."""
        return self._state_S.copy()

    def restore(self, state_S: NDArray[np.int64]) -> None:
        """Take over a saved state; ValueError unless it belongs to the same instruments."""
        if state_S.dtype != np.int64 or state_S.shape != self._state_S.shape:
            raise ValueError(f"ledger state has shape {state_S.shape}, type {state_S.dtype}")
        grid = tuple(state_S[TOTALS_COUNT + TICK_LOT :: ROW_COUNT].tolist())
        if grid != self._grid:
            raise ValueError("ledger state belongs to other instruments or another grid")
        self._state_S[:] = state_S

    def _row(self, instrument: int) -> int:
        if not 0 <= instrument < len(self._grid):  # kernels do not check bounds
            raise ValueError(f"no instrument {instrument}")
        return TOTALS_COUNT + instrument * ROW_COUNT

    def _demand_price(self, instrument: int, price_ticks: int) -> None:
        if price_ticks <= 0:
            raise ValueError(f"instrument {instrument}: price of {price_ticks} ticks")

    def _demand_room(self, instrument: int, lots: int, price_ticks: int) -> None:
        notional = lots * price_ticks * self._grid[instrument]
        if lots > LOTS_BOUND or notional > AMOUNT_BOUND_E8:
            raise ValueError(
                f"instrument {instrument}: {lots} lots at {price_ticks} is beyond int64"
            )


def _loss_frac(from_e8: int, to_e8: int) -> float:
    if from_e8 <= 0:
        return 1.0
    return (from_e8 - to_e8) / from_e8 if to_e8 < from_e8 else 0.0
