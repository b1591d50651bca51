"""Opens Binance spot for watching and recording; the daemon sends no order there."""

from __future__ import annotations

from collections.abc import Sequence

from config.credentials import Credentials
from config.settings import Settings
from daemon.venues.connect import (
    Access,
    ccxt_config,
    check_and_load,
    connect,
    keys_of,
    load_instruments,
    read_grid,
)
from daemon.venues.hosts import SPOT_HOSTS_BY_MODE, VenueError
from daemon.venues.spot_tap import TapBinanceSpot
from daemon.venues.tap import Tap, TapBinanceUsdm
from kernels.units import Instrument

SPOT_VENUE = "binance"


def is_spot(settings: Settings) -> bool:
    """Tell whether spot is meant: as the venue, or by pairs alone on the built-in exchange."""
    if settings.venue != "sim":
        return settings.venue == SPOT_VENUE
    return not any(":" in symbol for symbol in settings.instruments)


async def connect_spot(
    settings: Settings, credentials: Credentials | None, access: Access | None
) -> TapBinanceSpot:
    """Open spot for ``settings.mode`` and load its markets; the caller closes it.

    Raises VenueError when the venue cannot be reached or a host is not allowed.
    """
    config = ccxt_config(settings, access, kind="spot") | keys_of(credentials, access)
    exchange = TapBinanceSpot(config, SPOT_HOSTS_BY_MODE[settings.mode])
    if settings.mode == "testnet":
        exchange.set_sandbox_mode(True)
    await check_and_load(exchange, settings, lambda: check_spot_hosts(exchange))
    return exchange


def check_spot_hosts(exchange: TapBinanceSpot) -> None:
    """Refuse an exchange object that would talk to a host outside its list, before it does."""
    urls = exchange.urls["api"]
    for address in (urls["public"], urls["ws"]["spot"], urls["ws"]["ws-api"]["spot"]):
        exchange.guard(address)


def load_pairs(exchange: TapBinanceSpot, symbols: Sequence[str]) -> tuple[Instrument, ...]:
    """Read the grids of spot pairs from the markets already loaded.

    Raises VenueError for a symbol that is no pair there, for one whose grid is not stated, and for
    pairs of different quote assets: one feed has one wallet.
    """
    instruments = tuple(_pair(exchange, index, symbol) for index, symbol in enumerate(symbols))
    quotes = {each.symbol.partition("/")[2] for each in instruments}
    if len(quotes) > 1:
        raise VenueError(f"pairs of one feed have one quote asset, not {', '.join(sorted(quotes))}")
    return instruments


def _pair(exchange: TapBinanceSpot, index: int, symbol: str) -> Instrument:
    market = (exchange.markets or {}).get(symbol)
    if market is None or not market.get("spot"):
        raise VenueError(f"{symbol} is no spot pair of this venue")
    return read_grid(index, symbol, market, "NOTIONAL", "minNotional")


async def connect_feed(
    settings: Settings, access: Access | None, *, present_only: bool = False
) -> tuple[Tap, tuple[Instrument, ...]]:
    """Open the venue of a feed without a key: spot or USD-M, as the configuration means.

    ``present_only``: symbols that the venue does not list are left out, as long as one is there: a
    recording may hold fewer than are configured.
    """
    venue: TapBinanceSpot | TapBinanceUsdm
    if is_spot(settings):
        venue = await connect_spot(settings, None, access)
    else:
        venue = await connect(settings, None, access)
    venue.apiKey = ""  # no account is looked at
    symbols: Sequence[str] = settings.instruments
    if present_only:
        present = tuple(each for each in symbols if each in (venue.markets or {}))
        symbols = present or symbols
    try:
        if isinstance(venue, TapBinanceSpot):
            return venue, load_pairs(venue, symbols)
        return venue, load_instruments(venue, symbols)
    except VenueError:
        await venue.close()
        raise
