"""The slow twin of kernels.levels: json and exact decimal parsing, one level at a time."""

from __future__ import annotations

import json
from decimal import ROUND_HALF_UP, Decimal

from kernels.units import Instrument, to_e8


def nearest_lots_naive(text: str, instrument: Instrument) -> int:
    """Round a quantity to whole lots, halves up, and never to nothing what is something."""
    amount_e8 = Decimal(to_e8(text))
    lots = (amount_e8 / instrument.lot_size_e8).to_integral_value(ROUND_HALF_UP)
    return max(int(lots), int(amount_e8 > 0))


def parse_levels_naive(
    text: bytes, instrument: Instrument, *, has_old_lots: bool = False
) -> list[tuple[int, int]]:
    """Read level pairs the obvious way; ValueError where the kernel must refuse."""
    levels = []
    for price, quantity in json.loads(text):
        for word in (price, quantity):
            if not word[:1].isdigit() and word[:1] != ".":
                raise ValueError(f"signed or empty: {word!r}")
        read = nearest_lots_naive if has_old_lots else _exact_lots
        level = instrument.price_ticks(price), read(quantity, instrument)
        if level[0] == 0:
            raise ValueError("a price of zero")
        levels.append(level)
    return levels


def _exact_lots(text: str, instrument: Instrument) -> int:
    return instrument.quantity_lots(text)
