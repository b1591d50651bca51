"""What befalls the spot account without its client's doing. No I/O and no clock."""

from __future__ import annotations

from collections.abc import Callable

from daemon.simulated import spot_documents
from daemon.simulated.spot_listings import QUOTE_ASSET
from daemon.simulated.spot_order import SpotOrder
from daemon.simulated.spot_venue import SpotVenue
from daemon.simulated.venue_order import WORKING

Publish = Callable[[dict[str, object]], None]


class SpotIntrusions:
    """Changes the account of the spot half from outside."""

    def __init__(self, venue: SpotVenue, publish: Publish) -> None:
        """Tell what is told through ``publish``, the way of all spot user events."""
        self._venue = venue
        self._publish = publish

    def change_balance(self, amount_e8: int, is_told: bool, now_ms: int) -> None:
        """Pay in (positive) or out, in the quote asset; never more than is free."""
        holdings = self._venue.holdings
        moved_e8 = max(amount_e8, -holdings.free_e8[QUOTE_ASSET])
        holdings.free_e8[QUOTE_ASSET] += moved_e8
        holdings.updated_ms = now_ms
        if is_told:
            self._publish(spot_documents.balance_event(QUOTE_ASSET, moved_e8, now_ms))
            self._publish(spot_documents.position_event(holdings, (QUOTE_ASSET,), now_ms))

    def fill_late(self, order: SpotOrder, now_ms: int) -> None:
        """Fill what was left of an order that is over, as far as the balance goes."""
        if order.status not in WORKING and order.open_lots > 0:
            self._fill(order, order.open_lots, now_ms)

    def overfill(self, order: SpotOrder, lots: int, now_ms: int) -> None:
        """Fill more than was ordered, as far as the balance goes."""
        if lots > 0:
            self._fill(order, lots, now_ms)

    def _fill(self, order: SpotOrder, lots: int, now_ms: int) -> None:
        market = self._venue.markets[order.request.instrument]
        price_ticks = order.request.price_ticks or market.mark_ticks
        affordable = self._venue.affordable_lots(order.request, price_ticks)
        if min(lots, affordable) > 0:
            self._venue.desk.book_fill(order, price_ticks, min(lots, affordable), now_ms)
