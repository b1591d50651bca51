"""The words of Binance spot as typed structs, where they differ from those of USD-M.

Only the fields that are used are named; msgspec skips the rest.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from daemon.venues.wire import Identifier, Milliseconds, TradeFrame


class SpotTickerFrame(msgspec.Struct):
    """Best bid and ask after a change: no event name, no time."""

    u: Identifier
    s: str
    b: str
    B: str
    a: str
    A: str


class SpotDepthFrame(msgspec.Struct, tag_field="e", tag="depthUpdate"):
    """Changes of the book; continues the one before where U = its u + 1."""

    s: str
    U: Identifier
    u: Identifier
    E: Milliseconds
    b: msgspec.Raw
    a: msgspec.Raw


SpotMarketFrame = TradeFrame | SpotDepthFrame


class ExecutionFrame(msgspec.Struct, tag_field="e", tag="executionReport"):
    """A change of one of our orders; ``C`` names the order where ``c`` names its cancellation."""

    E: Milliseconds
    s: str
    c: str
    S: str
    x: str
    X: str
    i: Identifier
    z: str
    C: str | None = ""
    l: str = "0"  # noqa: E741  # the venue's own letter: quantity of this fill
    L: str = "0"
    n: str = "0"
    N: str | None = None
    t: Annotated[int, msgspec.Meta(ge=-1, le=2**62)] = -1
    m: bool = False
    r: str = "NONE"


class HoldingWords(msgspec.Struct):
    """One asset: what is free and what is locked by orders."""

    a: str
    f: str
    l: str = "0"  # noqa: E741  # the venue's own letter


class HoldingsFrame(msgspec.Struct, tag_field="e", tag="outboundAccountPosition"):
    """The balances that an event may have changed."""

    E: Milliseconds
    B: list[HoldingWords]


class BalanceFrame(msgspec.Struct, tag_field="e", tag="balanceUpdate"):
    """Money that came or went by no trade."""

    E: Milliseconds
    a: str
    d: str


SpotUserFrame = ExecutionFrame | HoldingsFrame | BalanceFrame


class SpotUserMessage(msgspec.Struct):
    """What arrives on the ws-api socket of an account's stream."""

    event: SpotUserFrame


class OtherEvent(msgspec.Struct):
    """The name of any event."""

    e: str


class OtherUserMessage(msgspec.Struct):
    """A wrapped event of a name that is none of ours."""

    event: OtherEvent
