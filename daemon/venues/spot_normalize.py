"""Turns Binance spot frames into typed events; the grids and the rules of refusal are USD-M's.

A best bid/ask without a time of the venue is stamped with the time of its receipt. A fee paid in
the base asset becomes quote at the price of its own fill.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from daemon.venues.normalize import (
    NS_PER_MS,
    UNREADABLE,
    VENUE_STATUSES,
    AccountReport,
    ColdFrame,
    EmptyTrade,
    FrameRefusedError,
    Grid,
    GridMemo,
    Normalizer,
    bounded,
    fee_quote_e8,
    make_diff,
    make_quote,
    read_side,
    trade_event,
)
from daemon.venues.spot_wire import (
    BalanceFrame,
    ExecutionFrame,
    HoldingsFrame,
    OtherUserMessage,
    SpotMarketFrame,
    SpotTickerFrame,
    SpotUserMessage,
)
from daemon.venues.wire import TradeFrame
from kernels.events import Fill, MarketEvent, OrderStatus, OrderUpdate
from kernels.units import Instrument, to_e8

SPOT_STATUSES = {
    **VENUE_STATUSES,
    "PENDING_NEW": OrderStatus.WORKING,
    "PENDING_CANCEL": OrderStatus.WORKING,
}
_NO_CANCELLATION = ("", "null", None)
"""What ``C`` holds where nothing is cancelled; older documents of the venue print null."""

_TICKER = '{"u":'
_USER_EVENTS = frozenset({"executionReport", "outboundAccountPosition", "balanceUpdate"})


class SpotGrid(Grid):
    """A pair whose book holds orders from before its lot grew: market data is rounded to lots.

    Seven levels of the recording of 8 August 2024 are such. Our own orders are never rounded.
    """

    __slots__ = ()

    has_old_lots = True

    def __init__(self, instrument: Instrument) -> None:
        """Start with empty memos."""
        super().__init__(instrument)
        self.lots = GridMemo(self._nearest_lots, instrument.lot_size_e8)

    def _nearest_lots(self, text: str) -> int:
        lots, rest_e8 = divmod(to_e8(text), self.instrument.lot_size_e8)
        if lots < 0:
            raise ValueError(f"negative quantity {text[:40]!r}")
        return lots + (lots == 0 or 2 * rest_e8 >= self.instrument.lot_size_e8)


class SpotNormalizer(Normalizer):
    """Reads the frames of a fixed set of spot pairs; holds no state but memos."""

    def __init__(self, instruments: Sequence[Instrument]) -> None:
        """Prepare decoders and grids; all pairs trade against the first one's quote asset."""
        super().__init__(instruments)
        self._decode_ticker = msgspec.json.Decoder(SpotTickerFrame).decode
        self._decode_named = msgspec.json.Decoder(SpotMarketFrame).decode
        self._decode_message = msgspec.json.Decoder(SpotUserMessage).decode
        self._decode_other = msgspec.json.Decoder(OtherUserMessage).decode

    def _grid(self, instrument: Instrument) -> Grid:
        """Make the memos of one pair."""
        return SpotGrid(instrument)

    def market(
        self, frame_text: str | bytes, received_ns: int
    ) -> MarketEvent | EmptyTrade | ColdFrame:
        """Read one frame of a market stream.

        Raises FrameRefusedError for anything unreadable and for values off the instrument's grid.
        """
        text = frame_text if isinstance(frame_text, str) else frame_text.decode(errors="replace")
        is_ticker = text.startswith(_TICKER)
        try:
            # most frequent first: 70 % of a stream are best bid/ask
            return self._quote(text, received_ns) if is_ticker else self._named(text, received_ns)
        except FrameRefusedError:
            raise
        except UNREADABLE as error:
            return self._other(text, received_ns, error, is_ticker=is_ticker)

    def _named(self, text: str, received_ns: int) -> MarketEvent | EmptyTrade | ColdFrame:
        frame = self._decode_named(text)
        grid = self._grids.get(frame.s)
        if grid is None:
            return ColdFrame(event=f"{type(frame).__name__}:{frame.s[:40]}", request_id=None)
        try:
            if type(frame) is TradeFrame:
                return trade_event(frame, grid, received_ns)
            return make_diff(
                grid.index,
                frame.E * NS_PER_MS,
                received_ns,
                frame.U,
                frame.u,
                frame.U - 1,
                grid.levels(frame.b),
                grid.levels(frame.a),
            )
        except UNREADABLE as error:
            kind = str(type(frame).__struct_config__.tag)
            raise FrameRefusedError(kind, frame.s, str(error)) from error

    def _quote(self, text: str, received_ns: int) -> MarketEvent | ColdFrame:
        frame = self._decode_ticker(text)
        grid = self._grids.get(frame.s)
        if grid is None:
            return ColdFrame(event=f"bookTicker:{frame.s[:40]}", request_id=None)
        ticks, lots = grid.ticks, grid.lots
        return make_quote(
            grid.index,
            received_ns,
            received_ns,
            frame.u,
            ticks[frame.b],
            lots[frame.B],
            ticks[frame.a],
            lots[frame.A],
        )

    def _other(
        self, text: str, received_ns: int, error: BaseException, *, is_ticker: bool
    ) -> MarketEvent | EmptyTrade | ColdFrame:
        """Read what does not fit at first sight: fields in another order, answers, rubbish."""
        try:
            return self._named(text, received_ns) if is_ticker else self._quote(text, received_ns)
        except FrameRefusedError:
            raise
        except UNREADABLE:
            if is_ticker:
                raise FrameRefusedError("bookTicker", "", str(error)) from error
        return self._cold(text, error, _MARKET_EVENTS)

    def user(
        self, frame_text: str | bytes, received_ns: int
    ) -> tuple[OrderUpdate | Fill | AccountReport, ...] | ColdFrame:
        """Read one message of the account's socket; an empty tuple concerns other pairs only.

        A fill follows the update that announced it. Raises FrameRefusedError.
        """
        try:
            frame = self._decode_message(frame_text).event
        except UNREADABLE as error:
            return self._other_message(frame_text, error)
        try:
            if isinstance(frame, ExecutionFrame):
                return self._execution_events(frame, received_ns)
            if isinstance(frame, HoldingsFrame):
                return (self._holdings_report(frame, received_ns),)
            return (self._balance_report(frame, received_ns),)
        except UNREADABLE as error:
            venue_id = frame.s if isinstance(frame, ExecutionFrame) else ""
            kind = str(type(frame).__struct_config__.tag)
            raise FrameRefusedError(kind, venue_id, str(error)) from error

    def _other_message(self, frame_text: str | bytes, error: BaseException) -> ColdFrame:
        try:
            name = self._decode_other(frame_text).event.e
        except UNREADABLE:
            return self._cold(frame_text, error, _USER_EVENTS)
        if name in _USER_EVENTS:
            raise FrameRefusedError(name, "", str(error)) from error
        return ColdFrame(event=name[:40], request_id=None)

    def _execution_events(
        self, words: ExecutionFrame, received_ns: int
    ) -> tuple[OrderUpdate | Fill, ...]:
        grid = self._grids.get(words.s)
        if grid is None:
            return ()
        status = SPOT_STATUSES.get(words.X)
        if status is None:
            raise ValueError(f"unknown order status {words.X[:40]!r}")
        client_order_id = words.c if words.C in _NO_CANCELLATION else str(words.C)
        reason = words.x.lower() if words.r == "NONE" else f"{words.x.lower()} {words.r[:80]}"
        update = OrderUpdate(
            instrument=grid.index,
            event_ns=words.E * NS_PER_MS,
            received_ns=received_ns,
            client_order_id=client_order_id,
            status=status,
            filled_lots=grid.instrument.quantity_lots(words.z),
            code=0,
            reason=reason,
        )
        filled_lots = grid.instrument.quantity_lots(words.l)
        if words.x != "TRADE" or filled_lots == 0:
            return (update,)
        price_ticks = grid.ticks[words.L]
        fill = Fill(
            instrument=grid.index,
            event_ns=words.E * NS_PER_MS,
            received_ns=received_ns,
            client_order_id=client_order_id,
            trade_id=words.t,
            side=read_side(words.S),
            price_ticks=price_ticks,
            quantity_lots=filled_lots,
            fee_quote_e8=spot_fee_quote_e8(grid, words, price_ticks, filled_lots),
            is_maker=words.m,
        )
        return (update, fill)

    def _holdings_report(self, frame: HoldingsFrame, received_ns: int) -> AccountReport:
        """Tell whole balances: free and locked together; dust below a lot is no position."""
        total_e8 = {each.a: bounded(to_e8(each.f)) + bounded(to_e8(each.l)) for each in frame.B}
        positions = tuple(
            (grid.index, total_e8[base] // grid.instrument.lot_size_e8)
            for grid in self._grids.values()
            if (base := base_asset(grid.instrument)) in total_e8
        )
        return AccountReport(
            event_ns=frame.E * NS_PER_MS,
            received_ns=received_ns,
            reason="HOLDINGS",
            wallet_quote_e8=total_e8.get(self.quote_asset),
            change_quote_e8=0,
            positions=positions,
        )

    def _balance_report(self, frame: BalanceFrame, received_ns: int) -> AccountReport:
        """Tell a change that no trade made; the whole balance follows in a report of its own."""
        change_e8 = bounded(to_e8(frame.d)) if frame.a == self.quote_asset else 0
        return AccountReport(
            event_ns=frame.E * NS_PER_MS,
            received_ns=received_ns,
            reason="BALANCE_UPDATE",
            wallet_quote_e8=None,
            change_quote_e8=change_e8,
            positions=(),
        )


def base_asset(instrument: Instrument) -> str:
    """Name the asset a pair trades, from its unified symbol."""
    return instrument.symbol.partition("/")[0]


def spot_fee_quote_e8(grid: Grid, words: ExecutionFrame, price_ticks: int, filled_lots: int) -> int:
    """Read a fill's fee in 1e-8 quote; one in the base asset at the fill's price, rounded up."""
    instrument = grid.instrument
    if words.N is not None and base_asset(instrument) == words.N:
        price_e8 = price_ticks * instrument.tick_size_e8
        return bounded(-(-bounded(to_e8(words.n)) * price_e8 // 100_000_000))
    return fee_quote_e8(instrument, words.n, words.N or "", price_ticks, filled_lots, words.m)


_MARKET_EVENTS = frozenset({"trade", "depthUpdate"})
