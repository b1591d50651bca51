"""Request weights and order counts as Binance keeps them: pure, on the venue's clock.

Windows are those of the wall clock: a minute for weight; for orders ten seconds and a minute, on
spot ten seconds and a day. The tables are those of USD-M (spot: ``spot_weights``). Who goes on
asking after a 429 is banned: 418, each ban in a row twice as long as the one before.
Source of the weights: the public documentation of each call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MINUTE_MS = 60_000
TEN_SECONDS_MS = 10_000
DAY_MS = 86_400_000
BAN_MS_FIRST = 120_000
BAN_MS_MAX = 259_200_000
IGNORED_MAX = 20
"""Requests that may follow a 429 within its window before they earn a ban."""

DEPTH_WEIGHTS = ((50, 2), (100, 5), (500, 10), (1000, 20))

WEIGHTS: Mapping[tuple[str, str], tuple[int, int]] = {
    # with a symbol, without one
    ("GET", "/fapi/v1/trades"): (5, 5),
    ("GET", "/fapi/v1/ticker/bookTicker"): (2, 5),
    ("GET", "/fapi/v1/openOrders"): (1, 40),
    ("GET", "/fapi/v1/openAlgoOrders"): (1, 40),
    ("GET", "/fapi/v1/allOrders"): (5, 5),
    ("GET", "/fapi/v1/allAlgoOrders"): (5, 5),
    ("GET", "/fapi/v1/userTrades"): (5, 5),
    ("GET", "/fapi/v1/commissionRate"): (20, 20),
    ("GET", "/fapi/v1/positionSide/dual"): (30, 30),
    ("GET", "/fapi/v2/account"): (5, 5),
    ("GET", "/fapi/v3/account"): (5, 5),
    ("GET", "/fapi/v2/balance"): (5, 5),
    ("GET", "/fapi/v3/balance"): (5, 5),
    ("GET", "/fapi/v2/positionRisk"): (5, 5),
    ("GET", "/fapi/v3/positionRisk"): (5, 5),
    ("POST", "/fapi/v1/countdownCancelAll"): (10, 10),
    ("POST", "/fapi/v1/order"): (0, 0),
    ("POST", "/fapi/v1/algoOrder"): (0, 0),
}
ORDER_CALLS = frozenset({("POST", "/fapi/v1/order"), ("POST", "/fapi/v1/algoOrder")})


def request_weight(method: str, path: str, parameters: Mapping[str, str]) -> int:
    """Return what a request weighs; what is not listed weighs one."""
    if path == "/fapi/v1/depth":
        text = parameters.get("limit", "") or "500"
        limit = int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else 1000
        return next((weight for most, weight in DEPTH_WEIGHTS if limit <= most), 20)
    with_symbol, without = WEIGHTS.get((method, path), (1, 1))
    return with_symbol if parameters.get("symbol") else without


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request is not served: HTTP status, the venue's code and text, when to come back."""

    status: int
    code: int
    message: str
    retry_after_s: int
    retry_at_ms: int


class _Window:
    """A count that starts anew with each window of the clock."""

    __slots__ = ("_length_ms", "_number", "count")

    def __init__(self, length_ms: int) -> None:
        self._length_ms = length_ms
        self._number = 0
        self.count = 0

    def turn(self, now_ms: int) -> int:
        """Begin anew where time has moved on; return the count."""
        number = now_ms // self._length_ms
        if number != self._number:
            self._number = number
            self.count = 0
        return self.count

    def left_ms(self, now_ms: int) -> int:
        """Return the time to the next window."""
        return self._length_ms - now_ms % self._length_ms

    def left_s(self, now_ms: int) -> int:
        """Return the seconds to the next window, rounded up."""
        return -(-self.left_ms(now_ms) // 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPeriod:
    """The longer of the two windows in which orders are counted, and its names on the wire."""

    unit: str
    header: str
    length_ms: int


PER_MINUTE = OrderPeriod(unit="MINUTE", header="X-MBX-ORDER-COUNT-1M", length_ms=MINUTE_MS)
PER_DAY = OrderPeriod(unit="DAY", header="X-MBX-ORDER-COUNT-1D", length_ms=DAY_MS)


class WeightMeter:
    """What one address has used up on one of the two dialects."""

    def __init__(
        self,
        weight_max: int,
        orders_10s_max: int,
        orders_period_max: int,
        period: OrderPeriod = PER_MINUTE,
    ) -> None:
        """Allow this much per window; ``orders_period_max`` goes with ``period``."""
        self._weight_max = weight_max
        self._orders_10s_max = orders_10s_max
        self._orders_period_max = orders_period_max
        self._period = period
        self._weight = _Window(MINUTE_MS)
        self._orders_10s = _Window(TEN_SECONDS_MS)
        self._orders_period = _Window(period.length_ms)
        self._ignored = _Window(MINUTE_MS)
        self._banned_until_ms = 0
        self._bans = 0

    def charge(self, weight: int, is_order: bool, now_ms: int) -> Refusal | None:
        """Count a request; return why it is refused, None when it may pass."""
        if now_ms < self._banned_until_ms:
            return self._banned(now_ms)
        self._weight.turn(now_ms)
        self._weight.count += weight
        if self._weight.count > self._weight_max:
            self._ignored.turn(now_ms)
            self._ignored.count += 1
            if self._ignored.count > IGNORED_MAX:
                length_ms = min(BAN_MS_FIRST << min(self._bans, 20), BAN_MS_MAX)
                self._bans += 1
                self._ignored.count = 0
                self._banned_until_ms = now_ms + length_ms
                return self._banned(now_ms)
            text = (
                f"Too many requests; current limit is {self._weight_max} request weight per 1 "
                "MINUTE. Please use the websocket for live updates to avoid polling the API."
            )
            return _too_much(-1003, text, self._weight, now_ms)
        return self._order_refusal(now_ms) if is_order else None

    def count_order(self, now_ms: int) -> None:
        """Count an order that was accepted."""
        for window in (self._orders_10s, self._orders_period):
            window.turn(now_ms)
            window.count += 1

    def headers(self, is_order: bool, now_ms: int) -> dict[str, str]:
        """Return what an answer tells about the windows."""
        told = {"X-MBX-USED-WEIGHT-1M": str(self._weight.turn(now_ms))}
        if is_order:
            told["X-MBX-ORDER-COUNT-10S"] = str(self._orders_10s.turn(now_ms))
            told[self._period.header] = str(self._orders_period.turn(now_ms))
        return told

    def limits(self) -> list[dict[str, object]]:
        """Render the limits as exchangeInfo states them."""
        rows = (
            ("REQUEST_WEIGHT", "MINUTE", 1, self._weight_max),
            ("ORDERS", "SECOND", 10, self._orders_10s_max),
            ("ORDERS", self._period.unit, 1, self._orders_period_max),
        )
        return [
            {"rateLimitType": kind, "interval": unit, "intervalNum": count, "limit": limit}
            for kind, unit, count, limit in rows
        ]

    def counts(self, is_order: bool, now_ms: int) -> list[dict[str, object]]:
        """Render the limits that a ws-api request touches, with what is used up of each."""
        weight, *orders = self.limits()
        rows = [weight | {"count": self._weight.turn(now_ms)}]
        if is_order:
            windows = (self._orders_10s, self._orders_period)
            used = [{"count": window.turn(now_ms)} for window in windows]
            rows = [row | count for row, count in zip(orders, used, strict=True)] + rows
        return rows

    def _order_refusal(self, now_ms: int) -> Refusal | None:
        for window, most, words in (
            (self._orders_10s, self._orders_10s_max, "10 SECOND"),
            (self._orders_period, self._orders_period_max, f"1 {self._period.unit}"),
        ):
            if window.turn(now_ms) >= most:
                text = f"Too many new orders; current limit is {most} orders per {words}."
                return _too_much(-1015, text, window, now_ms)
        return None

    def _banned(self, now_ms: int) -> Refusal:
        text = (
            f"Way too many requests; IP(127.0.0.1) banned until {self._banned_until_ms}. Please "
            "use the websocket for live updates to avoid bans."
        )
        return Refusal(
            status=418,
            code=-1003,
            message=text,
            retry_after_s=-(-(self._banned_until_ms - now_ms) // 1000),
            retry_at_ms=self._banned_until_ms,
        )


def _too_much(code: int, message: str, window: _Window, now_ms: int) -> Refusal:
    return Refusal(
        status=429,
        code=code,
        message=message,
        retry_after_s=window.left_s(now_ms),
        retry_at_ms=now_ms + window.left_ms(now_ms),
    )
