"""ccxt's client without a socket: frames are handed in by the caller, for benchmarks.

The same objects that a connection would use (``TapClient`` and, where no reader takes a frame,
ccxt's own handlers behind ``watch_*``), so that both ways can be timed on the same frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiohttp

from daemon.venues.tap import FrameReader, TapBinanceUsdm

PUBLIC_URL = "wss://fstream.binance.com/public/ws/0"
"""Names the socket to ccxt; nothing is ever opened."""

BOOK_LEVELS = 1_000
Message = aiohttp.WSMessage
Rows = Sequence[Sequence[str]]


class SocketlessVenue:
    """One public socket of Binance USD-M that exists on paper only; needs a running event loop."""

    def __init__(self, exchange_document: Mapping[str, Any]) -> None:
        """Let ccxt know the markets of an exchangeInfo document."""
        self.exchange = TapBinanceUsdm({}, None)
        markets = [self.exchange.parse_market(row) for row in exchange_document["symbols"]]
        self.exchange.set_markets(markets)

    def reader_for(self, on_frame: FrameReader | None) -> Callable[[aiohttp.WSMessage], None]:
        """Return what a receive loop calls per message; None as reader leaves all to ccxt."""
        url = f"{PUBLIC_URL}{'?ours' if on_frame else ''}"
        client = self.exchange.client(url)
        client.on_frame = on_frame
        handle: Callable[[aiohttp.WSMessage], None] = client.handle_message
        return handle

    def load_book(self, symbol: str, bids: Rows, asks: Rows, last_update_id: int) -> None:
        """Give ccxt the snapshot from which its own book of a market follows the updates."""
        parsed = self.exchange.parse_order_book(
            {"bids": bids, "asks": asks}, symbol, None, "bids", "asks"
        )
        parsed["nonce"] = last_update_id
        if symbol not in self.exchange.orderbooks:
            self.exchange.orderbooks[symbol] = self.exchange.order_book({}, BOOK_LEVELS)
        self.exchange.orderbooks[symbol].reset(parsed)

    def best_of_book(self, symbol: str) -> tuple[float, float]:
        """Return best bid and ask of ccxt's own book."""
        book = self.exchange.orderbooks[symbol]
        return float(book["bids"][0][0]), float(book["asks"][0][0])

    def best_quoted(self, symbol: str) -> tuple[float, float]:
        """Return best bid and ask as ccxt read them last."""
        quoted = self.exchange.bidsasks[symbol]
        return float(quoted["bid"]), float(quoted["ask"])

    async def close(self) -> None:
        """Release what ccxt holds."""
        await self.exchange.close()


def text_message(text: str) -> aiohttp.WSMessage:
    """Wrap a text frame as the websocket library delivers it."""
    return aiohttp.WSMessage(aiohttp.WSMsgType.TEXT, text, None)
