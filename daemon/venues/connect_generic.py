"""Opens any exchange of ccxt.pro for watching: public streams only, without keys."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any

import aiohttp
import ccxt.pro
import certifi
from ccxt.base.decimal_to_precision import TICK_SIZE
from ccxt.base.errors import BaseError

from config.settings import FeedSettings
from daemon.venues.connect import Access, LoopbackResolver, VenueError
from daemon.venues.generic import WatchedMarket
from kernels.units import Instrument, to_e8

REQUEST_TIMEOUT_MS = 10_000


async def open_generic(
    exchange_id: str, settings: FeedSettings, access: Access | None = None
) -> Any:
    """Connect to an exchange and load its markets; the caller gives it to ``close_generic``.

    With ``access`` every host name leads to the simulated exchange. VenueError when ccxt.pro has no
    such exchange, or it does not answer.
    """
    if exchange_id not in ccxt.pro.exchanges:
        raise VenueError(f"ccxt.pro has no exchange {exchange_id!r}")
    cafile = certifi.where() if access is None else str(access.ca_pem_path)
    resolver = None if access is None else LoopbackResolver(access.host, access.port)
    trust = ssl.create_default_context(cafile=cafile)
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=resolver, ssl=trust))
    config: dict[str, Any] = {
        "session": session,
        "timeout": REQUEST_TIMEOUT_MS,
        "enableRateLimit": access is None,
        "newUpdates": True,
        "streaming": {"keepAlive": settings.keepalive_ms},
    }
    exchange = getattr(ccxt.pro, exchange_id)(config)
    exchange.own_session = session
    try:
        await exchange.load_markets()
    except BaseError as error:
        await close_generic(exchange)
        # not chained: a ccxt error quotes the whole request
        raise VenueError(f"{exchange_id} does not answer: {type(error).__name__}") from None
    return exchange


async def close_generic(exchange: Any) -> None:
    """Close the exchange's sockets, then the session that is ours."""
    await exchange.close()
    await exchange.own_session.close()


def watched_markets(exchange: Any, symbols: Sequence[str]) -> tuple[WatchedMarket, ...]:
    """Read the grids of the symbols; VenueError for a market that is absent or has no fine grid."""
    return tuple(_market(exchange, index, symbol) for index, symbol in enumerate(symbols))


def _market(exchange: Any, index: int, symbol: str) -> WatchedMarket:
    market = exchange.markets.get(symbol)
    if market is None:
        raise VenueError(f"{exchange.id} has no market {symbol}")
    try:
        tick, step = (_step(exchange, market["precision"][name]) for name in ("price", "amount"))
        contract_size = float(market.get("contractSize") or 1.0)
        limits = market["limits"]
        lots_min = max(round(float(limits["amount"].get("min") or step) / step), 1)
        instrument = Instrument(
            index=index,
            symbol=symbol,
            venue_id=str(market["id"]),
            tick_size_e8=to_e8(f"{tick:.8f}"),
            lot_size_e8=to_e8(f"{step * contract_size:.8f}"),
            lots_min=lots_min,
            lots_max=2**40,
            notional_min_quote_e8=to_e8(f"{float(limits['cost'].get('min') or 0.0):.8f}"),
            maker_fee_frac=float(market.get("maker") or 0.0),
            taker_fee_frac=float(market.get("taker") or 0.0),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise VenueError(f"{exchange.id} {symbol}: no usable grid: {error}") from error
    has_mark = bool(exchange.has.get("watchMarkPrice") and market.get("contract"))
    return WatchedMarket(instrument=instrument, amount_step=step, has_mark=has_mark)


def _step(exchange: Any, precision: float) -> float:
    """Return the size of one step; some exchanges count decimals instead."""
    return float(precision) if exchange.precisionMode == TICK_SIZE else 10.0 ** -int(precision)
