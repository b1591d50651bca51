"""Exact conversion between the wire's decimal strings and the integers used inside.

One instrument's grid is fixed for a run: ``tick_size`` and ``lot_size`` become integers of 1e-8, so
that ``ticks * lots * tick_lot_quote_e8`` is an exact amount of quote currency in 1e-8.
"""

from __future__ import annotations

from dataclasses import dataclass

E8 = 100_000_000
"""Integer units per whole unit of quote or base currency."""

BPS_PER_UNIT = 10_000.0

_E8_BY_DECIMALS: tuple[int, ...] = tuple(10 ** (8 - decimals) for decimals in range(9))


def to_e8(text: str) -> int:
    """Parse a plain decimal string into 1e-8 units, exactly.

    Raises ValueError for anything but an optionally signed decimal number, and for digits beyond
    the eighth decimal that are not zero (they could not be represented).
    """
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    if len(fraction) <= 8 and digits.isascii() and digits.isdigit():  # nearly all: 0.2 us
        return int(digits) * _E8_BY_DECIMALS[len(fraction)]
    sign = -1 if text[:1] == "-" else 1
    whole, _, fraction = text.lstrip("+-").partition(".")
    digits = whole + fraction
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f"not a decimal number: {text!r}")
    if fraction[8:].strip("0"):
        raise ValueError(f"more than eight decimals: {text!r}")
    return sign * (int(whole or "0") * E8 + int(fraction[:8].ljust(8, "0")))


def from_e8(amount_e8: int) -> str:
    """Print 1e-8 units as a decimal string with eight decimals."""
    sign = "-" if amount_e8 < 0 else ""
    whole, fraction = divmod(abs(amount_e8), E8)
    return f"{sign}{whole}.{fraction:08d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One tradable contract and its grid, as the venue's exchange information states it.

    ``symbol`` is the unified name (``BTC/USDT:USDT``), ``venue_id`` the venue's (``BTCUSDT``).
    Sizes in 1e-8; lot counts are in units of ``lot_size_e8``. Fees are fractions of notional.
    """

    index: int
    symbol: str
    venue_id: str
    tick_size_e8: int
    lot_size_e8: int
    lots_min: int
    lots_max: int
    notional_min_quote_e8: int
    maker_fee_frac: float
    taker_fee_frac: float

    def __post_init__(self) -> None:
        """Refuse a grid on which one tick times one lot is no whole number of 1e-8 quote."""
        if self.tick_size_e8 <= 0 or self.lot_size_e8 <= 0:
            raise ValueError(f"{self.symbol}: tick and lot size must be positive")
        if (self.tick_size_e8 * self.lot_size_e8) % E8:
            raise ValueError(f"{self.symbol}: one tick of one lot is finer than 1e-8 quote")

    @property
    def tick_lot_quote_e8(self) -> int:
        """Value of one lot at a price of one tick, in 1e-8 quote."""
        return self.tick_size_e8 * self.lot_size_e8 // E8

    @property
    def tick_size(self) -> float:
        """Price increment in quote currency."""
        return self.tick_size_e8 / E8

    @property
    def lot_size(self) -> float:
        """Quantity increment in base currency."""
        return self.lot_size_e8 / E8

    def price_ticks(self, text: str) -> int:
        """Convert a wire price to ticks; ValueError when it is off the grid."""
        return _on_grid(to_e8(text), self.tick_size_e8, self.symbol, "price", text)

    def quantity_lots(self, text: str) -> int:
        """Convert a wire quantity to lots; ValueError when it is off the grid."""
        return _on_grid(to_e8(text), self.lot_size_e8, self.symbol, "quantity", text)

    def price_text(self, ticks: int) -> str:
        """Print ticks as a decimal string for the wire."""
        return _trim(from_e8(ticks * self.tick_size_e8))

    def quantity_text(self, lots: int) -> str:
        """Print lots as a decimal string for the wire."""
        return _trim(from_e8(lots * self.lot_size_e8))

    def notional_quote_e8(self, ticks: int, lots: int) -> int:
        """Value of a quantity at a price, signed like ``lots``, in 1e-8 quote."""
        return ticks * lots * self.tick_lot_quote_e8


def _on_grid(amount_e8: int, step_e8: int, symbol: str, what: str, text: str) -> int:
    steps, rest = divmod(amount_e8, step_e8)
    if rest:
        raise ValueError(f"{symbol}: {what} {text} is not a multiple of {from_e8(step_e8)}")
    return steps


def _trim(text: str) -> str:
    return text.rstrip("0").rstrip(".")
