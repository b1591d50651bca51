"""The orders that close a position in an emergency: IOC limits, wider with every attempt. Pure.

They stay inside the gate's collar, because they pass the gate like every order. What cannot be
closed inside it is the guard's, which reaches further.
"""

from __future__ import annotations

import math

from kernels.events import OrderIntent, OrderType, Side
from kernels.units import BPS_PER_UNIT, Instrument

WIDTHS_FRAC = (0.1, 0.25, 0.5, 0.95)
"""Distance of the limit from the reference price by attempt, as a share of the collar."""


def closing_intent(
    *,
    sequence: int,
    instrument: Instrument,
    position_lots: int,
    bid_ticks: int,
    ask_ticks: int,
    mark_ticks: int,
    price_collar_bps: float,
    attempt: int,
    decided_ns: int,
) -> OrderIntent | None:
    """Return the reduce-only IOC order that closes a position, as far as one order may.

    ``attempt`` counts from 0. The reference is the middle of the quote, the mark where a side is
    missing (0); None without either, or when there is nothing that could be closed.
    """
    reference_ticks = float(mark_ticks)
    if bid_ticks > 0 and ask_ticks > 0:
        reference_ticks = 0.5 * (bid_ticks + ask_ticks)
    quantity_lots = min(abs(position_lots), instrument.lots_max)
    if reference_ticks <= 0.0 or quantity_lots < instrument.lots_min:
        return None
    collar_frac = price_collar_bps / BPS_PER_UNIT
    width_frac = collar_frac * WIDTHS_FRAC[min(attempt, len(WIDTHS_FRAC) - 1)]
    if position_lots > 0:
        side = Side.SELL
        lowest_ticks = math.ceil(reference_ticks * (1.0 - collar_frac))
        price_ticks = max(math.floor(reference_ticks * (1.0 - width_frac)), lowest_ticks, 1)
    else:
        side = Side.BUY
        highest_ticks = math.floor(reference_ticks * (1.0 + collar_frac))
        price_ticks = max(min(math.ceil(reference_ticks * (1.0 + width_frac)), highest_ticks), 1)
    return OrderIntent(
        sequence=sequence,
        instrument=instrument.index,
        side=side,
        quantity_lots=quantity_lots,
        price_ticks=price_ticks,
        order_type=OrderType.IOC,
        reduce_only=True,
        decided_ns=decided_ns,
        reason="flatten",
    )
