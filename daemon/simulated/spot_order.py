"""What the exchange remembers of a spot order and of its executions."""

from __future__ import annotations

from dataclasses import dataclass, field

from daemon.simulated.spot_request import SpotRequest
from daemon.simulated.venue_order import NEW

NO_REASON, INSUFFICIENT_BALANCES = "NONE", "INSUFFICIENT_BALANCES"
"""Why an order was refused after it had been accepted, in the words of executionReport."""

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
    client id of the request that cancelled it. ``lock_ticks`` is the price at which the open lots
    are set aside, 0 where nothing is. ``working_ms`` is when the order came to the book, 0 while it
    waits for its stop price.
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
    lock_ticks: int = 0
    working_ms: int = 0
    reason: str = NO_REASON
    fills: list[SpotFill] = field(default_factory=list)

    @property
    def open_lots(self) -> int:
        """Lots not filled yet."""
        return self.quantity_lots - self.filled_lots
