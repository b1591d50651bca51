"""What Binance spot's requests weigh, and which of them count as new orders. Pure.

Source of the weights: the public documentation of each call.
"""

from __future__ import annotations

from collections.abc import Mapping

SPOT_DEPTH_LIMIT_DEFAULT = "100"
SPOT_DEPTH_WEIGHTS = ((100, 5), (500, 25), (1000, 50))
SPOT_DEPTH_WEIGHT_MAX = 250

SESSION = ("WS", "/ws-api/v3")
"""Stands for the methods of ws-api that belong to the connection and to no REST call."""

SPOT_WEIGHTS: Mapping[tuple[str, str], tuple[int, int]] = {
    # with a symbol, without one
    ("GET", "/api/v3/exchangeInfo"): (20, 20),
    ("GET", "/api/v3/trades"): (25, 25),
    ("GET", "/api/v3/historicalTrades"): (25, 25),
    ("GET", "/api/v3/aggTrades"): (4, 4),
    ("GET", "/api/v3/klines"): (2, 2),
    ("GET", "/api/v3/avgPrice"): (2, 2),
    ("GET", "/api/v3/ticker/24hr"): (2, 80),
    ("GET", "/api/v3/ticker/price"): (2, 4),
    ("GET", "/api/v3/ticker/bookTicker"): (2, 4),
    ("GET", "/api/v3/account"): (20, 20),
    ("GET", "/api/v3/account/commission"): (20, 20),
    ("GET", "/api/v3/myTrades"): (20, 20),
    ("GET", "/api/v3/order"): (4, 4),
    ("GET", "/api/v3/openOrders"): (6, 80),
    ("GET", "/api/v3/allOrders"): (20, 20),
    SESSION: (2, 2),
}
OWN_TRADES_OF_ORDER_WEIGHT = 5
SPOT_ORDER_CALLS = frozenset({("POST", "/api/v3/order"), ("POST", "/api/v3/order/cancelReplace")})


def spot_weight(method: str, path: str, parameters: Mapping[str, str]) -> int:
    """Return what a spot request weighs; what is not listed weighs one."""
    if path == "/api/v3/depth":
        text = parameters.get("limit", "") or SPOT_DEPTH_LIMIT_DEFAULT
        if not (text.isascii() and text.isdigit() and len(text) <= 6):
            return SPOT_DEPTH_WEIGHT_MAX
        steps = (weight for most, weight in SPOT_DEPTH_WEIGHTS if int(text) <= most)
        return next(steps, SPOT_DEPTH_WEIGHT_MAX)
    if path == "/api/v3/myTrades" and parameters.get("orderId"):
        return OWN_TRADES_OF_ORDER_WEIGHT
    with_symbol, without = SPOT_WEIGHTS.get((method, path), (1, 1))
    return with_symbol if parameters.get("symbol") else without
