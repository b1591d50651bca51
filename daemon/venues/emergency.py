"""A second, small way to the venue: signed REST without ccxt, for the guard.

It knows the few calls that end a run: cancel, look, close, and the venue's dead-man switch. Nothing
is repeated here; every failure becomes an ``EmergencyError`` that says how long to wait.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import certifi
import orjson
from yarl import URL

from daemon.clock import Clock
from daemon.venues.hosts import HOSTS_BY_MODE, REST_HOST_BY_MODE, LoopbackResolver, VenueError
from kernels.events import Side
from kernels.units import Instrument, to_e8

REQUEST_TIMEOUT_S = 3.0
RECV_WINDOW_MS = 5_000
RETRY_AFTER_S_MAX = 600.0
ANSWER_BYTES_MAX = 8 * 1024 * 1024
UNKNOWN_ORDER_CODE = -2011
CLOCK_CODE = -1021
REASON_CHARACTERS_MAX = 200
NS_PER_MS = 1_000_000


class EmergencyError(Exception):
    """The venue did not do what was asked; the text never holds a signed address."""

    def __init__(
        self, what: str, status: int, code: int, reason: str, retry_after_s: float
    ) -> None:
        """Keep HTTP status (0: no answer), the venue's code, and how long it wants us to wait."""
        super().__init__(f"{what}: {reason[:REASON_CHARACTERS_MAX]} (status {status}, code {code})")
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Loopback:
    """Where the simulated exchange listens."""

    host: str
    port: int
    ca_pem_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Top:
    """Best prices of one instrument in ticks, 0 where the venue states none."""

    bid_ticks: int
    ask_ticks: int
    mark_ticks: int


class EmergencyClient:
    """One signed session of a mode; made inside a running loop, closed by its maker."""

    def __init__(
        self,
        *,
        mode: str,
        api_key: str,
        api_secret: str,
        loopback: Loopback | None,
        clock: Clock,
        spares: Callable[[str], bool] | None = None,
    ) -> None:
        """Open a session that talks to the one REST host of the mode.

        ``spares`` says by its client order id which open order is somebody else's to look after.
        """
        if (mode == "sim") != (loopback is not None):
            raise VenueError(f"mode {mode} and a simulated exchange do not belong together")
        host = REST_HOST_BY_MODE[mode]
        assert host in HOSTS_BY_MODE[mode]
        self._base = f"https://{host}"
        self._secret = api_secret.encode()
        self._clock = clock
        self._spares = spares
        self._offset_ms = 0
        self._is_synchronised = False
        if loopback is None:
            trust = ssl.create_default_context(cafile=certifi.where())
            resolver = None
        else:
            trust = ssl.create_default_context(cafile=str(Path(loopback.ca_pem_path)))
            resolver = LoopbackResolver(loopback.host, loopback.port)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=resolver, ssl=trust, limit=8),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"X-MBX-APIKEY": api_key},
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S),
        )

    async def close(self) -> None:
        """Close the session."""
        await self._session.close()

    async def load_instruments(self, symbols: Sequence[str]) -> tuple[Instrument, ...]:
        """Read the grids of linear perpetuals; a symbol that the venue does not list is left out.

        Raises EmergencyError, also for grids that cannot be read.
        """
        answer = await self._ask("GET", "/fapi/v1/exchangeInfo", {}, is_signed=False)
        try:
            rows = {
                f"{row['baseAsset']}/{row['quoteAsset']}:{row['marginAsset']}": row
                for row in answer["symbols"]
                if row["contractType"] == "PERPETUAL"
            }
            listed = [symbol for symbol in symbols if symbol in rows]
            return tuple(_instrument(i, symbol, rows[symbol]) for i, symbol in enumerate(listed))
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise _unreadable("exchangeInfo", error) from None

    async def cancel_all(self, instrument: Instrument) -> None:
        """Cancel every open order of an instrument, whoever sent it; but those that are spared."""
        words = {"symbol": instrument.venue_id}
        if self._spares is None:
            await self._ask("DELETE", "/fapi/v1/allOpenOrders", words)
            return
        for name in await self._open_orders(instrument):
            try:
                await self._ask("DELETE", "/fapi/v1/order", {**words, "origClientOrderId": name})
            except EmergencyError as error:
                if error.code != UNKNOWN_ORDER_CODE:  # it may have ended meanwhile
                    raise

    async def open_order_count(self, instrument: Instrument) -> int:
        """Count the open orders of an instrument that are not spared."""
        return len(await self._open_orders(instrument))

    async def _open_orders(self, instrument: Instrument) -> list[str]:
        """List the open orders of an instrument, by client order id, without those spared."""
        answer = await self._ask("GET", "/fapi/v1/openOrders", {"symbol": instrument.venue_id})
        try:
            if not isinstance(answer, list):
                raise TypeError("no list")
            names = [str(row["clientOrderId"]) for row in answer]
        except (KeyError, TypeError) as error:
            raise _unreadable("openOrders", error) from None
        return [name for name in names if self._spares is None or not self._spares(name)]

    async def position_lots(self, instruments: Sequence[Instrument]) -> tuple[int, ...]:
        """Read the position of every instrument; one that is not listed is flat."""
        answer = await self._ask("GET", "/fapi/v3/account", {})
        by_id = {each.venue_id: place for place, each in enumerate(instruments)}
        lots = [0] * len(instruments)
        try:
            for row in answer["positions"]:
                place = by_id.get(row["symbol"])
                if place is not None:
                    lots[place] += instruments[place].quantity_lots(row["positionAmt"])
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable("account", error) from None
        return tuple(lots)

    async def top(self, instrument: Instrument) -> Top:
        """Read best bid and ask, and the mark price where one of them is missing."""
        words = {"symbol": instrument.venue_id}
        book = await self._ask("GET", "/fapi/v1/ticker/bookTicker", words, is_signed=False)
        try:
            bid_ticks = _ticks(instrument, book["bidPrice"])
            ask_ticks = _ticks(instrument, book["askPrice"])
            mark_ticks = 0
            if not (bid_ticks and ask_ticks):
                mark = await self._ask("GET", "/fapi/v1/premiumIndex", words, is_signed=False)
                mark_ticks = _ticks(instrument, mark["markPrice"])
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable("prices", error) from None
        return Top(bid_ticks=bid_ticks, ask_ticks=ask_ticks, mark_ticks=mark_ticks)

    async def close_position(
        self,
        instrument: Instrument,
        *,
        side: Side,
        quantity_lots: int,
        price_ticks: int,
        time_in_force: str,
        client_order_id: str,
    ) -> None:
        """Send one reduce-only order; ``price_ticks`` 0 makes it a market order."""
        words = {
            "symbol": instrument.venue_id,
            "side": "BUY" if side is Side.BUY else "SELL",
            "quantity": instrument.quantity_text(quantity_lots),
            "reduceOnly": "true",
            "newClientOrderId": client_order_id,
            "newOrderRespType": "RESULT",
        }
        if price_ticks:
            words |= {
                "type": "LIMIT",
                "timeInForce": time_in_force,
                "price": instrument.price_text(price_ticks),
            }
        else:
            words["type"] = "MARKET"
        await self._ask("POST", "/fapi/v1/order", words)

    async def set_countdown(self, instrument: Instrument, countdown_ms: int) -> None:
        """Arm the venue's dead-man switch of an instrument, or disarm it with 0."""
        words = {"symbol": instrument.venue_id, "countdownTime": str(countdown_ms)}
        await self._ask("POST", "/fapi/v1/countdownCancelAll", words)

    async def _ask(
        self, method: str, path: str, words: Mapping[str, str], *, is_signed: bool = True
    ) -> Any:
        if is_signed and not self._is_synchronised:
            await self._synchronise()
        query = self._sign(words) if is_signed else urlencode(words)
        url = URL(f"{self._base}{path}?{query}" if query else self._base + path, encoded=True)
        what = f"{method} {path}"
        try:
            async with self._session.request(method, url, allow_redirects=False) as answer:
                status = answer.status
                retry_after_s = _seconds(answer.headers.get("Retry-After", ""))
                body = await answer.content.read(ANSWER_BYTES_MAX)
                if not answer.content.at_eof():
                    body += await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            # not chained, and without its text: both may hold the signed address
            raise EmergencyError(what, 0, 0, type(error).__name__, 0.0) from None
        try:
            document = orjson.loads(body)
        except ValueError:
            document = None
        if status == 200 and document is not None:
            return document
        code, reason = _words_of(document)
        if code == CLOCK_CODE:
            self._is_synchronised = False
        raise EmergencyError(what, status, code, reason, retry_after_s)

    async def _synchronise(self) -> None:
        """Measure the venue's clock against ours; half the round trip is taken as the way there."""
        asked_ns = self._clock.now_ns()
        answer = await self._ask("GET", "/fapi/v1/time", {}, is_signed=False)
        try:
            server_ms = int(answer["serverTime"])
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable("time", error) from None
        middle_ns = (asked_ns + self._clock.now_ns()) // 2
        self._offset_ms = server_ms - middle_ns // NS_PER_MS
        self._is_synchronised = True

    def _sign(self, words: Mapping[str, str]) -> str:
        timestamp_ms = self._clock.now_ns() // NS_PER_MS + self._offset_ms
        timing = {"recvWindow": str(RECV_WINDOW_MS), "timestamp": str(timestamp_ms)}
        query = urlencode({**words, **timing})
        signature = hmac.new(self._secret, query.encode(), hashlib.sha256).hexdigest()
        return f"{query}&signature={signature}"


def _instrument(index: int, symbol: str, row: Mapping[str, Any]) -> Instrument:
    filters = {each["filterType"]: each for each in row["filters"]}
    lot_size_e8 = to_e8(filters["LOT_SIZE"]["stepSize"])
    return Instrument(
        index=index,
        symbol=symbol,
        venue_id=row["symbol"],
        tick_size_e8=to_e8(filters["PRICE_FILTER"]["tickSize"]),
        lot_size_e8=lot_size_e8,
        lots_min=-(-to_e8(filters["LOT_SIZE"]["minQty"]) // lot_size_e8),
        lots_max=to_e8(filters["LOT_SIZE"]["maxQty"]) // lot_size_e8,
        notional_min_quote_e8=to_e8(filters["MIN_NOTIONAL"]["notional"]),
        maker_fee_frac=0.0,
        taker_fee_frac=0.0,
    )


def _ticks(instrument: Instrument, text: str) -> int:
    """Read a price that may lie off the grid, as mark prices do; 0 for none."""
    return to_e8(text[: text.find(".") + 9] if "." in text else text) // instrument.tick_size_e8


def _seconds(text: str) -> float:
    try:
        return min(max(float(text), 0.0), RETRY_AFTER_S_MAX) if text else 0.0
    except ValueError:
        return 0.0


def _words_of(document: Any) -> tuple[int, str]:
    if not isinstance(document, dict):
        return 0, "no answer in the venue's words"
    try:
        return int(document.get("code", 0)), str(document.get("msg", ""))
    except (TypeError, ValueError):
        return 0, str(document.get("msg", ""))


def _unreadable(what: str, error: Exception) -> EmergencyError:
    return EmergencyError(what, 200, 0, f"unreadable: {type(error).__name__}", 0.0)
