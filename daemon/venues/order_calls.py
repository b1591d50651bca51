"""The calls about orders, each over whichever way is open: ws-api or REST.

A request that may create or change risk goes out once, over one way: after the first byte its fate
is the venue's to tell. A request that is safe to repeat (cancel, query) goes the other way as well
when the first proved nothing. Both ways' round trips are recorded under their own stage.

The message budget is the gate's, for both ways together, as the venue counts them; ccxt's own
limiter is off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from ccxt.base.errors import BaseError

from daemon.clock import Clock
from daemon.venues.order_socket import NOT_SENT, OrderSocket
from daemon.venues.outcomes import Outcome, Refusal
from daemon.venues.tap import BYTES_HANDED_OVER, TapBinanceUsdm, refusal_of


class Call(Enum):
    """What is asked: its ws-api method, ccxt's name of the REST call, and whether it may repeat."""

    CREATE = ("order.place", "fapiPrivatePostOrder", False)
    AMEND = ("order.modify", "fapiPrivatePutOrder", False)
    CANCEL = ("order.cancel", "fapiPrivateDeleteOrder", True)
    STATUS = ("order.status", "fapiPrivateGetOrder", True)


class OrderCalls:
    """Chooses the way of each call; without a socket everything goes by REST."""

    def __init__(
        self,
        exchange: TapBinanceUsdm,
        socket: OrderSocket | None,
        clock: Clock,
        record: Callable[[str, int], None],
    ) -> None:
        """``record`` takes ("answer_ws" or "answer_rest", ns from request to answer)."""
        self._exchange = exchange
        self._socket = socket
        self._clock = clock
        self._record = record
        self._is_rest_silent = False
        self.prefers_socket = True
        self.fallback_count = 0

    async def make(
        self, call: Call, request: Mapping[str, Any], handed_over: Callable[[], None] | None = None
    ) -> Any | Refusal:
        """Make a call; return the venue's document, or what its failure proves."""
        by_socket, by_rest = self._over_socket, self._over_rest
        uses_socket = self._socket is not None and (self.prefers_socket or self._is_rest_silent)
        first, second = (by_socket, by_rest) if uses_socket else (by_rest, by_socket)
        answer = await first(call, request, handed_over)
        is_unproven = isinstance(answer, Refusal) and answer.outcome is Outcome.UNKNOWN
        if answer is NOT_SENT or (call.value[2] and is_unproven):
            other = await second(call, request, handed_over)
            if other is not NOT_SENT:
                self.fallback_count += 1
                return other
        return answer

    async def _over_socket(
        self, call: Call, request: Mapping[str, Any], handed_over: Callable[[], None] | None
    ) -> Any | Refusal:
        if self._socket is None:
            return NOT_SENT
        started_ns = self._clock.monotonic_ns()
        answer = await self._socket.call(call.value[0], request, handed_over)
        self._book("answer_ws", started_ns, answer)
        return answer

    async def _over_rest(
        self, call: Call, request: Mapping[str, Any], handed_over: Callable[[], None] | None
    ) -> Any | Refusal:
        BYTES_HANDED_OVER.set(handed_over)
        started_ns = self._clock.monotonic_ns()
        try:
            answer = await getattr(self._exchange, call.value[1])(dict(request))
        except BaseError as error:
            answer = refusal_of(error)
        self._is_rest_silent = isinstance(answer, Refusal) and answer.http_status == 0
        self._book("answer_rest", started_ns, answer)
        return answer

    def _book(self, stage: str, started_ns: int, answer: Any | Refusal) -> None:
        """Record a round trip; a silence is none."""
        if not isinstance(answer, Refusal) or answer.http_status:
            self._record(stage, self._clock.monotonic_ns() - started_ns)
