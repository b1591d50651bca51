"""What the simulated exchange lists: grids and filters of its contracts, in Binance USD-M's terms.

Source: the public exchange information of Binance USD-M futures (tick, step, minimum notional).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernels.units import Instrument, from_e8, to_e8


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One perpetual contract; sizes are decimal strings as the venue prints them."""

    base: str
    tick_size: str
    lot_size: str
    lots_max: int
    notional_min_quote: str
    opening_price: str

    @property
    def venue_id(self) -> str:
        """Name on the wire, such as ``BTCUSDT``."""
        return f"{self.base}USDT"

    @property
    def symbol(self) -> str:
        """Unified name, such as ``BTC/USDT:USDT``."""
        return f"{self.base}/USDT:USDT"


LISTINGS: tuple[Listing, ...] = (
    Listing(
        base="BTC",
        tick_size="0.10",
        lot_size="0.001",
        lots_max=1_000_000,
        notional_min_quote="100",
        opening_price="60000.0",
    ),
    Listing(
        base="ETH",
        tick_size="0.01",
        lot_size="0.001",
        lots_max=10_000_000,
        notional_min_quote="20",
        opening_price="2600.00",
    ),
    Listing(
        base="SOL",
        tick_size="0.0100",
        lot_size="0.01",
        lots_max=100_000_000,
        notional_min_quote="5",
        opening_price="150.00",
    ),
    Listing(
        base="BNB",
        tick_size="0.010",
        lot_size="0.01",
        lots_max=10_000_000,
        notional_min_quote="5",
        opening_price="520.00",
    ),
    Listing(
        base="XRP",
        tick_size="0.0001",
        lot_size="0.1",
        lots_max=100_000_000,
        notional_min_quote="5",
        opening_price="0.5800",
    ),
)
"""Every contract the exchange can trade; ``opening_price`` starts a synthetic market."""


def find_listing(name: str) -> Listing:
    """Look a contract up by unified symbol or venue id; ValueError names what is listed."""
    for listing in LISTINGS:
        if name in (listing.symbol, listing.venue_id):
            return listing
    known = ", ".join(listing.symbol for listing in LISTINGS)
    raise ValueError(f"{name} is not listed on the simulated exchange (listed: {known})")


def price_decimals(instrument: Instrument) -> int:
    """Count the decimals of a contract's prices on the wire; of one not listed here, its grid's."""
    return _decimals(instrument, "tick_size", instrument.tick_size_e8)


def quantity_decimals(instrument: Instrument) -> int:
    """Count the decimals of a contract's quantities on the wire, as ``price_decimals``."""
    return _decimals(instrument, "lot_size", instrument.lot_size_e8)


def _decimals(instrument: Instrument, name: str, grid_e8: int) -> int:
    for listing in LISTINGS:
        if listing.venue_id == instrument.venue_id:
            return len(str(getattr(listing, name)).partition(".")[2])
    return len(from_e8(grid_e8).rstrip("0").partition(".")[2])


def listed_instruments(
    names: Sequence[str], *, maker_fee_bps: float, taker_fee_bps: float
) -> tuple[Instrument, ...]:
    """Build the instruments of a run in the order given; ValueError for one that is not listed."""
    return tuple(
        Instrument(
            index=index,
            symbol=listing.symbol,
            venue_id=listing.venue_id,
            tick_size_e8=to_e8(listing.tick_size),
            lot_size_e8=to_e8(listing.lot_size),
            lots_min=1,
            lots_max=listing.lots_max,
            notional_min_quote_e8=to_e8(listing.notional_min_quote),
            maker_fee_frac=maker_fee_bps / 10_000,
            taker_fee_frac=taker_fee_bps / 10_000,
        )
        for index, listing in enumerate(find_listing(name) for name in names)
    )
