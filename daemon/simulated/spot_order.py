"""What the exchange remembers of a spot order and of its executions."""

from __future__ import annotations

from dataclasses import dataclass, field

from daemon.simulated.spot_request import SpotRequest
from daemon.simulated.venue_order import NEW

EXPIRED_IN_MATCH = "EXPIRED_IN_MATCH"
"""Ended because it met another order of the same account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotFill:
    """One execution as the venue reports it; the fee in 1e-8 of ``fee_asset``."""

    instrument: int
    order_id: int
    trade_id: int
    is_buy: bool
    price_ticks: int
    quantity_lots: int
    quote_e8: int
    fee_e8: int
    fee_asset: str
    is_maker: bool
    time_ms: int


@dataclass(slots=True, kw_only=True)
class SpotOrder:
    """One accepted order and how far it got.

    ``quantity_lots`` of an order by quote amount is what that amount bought. ``cancel_id`` is the
    client id of the request that cancelled it.
    """

    order_id: int
    request: SpotRequest
    quantity_lots: int
    created_ms: int
    updated_ms: int
    status: str = NEW
    filled_lots: int = 0
    filled_quote_e8: int = 0
    cancel_id: str = ""
    fills: list[SpotFill] = field(default_factory=list)

    @property
    def open_lots(self) -> int:
        """Lots not filled yet."""
        return self.quantity_lots - self.filled_lots
