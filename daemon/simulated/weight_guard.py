"""Stands before the REST calls, counts what they weigh, and refuses what is too much.

Futures and spot are counted apart, as the venue counts them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from daemon.clock import Clock
from daemon.simulated.request_weights import ORDER_CALLS, WeightMeter, request_weight
from daemon.simulated.spot_weights import SPOT_ORDER_CALLS, spot_weight

NS_PER_MS = 1_000_000
FUTURES = ("/fapi/", "/sapi/")
SPOT = "/api/"
FIELDS_MAX = 64

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


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
        if path.startswith(FUTURES):
            meter, order_calls, weigh = self._meter, ORDER_CALLS, request_weight
        elif path.startswith(SPOT):
            meter, order_calls, weigh = self._spot_meter, SPOT_ORDER_CALLS, spot_weight
        else:
            return await self._handler(request)
        is_order = (request.method, path) in order_calls
        weight = weigh(request.method, path, _parameters(query))
        now_ms = self._clock.now_ns() // NS_PER_MS
        refusal = meter.charge(weight, is_order, now_ms)
        if refusal is None:
            answer = await self._handler(request)
            if is_order and answer.status == 200:
                meter.count_order(self._clock.now_ns() // NS_PER_MS)
        else:
            answer = web.Response(
                body=orjson.dumps({"code": refusal.code, "msg": refusal.message}),
                status=refusal.status,
                headers={"Retry-After": str(refusal.retry_after_s)},
                content_type="application/json",
            )
        answer.headers.update(meter.headers(is_order, self._clock.now_ns() // NS_PER_MS))
        return answer


def _parameters(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, max_num_fields=FIELDS_MAX))
    except ValueError:
        return {}
