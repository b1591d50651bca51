"""The slow twin of kernels.levels: json and exact decimal parsing, one level at a time."""

from __future__ import annotations

import json

from kernels.units import Instrument


def parse_levels_naive(text: bytes, instrument: Instrument) -> list[tuple[int, int]]:
    """Read level pairs the obvious way; ValueError where the kernel must refuse."""
    levels = []
    for price, quantity in json.loads(text):
        for word in (price, quantity):
            if not word[:1].isdigit() and word[:1] != ".":
                raise ValueError(f"signed or empty: {word!r}")
        level = instrument.price_ticks(price), instrument.quantity_lots(quantity)
        if level[0] == 0:
            raise ValueError("a price of zero")
        levels.append(level)
    return levels
