"""What Binance spot says differently from USD-M, as far as a feed is concerned.

- Depth updates carry no ``pu``: each begins right after the one before, U = u before + 1. The first
  applied one after a snapshot of id L has U <= L + 1 <= u. There is one fast rate, 100 ms.
- Best bid/ask carry no event name and no time of the venue, only the update id.
- A REST book carries no time; trades by id cost 25 units of weight instead of 20.
- There is no mark price and no funding.
- There is no listen key. The account's stream is a signed request on the ws-api socket, its events
  come wrapped with a subscription id, and it ends with ``eventStreamTerminated``.
- The report of a cancelled order names the cancellation as ``c`` and the order as ``C``.
- Commission is taken in the asset received: a purchase pays in the base asset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from daemon.venues.signer import signs_for
from daemon.venues.spot_normalize import SpotNormalizer
from kernels.units import Instrument

if TYPE_CHECKING:
    from daemon.venues.spot_tap import TapBinanceSpot

SUBSCRIBE = "userDataStream.subscribe.signature"


class SpotRules:
    """Binance spot; the module says what is particular about it."""

    has_marks = False
    quotes_tell_time = False
    depth_rate: str | None = "100ms"

    def __init__(self, exchange: TapBinanceSpot) -> None:
        """Ask through this exchange object."""
        self._exchange = exchange

    def normalizer(self, instruments: Sequence[Instrument]) -> SpotNormalizer:
        """Make the reader of spot frames."""
        return SpotNormalizer(instruments)

    def stream_url(self, link_name: str) -> str:
        """Return the one address of all public streams, then a number ccxt wants there."""
        return f"{self._exchange.urls['api']['ws']['spot']}/0"

    async def depth(self, venue_id: str, levels: int) -> Any:
        """Ask for a book: weight 50 at 1,000 levels."""
        return await self._exchange.publicGetDepth({"symbol": venue_id, "limit": levels})

    async def newest_trades(self, venue_id: str, limit: int) -> Any:
        """Ask for the newest trades: weight 25."""
        return await self._exchange.publicGetTrades({"symbol": venue_id, "limit": limit})

    async def trades_from(self, venue_id: str, first_id: int, limit: int) -> Any:
        """Ask for trades by id: weight 25."""
        request = {"symbol": venue_id, "fromId": first_id, "limit": limit}
        return await self._exchange.publicGetHistoricalTrades(request)

    async def user_url(self) -> str:
        """Return the address of ws-api."""
        return str(self._exchange.urls["api"]["ws"]["ws-api"]["spot"])

    def user_request(self, request_id: int) -> Mapping[str, Any] | None:
        """Return the signed request that opens the account's stream."""
        signed = signs_for(self._exchange)({})
        return {"id": request_id, "method": SUBSCRIBE, "params": signed}

    async def renew_user_stream(self) -> None:
        """Do nothing: the stream lives as long as its socket."""
