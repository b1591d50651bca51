"""What differs between a venue's markets, as far as a feed is concerned: names, calls and words.

The machinery of the feed (links, books, backfill, verdicts) is one; everything that Binance USD-M
and Binance spot say in different ways is asked of one of these. ``spot_rules`` holds spot's half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from daemon.venues.normalize import Normalizer
from kernels.units import Instrument

if TYPE_CHECKING:
    from daemon.venues.tap import TapBinanceUsdm

LISTEN_KEY_REFRESH_S = 1_200.0
"""The venue ends a user stream whose key was not renewed for 60 minutes."""


class MarketRules(Protocol):
    """One market of a venue.

    ``has_marks``: it streams a valuation price; else the middle of the quote stands in.
    ``quotes_tell_time``: best bid/ask carry the venue's time; else their age is that of the depth
    updates beside them, and order among them is told by ids alone. ``depth_rate`` None: the rate
    of the settings holds; else the market's only one does.
    """

    has_marks: bool
    quotes_tell_time: bool
    depth_rate: str | None

    def normalizer(self, instruments: Sequence[Instrument]) -> Normalizer:
        """Make the reader of this market's frames."""
        ...

    def stream_url(self, link_name: str) -> str:
        """Return the address of the public or the market socket."""
        ...

    async def depth(self, venue_id: str, levels: int) -> Any:
        """Ask for a book."""
        ...

    async def newest_trades(self, venue_id: str, limit: int) -> Any:
        """Ask for the newest trades, which needs no key."""
        ...

    async def trades_from(self, venue_id: str, first_id: int, limit: int) -> Any:
        """Ask for trades by id; only with a key."""
        ...

    async def user_url(self) -> str:
        """Return the address of the account's own stream, which may have to be asked for."""
        ...

    def user_request(self, request_id: int) -> Mapping[str, Any] | None:
        """Return what opens the account's stream on its socket; None where the address does."""
        ...

    async def renew_user_stream(self) -> None:
        """Say once more that somebody listens; called every ``LISTEN_KEY_REFRESH_S``."""
        ...


class UsdmRules:
    """Binance USD-M: sockets by kind, ``pu`` chains depth, a listen key opens the user stream."""

    has_marks = True
    quotes_tell_time = True
    depth_rate: str | None = None

    def __init__(self, exchange: TapBinanceUsdm) -> None:
        """Ask through this exchange object."""
        self._exchange = exchange

    def normalizer(self, instruments: Sequence[Instrument]) -> Normalizer:
        """Make the reader of USD-M frames."""
        return Normalizer(instruments)

    def stream_url(self, link_name: str) -> str:
        """Return the address of one kind of streams, then a number ccxt wants there."""
        return f"{self._exchange.get_ws_url('linear', link_name)}/0"

    async def depth(self, venue_id: str, levels: int) -> Any:
        """Ask for a book: weight 20 at 1,000 levels."""
        return await self._exchange.fapiPublicGetDepth({"symbol": venue_id, "limit": levels})

    async def newest_trades(self, venue_id: str, limit: int) -> Any:
        """Ask for the newest trades: weight 5."""
        return await self._exchange.fapiPublicGetTrades({"symbol": venue_id, "limit": limit})

    async def trades_from(self, venue_id: str, first_id: int, limit: int) -> Any:
        """Ask for trades by id: weight 20."""
        request = {"symbol": venue_id, "fromId": first_id, "limit": limit}
        return await self._exchange.fapiPublicGetHistoricalTrades(request)

    async def user_url(self) -> str:
        """Get a fresh listen key and return the address of its stream."""
        answer = await self._exchange.fapiPrivatePostListenKey()
        key = str(answer.get("listenKey", "")) if isinstance(answer, dict) else ""
        return str(self._exchange.get_private_ws_url("linear", key))

    def user_request(self, request_id: int) -> Mapping[str, Any] | None:
        """Return nothing: the address opens the stream."""
        return None

    async def renew_user_stream(self) -> None:
        """Renew the listen key."""
        await self._exchange.fapiPrivatePutListenKey()


def public_streams(instruments: Sequence[Instrument], depth_rate: str) -> tuple[str, ...]:
    """Name the streams of depth, trades and best bid/ask of every instrument."""
    kinds = (f"depth@{depth_rate}", "trade", "bookTicker")
    return tuple(f"{each.venue_id.lower()}@{kind}" for each in instruments for kind in kinds)


def market_streams(instruments: Sequence[Instrument]) -> tuple[str, ...]:
    """Name the mark price streams of every instrument."""
    return tuple(f"{each.venue_id.lower()}@markPrice@1s" for each in instruments)
