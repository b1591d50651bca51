"""Orders out: approved intents become requests, answers and silences become proven statuses.

Every call is a supervised task; nothing here blocks the engine. An answer that proves nothing makes
the order UNKNOWN, and asking again is the only way on: nothing is ever sent twice.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ccxt.base.errors import BaseError

from config.settings import ExecutionSettings
from daemon.clock import Clock
from daemon.effects import AmendOrder, CancelOrder, Note, SendOrder
from daemon.lanes import Lanes
from daemon.venues.order_calls import Call, OrderCalls
from daemon.venues.order_socket import OrderSocket
from daemon.venues.outcomes import (
    Outcome,
    Refusal,
    VenueOrder,
    read_fill,
    read_order,
    to_update,
)
from daemon.venues.reconcile import ReconcileError, cancel_everything
from daemon.venues.supervision import Backoff, Supervisor
from daemon.venues.tap import TapBinanceUsdm, refusal_of
from kernels.events import OrderIntent, OrderStatus, OrderType, OrderUpdate, Side
from kernels.units import Instrument

RECV_WINDOW_MS = 5_000
"""The venue refuses a request that reaches it later than this after its own time stamp."""

NOT_FOUND_IS_FINAL_NS = (RECV_WINDOW_MS + 2_000) * 1_000_000
"""A request still on its way cannot execute after this: only now does "no such order" prove it."""

SENT_REMEMBERED = 4_096
CANCEL_ALL_ATTEMPTS = 5
CANCEL_ALL_MS_MIN, CANCEL_ALL_MS_MAX = 100, 2_000
WARM_INTERVAL_S = 10.0
"""A request this often keeps a TLS connection open, so that no order pays for a handshake."""

_TIME_IN_FORCE = {OrderType.IOC: "IOC", OrderType.GTC: "GTC", OrderType.POST_ONLY: "GTX"}


class OrderGateway:
    """The only place that sends orders; results arrive in the lanes as events.

    ``record`` takes ("send", ns): from ``submit`` to the order's bytes handed to the socket, and
    the round trips of both ways. ``on_sent`` takes (client order id, monotonic ns) when the bytes
    are out. With a ``socket`` (ws-api) orders go over it while it is up, by REST otherwise.
    ``spares`` says which open orders are somebody else's, to be left when all are cancelled.
    """

    def __init__(
        self,
        exchange: TapBinanceUsdm,
        instruments: Sequence[Instrument],
        lanes: Lanes,
        clock: Clock,
        note: Callable[[Note], None],
        record: Callable[[str, int], None],
        *,
        generator: np.random.Generator,
        on_sent: Callable[[str, int], None] | None = None,
        socket: OrderSocket | None = None,
    ) -> None:
        """Prepare; nothing is sent before ``submit``."""
        self._exchange = exchange
        self.socket = socket
        self._calls = OrderCalls(exchange, socket, clock, record)
        self._instruments = tuple(instruments)
        self._lanes = lanes
        self._clock = clock
        self._note = note
        self._record = record
        self._generator = generator
        self._on_sent = on_sent
        self._supervisor = Supervisor(clock, note, generator)
        self._made_ns = clock.now_ns()
        self._sent_ns: OrderedDict[str, int] = OrderedDict()
        self._querying: set[str] = set()
        self.spares: Callable[[VenueOrder], bool] | None = None

    def use(self, settings: ExecutionSettings) -> None:
        """Take the preferred way of orders from these settings from now on."""
        self._calls.prefers_socket = settings.order_entry == "websocket"

    @property
    def in_flight_count(self) -> int:
        """Requests whose answer has not come yet."""
        return self._supervisor.task_count

    def submit(self, send: SendOrder) -> None:
        """Send an approved order; returns at once."""
        self._sent_ns[send.client_order_id] = self._clock.now_ns()
        if len(self._sent_ns) > SENT_REMEMBERED:
            self._sent_ns.popitem(last=False)
        started_ns = self._clock.monotonic_ns()
        self._supervisor.spawn(
            f"order {send.client_order_id}",
            self._submit(send.client_order_id, send.approved.intent, started_ns),
        )

    def expect(self, client_order_id: str, sent_ns: int) -> None:
        """Know when an order of an earlier run was approved: its request left within moments."""
        self._sent_ns[client_order_id] = sent_ns

    def cancel(self, cancel: CancelOrder) -> None:
        """Cancel one order; returns at once."""
        self._supervisor.spawn(f"cancel {cancel.client_order_id}", self._cancel(cancel))

    def amend(self, amend: AmendOrder) -> None:
        """Move a resting order; returns at once. What cannot be moved is cancelled."""
        self._supervisor.spawn(f"amend {amend.client_order_id}", self._amend(amend))

    def cancel_all(self, instrument: int) -> None:
        """Cancel every open order of an instrument at the venue; returns at once."""
        name = self._instruments[instrument].symbol
        self._supervisor.spawn(f"cancel all {name}", self._cancel_all(instrument))

    def query_unknown(self, client_order_id: str, instrument: int) -> None:
        """Ask what became of an order, and for its fills; one question at a time per order."""
        if client_order_id in self._querying:
            return
        self._querying.add(client_order_id)
        self._supervisor.spawn(
            f"query {client_order_id}", self._query_once(client_order_id, instrument)
        )

    async def keep_warm(self) -> None:
        """Keep a connection to the venue open for ever; run it as a task beside the gateway."""
        while True:
            try:
                await self._exchange.fapiPublicGetPing()
            except BaseError as error:
                refusal = refusal_of(error)
                self._say("library_message", detail=f"ping failed: {refusal.reason}")
            await asyncio.sleep(WARM_INTERVAL_S)

    async def drain(self, timeout_s: float) -> bool:
        """Wait for the answers under way; False when some did not come in time."""
        return await self._supervisor.drain(timeout_s)

    async def close(self) -> None:
        """Give up on answers still under way; their orders stay as they are."""
        await self._supervisor.close()

    # requests -------------------------------------------------------------------------------

    async def _submit(self, client_order_id: str, intent: OrderIntent, started_ns: int) -> None:
        instrument = self._instruments[intent.instrument]
        request = order_request(client_order_id, intent, instrument)
        try:
            answer = await self._calls.make(
                Call.CREATE, request, lambda: self._handed_over(client_order_id, started_ns)
            )
        except Exception:
            # a bug of ours or of a library: the request may be out, so the order must not be lost
            self._emit(client_order_id, intent.instrument, OrderStatus.UNKNOWN, 0, "send failed")
            raise
        if isinstance(answer, Refusal):
            self._refused(client_order_id, intent.instrument, answer)
            return
        order = read_order(answer, instrument)
        if order is None or order.client_order_id != client_order_id:
            reason = "answer describes no order"
            self._emit(client_order_id, intent.instrument, OrderStatus.UNKNOWN, 0, reason)
            return
        self._lanes.put(to_update(order, self._clock.now_ns(), "answer"))

    async def _amend(self, amend: AmendOrder) -> None:
        """Ask once. Where the new price is not proven, only a cancel leads to certainty."""
        intent = amend.approved.intent
        instrument = self._instruments[intent.instrument]
        request = {
            "symbol": instrument.venue_id,
            "origClientOrderId": amend.client_order_id,
            "side": "BUY" if intent.side is Side.BUY else "SELL",
            "quantity": instrument.quantity_text(amend.quantity_lots),
            "price": instrument.price_text(intent.price_ticks),
        }
        answer = await self._calls.make(Call.AMEND, request)
        order = None if isinstance(answer, Refusal) else read_order(answer, instrument)
        if order is not None and order.client_order_id == amend.client_order_id:
            self._lanes.put(to_update(order, self._clock.now_ns(), "amended"))
            return
        reason = answer.reason if isinstance(answer, Refusal) else "answer describes no order"
        self._say("amend_failed", client_order_id=amend.client_order_id, reason=reason)
        await self._cancel(
            CancelOrder(
                client_order_id=amend.client_order_id,
                instrument=intent.instrument,
                reason="amend failed",
            )
        )

    async def _cancel(self, cancel: CancelOrder) -> None:
        instrument = self._instruments[cancel.instrument]
        request = {"symbol": instrument.venue_id, "origClientOrderId": cancel.client_order_id}
        self._say("cancel_sent", client_order_id=cancel.client_order_id, reason=cancel.reason)
        answer = await self._calls.make(Call.CANCEL, request)
        if isinstance(answer, Refusal):
            if answer.outcome is not Outcome.NOT_FOUND:
                self._cancel_failed(cancel.client_order_id, answer)
            if answer.outcome is not Outcome.REFUSED:
                self.query_unknown(cancel.client_order_id, cancel.instrument)
            return
        order = read_order(answer, instrument)
        if order is None or order.client_order_id != cancel.client_order_id:
            self.query_unknown(cancel.client_order_id, cancel.instrument)
            return
        self._lanes.put(to_update(order, self._clock.now_ns(), "cancel answered"))

    async def _cancel_all(self, instrument: int) -> None:
        """Repeat until the venue says done: cancelling twice does no harm."""
        if self.spares is not None:
            await self._cancel_ours(instrument, self.spares)
            return
        request = {"symbol": self._instruments[instrument].venue_id}
        backoff = Backoff(CANCEL_ALL_MS_MIN, CANCEL_ALL_MS_MAX, self._generator)
        for _ in range(CANCEL_ALL_ATTEMPTS):
            try:
                await self._exchange.fapiPrivateDeleteAllOpenOrders(request)
            except BaseError as error:
                self._cancel_failed(f"all of {request['symbol']}", refusal_of(error))
            else:
                return
            await asyncio.sleep(backoff.next_s())

    async def _cancel_ours(self, instrument: int, spares: Callable[[VenueOrder], bool]) -> None:
        """Cancel one by one what is not spared, until the venue shows nothing else."""
        chosen = self._instruments[instrument : instrument + 1]
        try:
            left = await cancel_everything(
                self._exchange, chosen, generator=self._generator, keeps=spares
            )
            if not left:
                return
            reason = f"{len(left)} stay open"
        except ReconcileError as error:
            reason = str(error)
        self._say("cancel_failed", order=chosen[0].venue_id, venue_code=0, reason=reason)

    async def _query_once(self, client_order_id: str, instrument: int) -> None:
        try:
            await self._query(client_order_id, self._instruments[instrument])
        finally:
            self._querying.discard(client_order_id)

    async def _query(self, client_order_id: str, instrument: Instrument) -> None:
        asked_ns = self._clock.now_ns()
        request = {"symbol": instrument.venue_id, "origClientOrderId": client_order_id}
        answer = await self._calls.make(Call.STATUS, request)
        if isinstance(answer, Refusal):
            sent_ns = self._sent_ns.get(client_order_id, self._made_ns)
            final = asked_ns - sent_ns > NOT_FOUND_IS_FINAL_NS
            if answer.outcome is Outcome.NOT_FOUND and final:
                reason = "the venue knows no such order"
                self._emit(
                    client_order_id, instrument.index, OrderStatus.REJECTED, answer.code, reason
                )
            return
        order = read_order(answer, instrument)
        if order is None or order.client_order_id != client_order_id:
            return  # proves nothing; the engine asks again
        self._say("order_settled", client_order_id=client_order_id, status=order.status.name)
        self._lanes.put(to_update(order, self._clock.now_ns(), "asked"))
        if order.filled_lots:
            await self._fetch_fills(client_order_id, order.venue_order_id, instrument)

    async def _fetch_fills(
        self, client_order_id: str, venue_order_id: int, instrument: Instrument
    ) -> None:
        """Put an order's executions into the lanes; the engine knows those it has had."""
        request = {"symbol": instrument.venue_id, "orderId": venue_order_id, "limit": 1000}
        try:
            rows = await self._exchange.fapiPrivateGetUserTrades(request)
        except BaseError:
            return  # the order stays unsettled, the engine asks again
        received_ns = self._clock.now_ns()
        for row in rows if isinstance(rows, list) else ():
            try:
                order_id, fill = read_fill(row, instrument, client_order_id, received_ns)
            except ValueError as error:
                reason = str(error)[:200]
                self._say("feed_frame_refused", kind="userTrades", reason=reason)
                continue
            if order_id == venue_order_id:
                self._lanes.put(fill)

    # results --------------------------------------------------------------------------------

    def _refused(self, client_order_id: str, instrument: int, refusal: Refusal) -> None:
        is_proven = refusal.outcome is Outcome.REFUSED
        status = OrderStatus.REJECTED if is_proven else OrderStatus.UNKNOWN
        self._emit(client_order_id, instrument, status, refusal.code, refusal.reason)

    def _emit(
        self, client_order_id: str, instrument: int, status: OrderStatus, code: int, reason: str
    ) -> None:
        now_ns = self._clock.now_ns()
        self._lanes.put(
            OrderUpdate(
                instrument=instrument,
                event_ns=now_ns,
                received_ns=now_ns,
                client_order_id=client_order_id,
                status=status,
                filled_lots=-1,
                code=code,
                reason=reason,
            )
        )

    def _handed_over(self, client_order_id: str, started_ns: int) -> None:
        now_ns = self._clock.monotonic_ns()
        self._record("send", now_ns - started_ns)
        if self._on_sent is not None:
            self._on_sent(client_order_id, now_ns)

    def _cancel_failed(self, what: str, refusal: Refusal) -> None:
        self._say("cancel_failed", order=what, venue_code=refusal.code, reason=refusal.reason)

    def _say(self, event: str, **fields: object) -> None:
        self._note(Note(event=event, event_ns=self._clock.now_ns(), fields=fields))


def order_request(
    client_order_id: str, intent: OrderIntent, instrument: Instrument
) -> dict[str, Any]:
    """Write an intent in the venue's words; every order is a limit order with our own id."""
    request: dict[str, Any] = {
        "symbol": instrument.venue_id,
        "side": "BUY" if intent.side is Side.BUY else "SELL",
        "type": "LIMIT",
        "timeInForce": _TIME_IN_FORCE[intent.order_type],
        "quantity": instrument.quantity_text(intent.quantity_lots),
        "price": instrument.price_text(intent.price_ticks),
        "newClientOrderId": client_order_id,
        "newOrderRespType": "RESULT",
    }
    if intent.reduce_only:
        request["reduceOnly"] = "true"
    return request
