"""What the simulated exchange lists on spot: grids and filters of its pairs, in Binance's terms.

Source: the public exchange information of Binance spot (tick, step, notional, percent price). A
pair is another instrument than the contract of the same venue id: ``BTC/USDT`` is no
``BTC/USDT:USDT``, though both are ``BTCUSDT`` on their wires.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernels.units import Instrument, from_e8, to_e8

QUOTE_ASSET = "USDT"
STREAM_PREFIX = "spot/"
"""Keeps the streams of spot apart from those of futures inside the exchange; never on the wire."""

NOTIONAL_MIN_QUOTE = "5"
NOTIONAL_MAX_QUOTE = "9000000"
PRICE_FACTOR_MAX = 5
"""PERCENT_PRICE_BY_SIDE: a limit lies between the fifth and five times the average price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotListing:
    """One pair against USDT; sizes are decimal strings."""

    base: str
    tick_size: str
    lot_size: str
    quantity_max: str
    opening_price: str

    @property
    def venue_id(self) -> str:
        """Name on the wire, such as ``BTCUSDT``."""
        return f"{self.base}{QUOTE_ASSET}"

    @property
    def symbol(self) -> str:
        """Unified name, such as ``BTC/USDT``."""
        return f"{self.base}/{QUOTE_ASSET}"


SPOT_LISTINGS: tuple[SpotListing, ...] = (
    SpotListing(
        base="BTC",
        tick_size="0.01",
        lot_size="0.00001",
        quantity_max="9000",
        opening_price="60000.00",
    ),
    SpotListing(
        base="ETH",
        tick_size="0.01",
        lot_size="0.0001",
        quantity_max="9000",
        opening_price="2600.00",
    ),
    SpotListing(
        base="SOL",
        tick_size="0.01",
        lot_size="0.001",
        quantity_max="90000",
        opening_price="150.00",
    ),
    SpotListing(
        base="BNB",
        tick_size="0.01",
        lot_size="0.001",
        quantity_max="9000",
        opening_price="520.00",
    ),
    SpotListing(
        base="XRP",
        tick_size="0.0001",
        lot_size="0.1",
        quantity_max="9222449",
        opening_price="0.5800",
    ),
)
"""Every pair the exchange can trade; ``opening_price`` starts a synthetic market."""


def is_spot(symbol: str) -> bool:
    """Tell a pair (``BTC/USDT``) from a contract (``BTC/USDT:USDT``, ``BTCUSDT``)."""
    return "/" in symbol and ":" not in symbol


def find_spot_listing(symbol: str) -> SpotListing:
    """Look a pair up by its unified symbol; ValueError names what is listed."""
    for listing in SPOT_LISTINGS:
        if listing.symbol == symbol:
            return listing
    known = ", ".join(listing.symbol for listing in SPOT_LISTINGS)
    raise ValueError(f"{symbol} is not listed on the simulated exchange (listed: {known})")


def spot_instruments(
    names: Sequence[str], *, first_index: int, maker_fee_bps: float, taker_fee_bps: float
) -> tuple[Instrument, ...]:
    """Build the pairs of a run, numbered from ``first_index``; ValueError for one not listed."""
    return tuple(
        Instrument(
            index=first_index + offset,
            symbol=listing.symbol,
            venue_id=listing.venue_id,
            tick_size_e8=to_e8(listing.tick_size),
            lot_size_e8=to_e8(listing.lot_size),
            lots_min=1,
            lots_max=to_e8(listing.quantity_max) // to_e8(listing.lot_size),
            notional_min_quote_e8=to_e8(NOTIONAL_MIN_QUOTE),
            maker_fee_frac=maker_fee_bps / 10_000,
            taker_fee_frac=taker_fee_bps / 10_000,
        )
        for offset, listing in enumerate(find_spot_listing(name) for name in names)
    )


def base_asset(instrument: Instrument) -> str:
    """Name what a pair trades, such as ``BTC``."""
    return instrument.venue_id.removesuffix(QUOTE_ASSET)


def stream_prefix(instrument: Instrument) -> str:
    """Return the first part of an instrument's stream names inside the exchange."""
    name = instrument.venue_id.lower()
    return STREAM_PREFIX + name if is_spot(instrument.symbol) else name


def spot_price(instrument: Instrument, ticks: int) -> str:
    """Print a price as spot's wire does, with eight decimals."""
    return from_e8(ticks * instrument.tick_size_e8)


def spot_quantity(instrument: Instrument, lots: int) -> str:
    """Print a quantity as spot's wire does, with eight decimals."""
    return from_e8(lots * instrument.lot_size_e8)
