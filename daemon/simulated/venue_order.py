"""What the exchange remembers of an order and of an execution."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.simulated.order_request import OrderRequest
from kernels.events import Fill

NEW, PARTIALLY_FILLED, FILLED = "NEW", "PARTIALLY_FILLED", "FILLED"
CANCELED, EXPIRED = "CANCELED", "EXPIRED"
WORKING = frozenset({NEW, PARTIALLY_FILLED})


@dataclass(slots=True, kw_only=True)
class VenueOrder:
    """One accepted order and how far it got."""

    order_id: int
    request: OrderRequest
    quantity_lots: int
    created_ms: int
    updated_ms: int
    status: str = NEW
    filled_lots: int = 0
    filled_notional_e8: int = 0

    @property
    def open_lots(self) -> int:
        """Lots not filled yet."""
        return self.quantity_lots - self.filled_lots


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueFill:
    """One execution with what the venue reports about it."""

    fill: Fill
    order_id: int
    realised_e8: int
    time_ms: int
