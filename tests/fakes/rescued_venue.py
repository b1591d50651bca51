"""A venue in trouble: it refuses, throttles and falls silent exactly as a test says."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from daemon.venues.emergency import EmergencyError, Top
from kernels.events import Side
from kernels.units import Instrument


def refusal(status: int, code: int = 0, retry_after_s: float = 0.0) -> EmergencyError:
    return EmergencyError("scripted", status, code, "scripted", retry_after_s)


@dataclass(frozen=True, kw_only=True)
class Closing:
    """One order that was sent to close a position."""

    instrument: str
    side: Side
    quantity_lots: int
    price_ticks: int
    time_in_force: str


@dataclass(kw_only=True)
class RescuedVenue:
    """Open orders and positions by instrument; ``troubles`` meet the next requests, in order.

    ``accepts`` decides which closing orders fill; ``refuses`` which are rejected outright.
    """

    open_orders: list[int]
    held_lots: list[int]
    troubles: deque[EmergencyError] = field(default_factory=deque)
    accepts: Callable[[Closing], bool] = lambda closing: True
    refuses: Callable[[Closing], bool] = lambda closing: False
    late_orders: int = 0
    closings: list[Closing] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    top_of: Top = field(default_factory=lambda: Top(bid_ticks=1000, ask_ticks=1001, mark_ticks=0))

    def _meet(self, name: str) -> None:
        self.requests.append(name)
        if self.troubles:
            raise self.troubles.popleft()

    async def cancel_all(self, instrument: Instrument) -> None:
        self._meet("cancel")
        self.open_orders[instrument.index] = self.late_orders
        self.late_orders = 0

    async def open_order_count(self, instrument: Instrument) -> int:
        self._meet("orders")
        return self.open_orders[instrument.index]

    async def position_lots(self, instruments: Sequence[Instrument]) -> tuple[int, ...]:
        self._meet("positions")
        return tuple(self.held_lots)

    async def top(self, instrument: Instrument) -> Top:
        self._meet("top")
        return self.top_of

    async def close_position(
        self,
        instrument: Instrument,
        *,
        side: Side,
        quantity_lots: int,
        price_ticks: int,
        time_in_force: str,
        client_order_id: str,
    ) -> None:
        self._meet("close")
        closing = Closing(
            instrument=instrument.symbol,
            side=side,
            quantity_lots=quantity_lots,
            price_ticks=price_ticks,
            time_in_force=time_in_force,
        )
        self.closings.append(closing)
        if self.refuses(closing):
            raise refusal(400, -2010)
        if self.accepts(closing):
            self.held_lots[instrument.index] += quantity_lots * side
