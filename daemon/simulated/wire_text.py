"""Integers to the decimal strings of the venue's wire, with the number of decimals it uses."""

from __future__ import annotations

from daemon.simulated.listings import price_decimals, quantity_decimals
from kernels.units import E8, Instrument, from_e8

ASSET = "USDT"


def decimal_text(amount_e8: int, decimals: int) -> str:
    """Print 1e-8 units with a fixed number of decimals (0 to 8), cut toward zero."""
    text = from_e8(amount_e8)
    return text[: len(text) - 8 + decimals] if decimals else text.partition(".")[0]


def price_wire(instrument: Instrument, ticks: int) -> str:
    """Print a price such as ``61800.20``."""
    return decimal_text(ticks * instrument.tick_size_e8, price_decimals(instrument))


def quantity_wire(instrument: Instrument, lots: int) -> str:
    """Print a quantity such as ``0.014``."""
    return decimal_text(lots * instrument.lot_size_e8, quantity_decimals(instrument))


def average_price_wire(notional_e8: int, lots: int, instrument: Instrument) -> str:
    """Print the average price of executions worth ``notional_e8``, ``0.00`` for none."""
    if lots == 0:
        return "0.00"
    return decimal_text(notional_e8 * E8 // (lots * instrument.lot_size_e8), 5)
