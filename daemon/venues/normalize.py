"""The venue's stream frames turned into events: pure, exact, and never surprised.

Whatever bytes arrive, the answer is an event, a ``ColdFrame`` (not ours to read) or the one typed
refusal ``FrameRefusedError``. Prices and quantities become integers on the instrument's grid
through a memo of texts seen lately: a touch repeats its prices, and a lookup costs a tenth of an
exact conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from daemon.venues.wire import (
    AccountFrame,
    BookTickerFrame,
    DepthAnswer,
    DepthFrame,
    Envelope,
    MarketFrame,
    MarkPriceFrame,
    OrderTradeFrame,
    TradeFrame,
    UserFrame,
)
from kernels.events import (
    DepthDiff,
    DepthSnapshot,
    Fill,
    MarketEvent,
    MarkPrice,
    OrderStatus,
    OrderUpdate,
    Quote,
    Side,
    Trade,
)
from kernels.fast_values import positional_maker
from kernels.levels import parse_levels
from kernels.units import E8, Instrument, to_e8

NS_PER_MS = 1_000_000
MEMO_TEXTS_MAX = 16_384
"""Texts remembered per grid before the memo starts afresh; 2 MB at the worst.

Four times as many save no conversion on the recorded contract (.9 % of prices and 10.5 % of sizes
are new either way; 35 % of sizes with a quarter), and took hours to fill: a soak's slope of memory.
"""

_INTEGER_MAX = 2**62
_REASON_CHARACTERS_MAX = 200

# Built once per frame: 0.2 us instead of 0.8.
make_quote = positional_maker(Quote)
_make_trade = positional_maker(Trade)
make_diff = positional_maker(DepthDiff)

# What a decoder or a conversion may raise on hostile input; anything else would be our bug.
UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)

VENUE_STATUSES: dict[str, OrderStatus] = {
    "NEW": OrderStatus.WORKING,
    "PARTIALLY_FILLED": OrderStatus.PARTIALLY_FILLED,
    "FILLED": OrderStatus.FILLED,
    "CANCELED": OrderStatus.CANCELLED,
    "REJECTED": OrderStatus.REJECTED,
    "EXPIRED": OrderStatus.EXPIRED,
    "EXPIRED_IN_MATCH": OrderStatus.EXPIRED,
}


class FrameRefusedError(ValueError):
    """A frame that should be an event and cannot be one; ``venue_id`` is empty when unknown."""

    def __init__(self, kind: str, venue_id: str, reason: str) -> None:
        """Keep what the supervisor needs to log and to decide on a resync."""
        super().__init__(f"{kind} {venue_id}: {reason}")
        self.kind = kind
        self.venue_id = venue_id
        self.reason = reason[:_REASON_CHARACTERS_MAX]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdFrame:
    """A readable frame that is no event of ours: an answer to a request, or another event name."""

    event: str
    request_id: int | str | None
    is_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyTrade:
    """A trade id the venue used up without a print (its ``X: NA`` records): continuity only."""

    instrument: int
    trade_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountReport:
    """The venue's word on what changed in the account; ``wallet_quote_e8`` None where unsaid.

    ``change_quote_e8`` is the change of the wallet that ``reason`` alone explains (funding,
    transfer); ``positions`` holds (instrument, signed lots) of the positions that changed.
    """

    event_ns: int
    received_ns: int
    reason: str
    wallet_quote_e8: int | None
    change_quote_e8: int
    positions: tuple[tuple[int, int], ...]


class GridMemo(dict[str, int]):
    """Decimal text to grid integer, remembered; ValueError for text that is off the grid."""

    __slots__ = ("_convert", "_step_e8")

    def __init__(self, convert: Callable[[str], int], step_e8: int) -> None:
        """Remember the answers of ``convert``, which must be pure, for a grid of this step."""
        super().__init__()
        self._convert = convert
        self._step_e8 = step_e8

    def __missing__(self, text: str) -> int:
        """Convert a text not seen lately."""
        steps, rest = divmod(to_e8(text), self._step_e8)
        if rest:
            return self._convert(text)  # says in words what is wrong with it
        if not 0 <= steps <= _INTEGER_MAX:
            raise ValueError(f"out of range: {text[:40]!r}")
        if len(self) >= MEMO_TEXTS_MAX:
            self.clear()
        self[text] = steps
        return steps


class Grid:
    """One instrument with the memos of its two grids."""

    __slots__ = ("index", "instrument", "lots", "ticks")

    has_old_lots = False

    def __init__(self, instrument: Instrument) -> None:
        """Start with empty memos."""
        self.instrument = instrument
        self.index = instrument.index
        self.ticks = GridMemo(instrument.price_ticks, instrument.tick_size_e8)
        self.lots = GridMemo(instrument.quantity_lots, instrument.lot_size_e8)

    def levels(self, text: msgspec.Raw) -> NDArray[np.int64]:
        """Read one side of a book or of its changes."""
        return parse_levels(bytes(text), self.instrument, has_old_lots=self.has_old_lots)


class Normalizer:
    """Reads the frames of a fixed set of instruments; holds no state but memos."""

    def __init__(self, instruments: Sequence[Instrument]) -> None:
        """Prepare decoders and grids; all instruments settle in the first one's quote asset."""
        self._grids = {each.venue_id: self._grid(each) for each in instruments}
        self._decode_market = msgspec.json.Decoder(MarketFrame).decode
        self._decode_user = msgspec.json.Decoder(UserFrame).decode
        self._decode_envelope = msgspec.json.Decoder(Envelope).decode
        self.quote_asset = settlement_asset(instruments[0])

    def _grid(self, instrument: Instrument) -> Grid:
        """Make the memos of one instrument."""
        return Grid(instrument)

    def market(
        self, frame_text: str | bytes, received_ns: int
    ) -> MarketEvent | EmptyTrade | ColdFrame:
        """Read one frame of a market stream.

        Raises FrameRefusedError for anything unreadable and for values off the instrument's grid.
        """
        try:
            frame = self._decode_market(frame_text)
        except UNREADABLE as error:
            return self._cold(frame_text, error, _MARKET_EVENTS)
        grid = self._grids.get(frame.s)
        if grid is None:
            return ColdFrame(event=f"{type(frame).__name__}:{frame.s[:40]}", request_id=None)
        try:
            # most frequent first: 70 % of a stream are best bid/ask
            if type(frame) is BookTickerFrame:
                ticks, lots = grid.ticks, grid.lots
                return make_quote(
                    grid.index,
                    frame.E * NS_PER_MS,
                    received_ns,
                    frame.u,
                    ticks[frame.b],
                    lots[frame.B],
                    ticks[frame.a],
                    lots[frame.A],
                )
            if type(frame) is TradeFrame:
                return trade_event(frame, grid, received_ns)
            if type(frame) is DepthFrame:
                return _depth(frame, grid, received_ns)
            assert type(frame) is MarkPriceFrame
            return _mark(frame, grid, received_ns)
        except UNREADABLE as error:
            raise FrameRefusedError(_kind(frame), frame.s, str(error)) from error

    def snapshot(self, answer: object, venue_id: str, received_ns: int) -> DepthSnapshot:
        """Read a REST depth answer as ccxt parsed it; FrameRefusedError when it is no book."""
        grid = self._grids[venue_id]
        try:
            # back to text and through the level kernel: 20 times faster than 2,000 conversions
            words = msgspec.json.decode(msgspec.json.encode(answer), type=DepthAnswer, strict=False)
            return DepthSnapshot(
                instrument=grid.index,
                event_ns=words.E * NS_PER_MS,
                received_ns=received_ns,
                last_update_id=words.lastUpdateId,
                bid_levels_n2=grid.levels(words.bids),
                ask_levels_n2=grid.levels(words.asks),
            )
        except (*UNREADABLE, TypeError) as error:
            raise FrameRefusedError("snapshot", venue_id, str(error)) from error

    def user(
        self, frame_text: str | bytes, received_ns: int
    ) -> tuple[OrderUpdate | Fill | AccountReport, ...] | ColdFrame:
        """Read one frame of the user stream; an empty tuple concerns other instruments only.

        A fill follows the update that announced it. Raises FrameRefusedError.
        """
        try:
            frame = self._decode_user(frame_text)
        except UNREADABLE as error:
            return self._cold(frame_text, error, _USER_EVENTS)
        try:
            if isinstance(frame, OrderTradeFrame):
                return self._order_events(frame, received_ns)
            return (self._account_report(frame, received_ns),)
        except UNREADABLE as error:
            venue_id = frame.o.s if isinstance(frame, OrderTradeFrame) else ""
            raise FrameRefusedError(_kind(frame), venue_id, str(error)) from error

    def _order_events(
        self, frame: OrderTradeFrame, received_ns: int
    ) -> tuple[OrderUpdate | Fill, ...]:
        words = frame.o
        grid = self._grids.get(words.s)
        if grid is None:
            return ()
        status = VENUE_STATUSES.get(words.X)
        if status is None:
            raise ValueError(f"unknown order status {words.X[:40]!r}")
        event_ns = frame.E * NS_PER_MS
        update = OrderUpdate(
            instrument=grid.index,
            event_ns=event_ns,
            received_ns=received_ns,
            client_order_id=words.c,
            status=status,
            filled_lots=grid.lots[words.z],
            code=0,
            reason=words.x.lower(),
        )
        filled_lots = grid.lots[words.l]
        if words.x not in ("TRADE", "CALCULATED") or filled_lots == 0:
            return (update,)
        price_ticks = grid.ticks[words.L]
        fill = Fill(
            instrument=grid.index,
            event_ns=event_ns,
            received_ns=received_ns,
            client_order_id=words.c,
            trade_id=words.t,
            side=read_side(words.S),
            price_ticks=price_ticks,
            quantity_lots=filled_lots,
            fee_quote_e8=fee_quote_e8(
                grid.instrument, words.n, words.N, price_ticks, filled_lots, words.m
            ),
            is_maker=words.m,
        )
        return (update, fill)

    def _account_report(self, frame: AccountFrame, received_ns: int) -> AccountReport:
        wallet_quote_e8: int | None = None
        change_quote_e8 = 0
        for balance in frame.a.B:
            if balance.a == self.quote_asset:
                wallet_quote_e8 = bounded(to_e8(balance.wb))
                change_quote_e8 = bounded(to_e8(balance.bc))
        positions = []
        for position in frame.a.P:
            grid = self._grids.get(position.s)
            if grid is None:
                continue
            if position.ps != "BOTH":
                raise ValueError(f"hedge mode position side {position.ps[:20]!r}")
            lots = bounded(grid.instrument.quantity_lots(position.pa))
            positions.append((grid.index, lots))
        return AccountReport(
            event_ns=frame.E * NS_PER_MS,
            received_ns=received_ns,
            reason=frame.a.m,
            wallet_quote_e8=wallet_quote_e8,
            change_quote_e8=change_quote_e8,
            positions=tuple(positions),
        )

    def _cold(
        self, frame_text: str | bytes, error: BaseException, ours: frozenset[str]
    ) -> ColdFrame:
        try:
            envelope = self._decode_envelope(frame_text)
        except UNREADABLE as unreadable:
            raise FrameRefusedError("frame", "", str(unreadable)) from unreadable
        if envelope.e in ours:
            raise FrameRefusedError(envelope.e or "", "", str(error)) from error
        if envelope.e is None and envelope.id is None:
            raise FrameRefusedError("frame", "", "neither an event nor an answer") from error
        return ColdFrame(
            event=(envelope.e or "")[:40],
            request_id=envelope.id,
            is_error=envelope.error is not None or envelope.code is not None,
        )


def settlement_asset(instrument: Instrument) -> str:
    """Name the asset an instrument settles in, from its unified symbol; of a pair, its quote."""
    return instrument.symbol.rpartition(":")[2].rpartition("/")[2]


def read_side(text: str) -> Side:
    """Read BUY or SELL; ValueError for anything else."""
    if text == "BUY":
        return Side.BUY
    if text == "SELL":
        return Side.SELL
    raise ValueError(f"unknown side {text[:20]!r}")


def fee_quote_e8(
    instrument: Instrument,
    commission: str,
    asset: str,
    price_ticks: int,
    quantity_lots: int,
    is_maker: bool,
) -> int:
    """Read a fill's fee in 1e-8 quote, positive is paid.

    A fee in another asset (a discount token) is charged at the instrument's own rate instead: the
    wallet is reconciled, and a fee must never be missing from the ledger.
    """
    if asset in ("", settlement_asset(instrument)):
        return bounded(to_e8(commission))
    rate = instrument.maker_fee_frac if is_maker else instrument.taker_fee_frac
    notional_e8 = instrument.notional_quote_e8(price_ticks, quantity_lots)
    return bounded(notional_e8 * round(rate * E8) // E8)


def warm_up(instrument: Instrument) -> None:
    """Compile the level kernel before the first frame."""
    parse_levels(b"[]", instrument)


def bounded(amount: int) -> int:
    """Return an amount that fits 64 bits; ValueError for any other."""
    if abs(amount) > _INTEGER_MAX:
        raise ValueError("beyond 64 bits")
    return amount


def trade_event(frame: TradeFrame, grid: Grid, received_ns: int) -> Trade | EmptyTrade:
    """Turn a print into its event."""
    price_ticks, quantity_lots = grid.ticks[frame.p], grid.lots[frame.q]
    if price_ticks == 0 or quantity_lots == 0:
        return EmptyTrade(instrument=grid.index, trade_id=frame.t)
    return _make_trade(
        grid.index,
        frame.E * NS_PER_MS,
        received_ns,
        frame.t,
        price_ticks,
        quantity_lots,
        Side.SELL if frame.m else Side.BUY,
    )


def _depth(frame: DepthFrame, grid: Grid, received_ns: int) -> DepthDiff:
    return make_diff(
        grid.index,
        frame.E * NS_PER_MS,
        received_ns,
        frame.U,
        frame.u,
        frame.pu,
        grid.levels(frame.b),
        grid.levels(frame.a),
    )


def _mark(frame: MarkPriceFrame, grid: Grid, received_ns: int) -> MarkPrice:
    tick_size_e8 = grid.instrument.tick_size_e8
    mark_ticks = (2 * to_e8(frame.p) + tick_size_e8) // (2 * tick_size_e8)
    if not 0 < mark_ticks <= _INTEGER_MAX:
        raise ValueError(f"mark price out of range: {frame.p[:40]!r}")
    return MarkPrice(
        instrument=grid.index,
        event_ns=frame.E * NS_PER_MS,
        received_ns=received_ns,
        mark_ticks=mark_ticks,
        funding_rate_frac=bounded(to_e8(frame.r)) / E8 if frame.r else 0.0,
    )


def _kind(frame: MarketFrame | UserFrame) -> str:
    return str(type(frame).__struct_config__.tag)


_MARKET_EVENTS = frozenset({"bookTicker", "trade", "depthUpdate", "markPriceUpdate"})
_USER_EVENTS = frozenset({"ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE"})
