"""Implementation shortfall of one order: what executing cost against the price it was decided on.

Perold, "The implementation shortfall: paper versus reality", Journal of Portfolio Management 14(3),
1988. The paper price is the mid at the decision; signs are costs, so a positive number is money
lost. What stayed unfilled is named, not priced: the next decision carries it on at its own price.
Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

BPS_PER_UNIT = 10_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One fill: its price in ticks, its size in lots, its fee in 1e-8 quote."""

    price_ticks: int
    quantity_lots: int
    fee_quote_e8: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """Cost of one order in basis points of the mid at its decision; None while nothing is filled.

    ``delay_ns`` is from the decision to the first fill; ``unfilled_lots`` what did not execute.
    """

    decision_mid_ticks: float
    average_price_ticks: float | None
    price_bps: float | None
    fee_bps: float | None
    total_bps: float | None
    filled_lots: int
    unfilled_lots: int
    delay_ns: int | None

    def words(self) -> dict[str, Any]:
        """Give it as a document, numbers rounded to a thousandth."""
        return {
            name: round(value, 3) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def measure(
    *,
    side: int,
    decision_mid_ticks: float,
    quantity_lots: int,
    tick_lot_quote_e8: int | None,
    fills: Sequence[Execution],
    delay_ns: int | None,
) -> Shortfall:
    """Measure an order of ``side`` +1 or -1; fees need the value of one tick of one lot."""
    filled_lots = sum(fill.quantity_lots for fill in fills)
    average_ticks = price_bps = fee_bps = total_bps = None
    if filled_lots and decision_mid_ticks > 0.0:
        paid = sum(fill.price_ticks * fill.quantity_lots for fill in fills)
        average_ticks = paid / filled_lots
        drift_ticks = side * (average_ticks - decision_mid_ticks)
        price_bps = drift_ticks / decision_mid_ticks * BPS_PER_UNIT
        if tick_lot_quote_e8:
            value_e8 = decision_mid_ticks * filled_lots * tick_lot_quote_e8
            fee_bps = sum(fill.fee_quote_e8 for fill in fills) / value_e8 * BPS_PER_UNIT
            total_bps = price_bps + fee_bps
    return Shortfall(
        decision_mid_ticks=decision_mid_ticks,
        average_price_ticks=average_ticks,
        price_bps=price_bps,
        fee_bps=fee_bps,
        total_bps=total_bps,
        filled_lots=filled_lots,
        unfilled_lots=max(quantity_lots - filled_lots, 0),
        delay_ns=delay_ns,
    )
