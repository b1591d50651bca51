"""Spot orders that wait for their stop price: who waits on which pair, and whom a price releases.

On spot a stop order has the calls, the ids and the events of every other order; it only does not
work yet. Source: the order types, filters and error pages of Binance spot's public documents. That
a stop order to buy at the market sets aside its quantity at the last price is an observation that
users report; the documents are silent.
"""

from __future__ import annotations

from collections.abc import Iterable

from daemon.simulated.spot_account import lock_of
from daemon.simulated.spot_order import SpotOrder
from daemon.simulated.spot_request import SpotRequest
from daemon.simulated.venue_market import VenueMarket

STOP_ORDERS_MAX = 5
"""MAX_NUM_ALGO_ORDERS of a pair's filters."""


class WaitingStops:
    """The stop orders that no price has released yet, oldest first."""

    def __init__(self, instruments: Iterable[int]) -> None:
        """Start with none of these pairs."""
        self._waiting: dict[int, dict[int, SpotOrder]] = {index: {} for index in instruments}

    def add(self, order: SpotOrder) -> None:
        """Let an order wait."""
        self._waiting[order.request.instrument][order.order_id] = order

    def drop(self, order: SpotOrder) -> None:
        """Forget an order; nothing where it does not wait."""
        self._waiting[order.request.instrument].pop(order.order_id, None)

    def count(self, instrument: int) -> int:
        """Return how many wait on a pair."""
        return len(self._waiting[instrument])

    def reached(self, instrument: int, price_ticks: int) -> list[SpotOrder]:
        """List the orders of a pair that a trade at this price releases."""
        waiting = self._waiting[instrument].values()
        return [order for order in waiting if order.request.is_released(price_ticks)]


def lock_ticks_of(request: SpotRequest, market: VenueMarket) -> int:
    """Return the price at which an order sets its lots aside, 0 where it sets none aside."""
    if request.price_ticks or not request.stop_ticks:
        return request.price_ticks
    return market.last_ticks


def stop_needs(request: SpotRequest, market: VenueMarket) -> tuple[str, int]:
    """Return asset and amount in 1e-8 that must be free for a stop order to wait."""
    ticks = lock_ticks_of(request, market)
    return lock_of(market.instrument, request.side, ticks, request.quantity_lots)
