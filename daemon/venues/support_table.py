"""What exchanges support, as ccxt itself says: ``python -m daemon.venues.support_table`` prints it.

Every cell comes from the installed ccxt, none from this file: from ``has``, for sandboxes also from
the addresses it knows, for client ids from whether its code that makes an order reads one. "?"
means that ccxt does not say, "raw" that only the exchange's own call exists, without a common name.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from typing import Any

import ccxt
import ccxt.pro

SHOWN = (
    "binance",
    "binanceusdm",
    "bitget",
    "bitfinex",
    "bybit",
    "coinbase",
    "deribit",
    "gate",
    "htx",
    "hyperliquid",
    "kraken",
    "krakenfutures",
    "kucoin",
    "mexc",
    "okx",
)
COLUMNS = (
    "exchange",
    "order book stream",
    "client ids",
    "reduce-only",
    "ws orders",
    "dead-man switch",
    "sandbox",
)
_ORDER_CODE = ("create_order", "create_spot_order", "create_contract_order", "order_request")
_YES, _NO, _UNSAID, _RAW = "yes", "no", "?", "raw"


def support_row(exchange_id: str) -> tuple[str, ...]:
    """Return one exchange's row: its name, then a word per column."""
    exchange = getattr(ccxt.pro, exchange_id)()
    has = exchange.has
    return (
        exchange_id,
        _word(has.get("watchOrderBook")),
        _word(_reads_client_id(exchange)),
        _word(has.get("createReduceOnlyOrder")),
        _word(has.get("createOrderWs")),
        _dead_man_switch(exchange),
        _word(has.get("sandbox") or bool(exchange.urls.get("test"))),
    )


def support_table(exchange_ids: Sequence[str] = SHOWN) -> str:
    """Return the table as markdown, with the version of ccxt under it."""
    rows = [COLUMNS, tuple("---" for _ in COLUMNS), *map(support_row, exchange_ids)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", f"Generated from ccxt {ccxt.__version__}."])


def _reads_client_id(exchange: Any) -> bool:
    """Look for the unified parameter in the code of the exchange's own order calls."""
    return any(
        "clientOrderId" in inspect.getsource(getattr(each, name))
        for each in type(exchange).__mro__
        if each.__module__.startswith(("ccxt.pro.", "ccxt.async_support."))
        and each.__module__.rpartition(".")[2] != "exchange"
        for name in vars(each)
        if name.startswith(_ORDER_CODE)
    )


def _dead_man_switch(exchange: Any) -> str:
    if exchange.has.get("cancelAllOrdersAfter"):
        return _YES
    names = (name.lower() for name in dir(exchange))
    has_raw = any("countdowncancelall" in name or "cancelallafter" in name for name in names)
    return _RAW if has_raw else _word(exchange.has.get("cancelAllOrdersAfter"))


def _word(value: object) -> str:
    if value is None:
        return _UNSAID
    return _YES if value else _NO


if __name__ == "__main__":
    sys.stdout.write(support_table() + "\n")
