"""Opens the venue of a mode: which hosts, which keys, which grid.

sim talks to production addresses that a resolver leads to our own loopback server under a
throw-away certificate authority; paper reads the public feed of the venue, or of the simulated
exchange, without a key; testnet talks to the venue's demo hosts; live to production. Every
mode has a list of the hosts it may talk to, checked before the first request and at each one.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import certifi
from aiohttp.abc import AbstractResolver
from ccxt.base.errors import BaseError

from config.credentials import Credentials
from config.settings import Settings
from daemon.venues.hosts import (
    DEMO_HOSTS,
    HOSTS_BY_MODE,
    PRODUCTION_HOSTS,
    LoopbackResolver,
    VenueError,
)
from daemon.venues.orders import RECV_WINDOW_MS
from daemon.venues.paper import PaperBinanceUsdm
from daemon.venues.tap import Tap, TapBinanceUsdm, make_trace, refusal_of
from kernels.units import Instrument, to_e8

__all__ = [
    "DEMO_HOSTS",
    "HOSTS_BY_MODE",
    "PRODUCTION_HOSTS",
    "Access",
    "LoopbackResolver",
    "VenueError",
    "build",
    "check_hosts",
    "connect",
    "load_instruments",
]

REQUEST_TIMEOUT_MS = 5_000
CONNECTION_KEEPALIVE_S = 60.0

_USED_URLS = ("fapiPublic", "fapiPrivate", "fapiPrivateV2", "fapiPrivateV3")


class Access(Protocol):
    """Where the simulated exchange listens, and with which keys."""

    @property
    def host(self) -> str:
        """Address, loopback only."""
        ...

    @property
    def port(self) -> int:
        """TLS port of REST and streams."""
        ...

    @property
    def ca_pem_path(self) -> str | Path:
        """Certificate authority that the server's certificate is signed by."""
        ...

    @property
    def api_key(self) -> str:
        """Key of the simulated account."""
        ...

    @property
    def api_secret(self) -> str:
        """Secret of the simulated account."""
        ...


async def connect(
    settings: Settings, credentials: Credentials | None, access: Access | None
) -> TapBinanceUsdm:
    """Open the venue of ``settings.mode`` and load its markets; the caller closes it.

    ``access`` belongs to venue sim and only to it. Raises VenueError when the venue cannot be
    reached or a host is not allowed.
    """
    exchange = build(settings, credentials, access)
    await check_and_load(exchange, settings, lambda: check_hosts(exchange))
    return exchange


async def check_and_load(exchange: Tap, settings: Settings, check: Callable[[], None]) -> None:
    """Check where an exchange object would talk to, then load its markets; closed on a refusal.

    Raises VenueError when the venue cannot be reached or a host is not allowed.
    """
    try:
        check()
        await exchange.load_markets()
    except BaseError as error:
        await exchange.close()
        # not chained: the text of a ccxt error may hold a signed URL
        raise VenueError(f"{settings.mode}: {refusal_of(error).reason}") from None
    except BaseException:
        await exchange.close()
        raise


def build(
    settings: Settings, credentials: Credentials | None, access: Access | None
) -> TapBinanceUsdm:
    """Make the exchange object of a mode without talking to anyone; needs a running loop."""
    config = ccxt_config(settings, access)
    if settings.mode == "paper":
        return PaperBinanceUsdm(config, HOSTS_BY_MODE[settings.mode])
    exchange = TapBinanceUsdm(config | keys_of(credentials, access), HOSTS_BY_MODE[settings.mode])
    if settings.mode == "testnet":
        exchange.enable_demo_trading(True)
    return exchange


def keys_of(credentials: Credentials | None, access: Access | None) -> dict[str, str]:
    """Name the keys as ccxt does: the simulated exchange's own, or the user's, or none."""
    keys = credentials if access is None else access
    return {} if keys is None else {"apiKey": keys.api_key, "secret": keys.api_secret}


def ccxt_config(settings: Settings, access: Access | None, kind: str = "linear") -> dict[str, Any]:
    """Configure ccxt for one kind of market, with a session of its own; needs a running loop."""
    if (settings.venue == "sim") != (access is not None):
        raise VenueError(f"venue {settings.venue} and a simulated exchange do not belong together")
    if access is not None:
        trust = ssl.create_default_context(cafile=str(access.ca_pem_path))
        resolver: AbstractResolver | None = LoopbackResolver(access.host, access.port)
    else:
        trust = ssl.create_default_context(cafile=certifi.where())
        resolver = None
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            resolver=resolver, ssl=trust, keepalive_timeout=CONNECTION_KEEPALIVE_S
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        trace_configs=[make_trace()],
    )
    return {
        "session": session,
        "timeout": REQUEST_TIMEOUT_MS,
        "enableRateLimit": False,  # the gate has its own budget, with a reserve for cancels
        "maxRetriesOnFailure": 0,  # nothing is ever sent twice
        "streaming": {"keepAlive": settings.feed.keepalive_ms, "maxPingPongMisses": 2},
        "options": {
            "fetchCurrencies": False,
            "fetchMarkets": {"types": [kind]},
            "adjustForTimeDifference": True,
            "recvWindow": RECV_WINDOW_MS,
            "ws": {"options": {"compress": 0}},  # inflating a frame costs more than its bytes
        },
    }


def check_hosts(exchange: TapBinanceUsdm) -> None:
    """Refuse an exchange object that would talk to a host outside its list, before it does."""
    urls = exchange.urls["api"]
    addresses = [urls[name] for name in _USED_URLS if name in urls]
    addresses += [exchange.get_ws_url("linear", kind) for kind in ("public", "market", "private")]
    if "ws-api" in urls["ws"] and not isinstance(exchange, PaperBinanceUsdm):
        addresses.append(urls["ws"]["ws-api"]["linear"])
    for address in addresses:
        exchange.guard(address)


def load_instruments(exchange: TapBinanceUsdm, symbols: Sequence[str]) -> tuple[Instrument, ...]:
    """Read the grids of the configured symbols from the markets already loaded.

    Raises VenueError for a symbol that the venue does not trade, or whose grid it does not state.
    """
    return tuple(_instrument(exchange, index, symbol) for index, symbol in enumerate(symbols))


def _instrument(exchange: TapBinanceUsdm, index: int, symbol: str) -> Instrument:
    market = (exchange.markets or {}).get(symbol)
    if market is None or not market.get("linear") or not market.get("swap"):
        raise VenueError(f"{symbol} is no linear perpetual of this venue")
    return read_grid(index, symbol, market, "MIN_NOTIONAL", "notional")


def read_grid(
    index: int, symbol: str, market: Mapping[str, Any], least_filter: str, least_name: str
) -> Instrument:
    """Read a market's grid from its filters; the least notional stands where the venue puts it.

    Raises VenueError where the venue does not state the grid.
    """
    try:
        filters = {row["filterType"]: row for row in market["info"]["filters"]}
        lot_size_e8 = to_e8(filters["LOT_SIZE"]["stepSize"])
        return Instrument(
            index=index,
            symbol=symbol,
            venue_id=market["id"],
            tick_size_e8=to_e8(filters["PRICE_FILTER"]["tickSize"]),
            lot_size_e8=lot_size_e8,
            lots_min=-(-to_e8(filters["LOT_SIZE"]["minQty"]) // lot_size_e8),
            lots_max=to_e8(filters["LOT_SIZE"]["maxQty"]) // lot_size_e8,
            notional_min_quote_e8=to_e8(filters[least_filter][least_name]),
            maker_fee_frac=float(market["maker"]),
            taker_fee_frac=float(market["taker"]),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise VenueError(f"{symbol}: the venue does not state its grid: {error!r}") from error
