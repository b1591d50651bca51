"""Stands before the calls, counts what they weigh, and refuses what is too much.

Futures and spot are counted apart, as the venue counts them; REST and ws-api together.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from daemon.clock import Clock
from daemon.simulated.request_weights import ORDER_CALLS, Refusal, WeightMeter, request_weight
from daemon.simulated.rest import RouteKey
from daemon.simulated.spot_weights import SESSION, SPOT_ORDER_CALLS, spot_weight
from daemon.simulated.venue_errors import VenueError

NS_PER_MS = 1_000_000
FUTURES, SAPI, SPOT = "/fapi/", "/sapi/", "/api/"
FIELDS_MAX = 64

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class LimitError(VenueError):
    """A ws-api request beyond a limit; there are no headers, so the error tells when to return."""

    def __init__(self, refusal: Refusal, now_ms: int) -> None:
        """Take over the refusal."""
        super().__init__(refusal.code, refusal.message, refusal.status)
        self._retry_at_ms = refusal.retry_at_ms
        self._now_ms = now_ms

    def document(self) -> dict[str, object]:
        """Return the JSON document of the error."""
        times = {"serverTime": self._now_ms, "retryAfter": self._retry_at_ms}
        return {**super().document(), "data": times}


class WeightGuard:
    """Hands on what may pass, and puts the used weight on every answer."""

    def __init__(
        self, meter: WeightMeter, spot_meter: WeightMeter, handler: Handler, clock: Clock
    ) -> None:
        """Count on the meter of a request's dialect by the venue's clock."""
        self._meter = meter
        self._spot_meter = spot_meter
        self._handler = handler
        self._clock = clock

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; paths of neither dialect pass uncounted."""
        path, _, query = request.raw_path.partition("?")
        if not path.startswith((FUTURES, SAPI, SPOT)):
            return await self._handler(request)
        key = (request.method, path)
        meter, is_order = self._meter_of(path), _is_order(key)
        refusal = meter.charge(_weigh(key, _parameters(query)), is_order, self._now_ms())
        if refusal is None:
            answer = await self._handler(request)
            if is_order and answer.status == 200:
                meter.count_order(self._now_ms())
        else:
            answer = web.Response(
                body=orjson.dumps({"code": refusal.code, "msg": refusal.message}),
                status=refusal.status,
                headers={"Retry-After": str(refusal.retry_after_s)},
                content_type="application/json",
            )
        answer.headers.update(meter.headers(is_order, self._now_ms()))
        return answer

    async def perform(
        self, key: RouteKey, parameters: Mapping[str, str], deed: Callable[[], Awaitable[object]]
    ) -> object:
        """Do what a ws-api request asks for, which weighs as much as the REST call behind it."""
        meter, is_order, now_ms = self._meter_of(key[1]), _is_order(key), self._now_ms()
        refusal = meter.charge(_weigh(key, parameters), is_order, now_ms)
        if refusal is not None:
            raise LimitError(refusal, now_ms)
        result = await deed()
        if is_order:
            meter.count_order(self._now_ms())
        return result

    def told(self, key: RouteKey) -> list[dict[str, object]]:
        """Render ``rateLimits`` of an answer of ws-api."""
        return self._meter_of(key[1]).counts(_is_order(key), self._now_ms())

    def _meter_of(self, path: str) -> WeightMeter:
        return self._spot_meter if path.startswith((SPOT, SESSION[1])) else self._meter

    def _now_ms(self) -> int:
        return self._clock.now_ns() // NS_PER_MS


def _is_order(key: RouteKey) -> bool:
    return key in ORDER_CALLS or key in SPOT_ORDER_CALLS


def _weigh(key: RouteKey, parameters: Mapping[str, str]) -> int:
    if key[1].startswith((SPOT, SESSION[1])):
        return spot_weight(*key, parameters)
    return request_weight(*key, parameters)


def _parameters(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, max_num_fields=FIELDS_MAX))
    except ValueError:
        return {}
