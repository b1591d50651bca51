"""The venue's words as typed structs: what a Binance USD-M stream frame or REST answer may hold.

Only the fields that are used are named; msgspec skips the rest. Prices and quantities stay text
until an instrument's grid turns them into integers, level lists stay raw JSON.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=9_000_000_000_000)]
"""UNIX milliseconds that still fit int64 as nanoseconds."""

Identifier = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
"""Update, trade and order ids."""


class BookTickerFrame(msgspec.Struct, tag_field="e", tag="bookTicker"):
    """Best bid and ask after a change."""

    u: Identifier
    s: str
    b: str
    B: str
    a: str
    A: str
    E: Milliseconds


class TradeFrame(msgspec.Struct, tag_field="e", tag="trade"):
    """One public print; ``m``: the buyer was the maker, so the taker sold."""

    s: str
    t: Identifier
    p: str
    q: str
    E: Milliseconds
    m: bool


class DepthFrame(msgspec.Struct, tag_field="e", tag="depthUpdate"):
    """Changes of the book."""

    s: str
    U: Identifier
    u: Identifier
    pu: Identifier
    E: Milliseconds
    b: msgspec.Raw
    a: msgspec.Raw


class MarkPriceFrame(msgspec.Struct, tag_field="e", tag="markPriceUpdate"):
    """Valuation price and funding; ``r`` is empty for delivery contracts."""

    s: str
    p: str
    r: str
    E: Milliseconds


MarketFrame = BookTickerFrame | TradeFrame | DepthFrame | MarkPriceFrame


class OrderWords(msgspec.Struct):
    """The order inside ORDER_TRADE_UPDATE."""

    s: str
    c: str
    S: str
    x: str
    X: str
    i: Identifier
    z: str
    l: str = "0"  # noqa: E741  # the venue's own letter: quantity of this fill
    L: str = "0"
    N: str = ""
    n: str = "0"
    t: Annotated[int, msgspec.Meta(ge=-1, le=2**62)] = 0
    m: bool = False
    r: Annotated[int, msgspec.Meta(ge=-100_000, le=100_000)] = 0


class OrderTradeFrame(msgspec.Struct, tag_field="e", tag="ORDER_TRADE_UPDATE"):
    """A change of one of our orders."""

    E: Milliseconds
    T: Milliseconds
    o: OrderWords


class BalanceWords(msgspec.Struct):
    """One asset inside ACCOUNT_UPDATE: wallet balance and its change."""

    a: str
    wb: str
    bc: str = "0"


class PositionWords(msgspec.Struct):
    """One position inside ACCOUNT_UPDATE: signed amount."""

    s: str
    pa: str
    ps: str = "BOTH"


class AccountWords(msgspec.Struct):
    """What changed in the account, and why (``m``)."""

    m: str
    B: list[BalanceWords] = []
    P: list[PositionWords] = []


class AccountFrame(msgspec.Struct, tag_field="e", tag="ACCOUNT_UPDATE"):
    """A change of balances and positions."""

    E: Milliseconds
    a: AccountWords


UserFrame = OrderTradeFrame | AccountFrame


class Envelope(msgspec.Struct):
    """Any JSON object: enough to tell an event from an answer to a request, and a good one."""

    e: str | None = None
    id: int | str | None = None
    error: Any = None
    code: Any = None


class DepthAnswer(msgspec.Struct):
    """REST depth, re-encoded: the whole book as of ``lastUpdateId``; ``E`` the venue's clock."""

    lastUpdateId: Identifier
    bids: msgspec.Raw
    asks: msgspec.Raw
    E: Milliseconds = 0


class TradeAnswer(msgspec.Struct):
    """One row of REST trades and historicalTrades."""

    id: Identifier
    price: str
    qty: str
    time: Milliseconds
    isBuyerMaker: bool


class OrderAnswer(msgspec.Struct):
    """REST answer about one order (create, cancel, query, open orders)."""

    orderId: Identifier
    symbol: str
    clientOrderId: str
    status: str
    executedQty: str
    updateTime: Milliseconds = 0
    side: str = ""
    origQty: str = "0"
    price: str = "0"
    reduceOnly: bool = False


class UserTradeAnswer(msgspec.Struct):
    """One row of REST userTrades; it names the venue's order id, not ours."""

    id: Identifier
    symbol: str
    orderId: Identifier
    side: str
    price: str
    qty: str
    commission: str
    commissionAsset: str
    time: Milliseconds
    maker: bool
