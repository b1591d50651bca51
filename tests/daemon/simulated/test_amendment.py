"""Amending a working contract order: what changes, what is refused, what it ends in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from daemon.simulated.listings import listed_instruments
from daemon.simulated.order_request import parse_order
from daemon.simulated.venue import Venue
from daemon.simulated.venue_errors import VenueError
from daemon.simulated.venue_order import VenueOrder
from kernels.events import DepthSnapshot, Side, Trade
from kernels.units import E8

NOW_MS = 1_700_000_000_000
BID, ASK = 600_000, 600_001


class Floor:
    """A venue with one BTCUSDT book and one working order of ten lots below the touch."""

    def __init__(self, time_in_force: str = "GTC") -> None:
        self.events: list[dict[str, Any]] = []
        self.venue = Venue(
            listed_instruments(("BTCUSDT",), maker_fee_bps=2.0, taker_fee_bps=5.0),
            1_000 * E8,
            NOW_MS,
            self.events.append,
            lambda key, document: None,
        )
        self.venue.apply(
            DepthSnapshot(
                instrument=0,
                event_ns=0,
                received_ns=0,
                last_update_id=1,
                bid_levels_n2=np.array([[BID - 20, 100]], dtype=np.int64),
                ask_levels_n2=np.array([[ASK + i, 100] for i in range(10)], dtype=np.int64),
            ),
            NOW_MS,
        )
        terms = {
            "symbol": "BTCUSDT",
            "side": "BUY",
            "type": "LIMIT",
            "timeInForce": time_in_force,
            "price": "59999.9",
            "quantity": "0.010",
        }
        request = parse_order(terms, self.venue.instruments, "mine")
        self.order: VenueOrder = self.venue.desk.place(request, NOW_MS)
        self.events.clear()

    def amend(self, price_ticks: int, lots: int) -> None:
        """Amend the order."""
        self.venue.desk.amend(self.order, price_ticks, lots, NOW_MS)

    @property
    def told(self) -> list[tuple[str, str]]:
        """Execution types and statuses of the user stream."""
        return [(e["o"]["x"], e["o"]["X"]) for e in self.events if "o" in e]


def test_amended_order_keeps_its_id_and_works_at_its_new_terms() -> None:
    """Price and quantity change, the margin with them, and it can be filled and cancelled."""
    floor = Floor()
    margin_e8 = floor.venue.account.margin_e8
    floor.amend(BID - 2, 20)
    assert floor.told == [("AMENDMENT", "NEW")]
    assert (floor.order.request.price_ticks, floor.order.open_lots) == (BID - 2, 20)
    assert floor.venue.account.margin_e8 == pytest.approx(2 * margin_e8, rel=1e-6)
    trade = Trade(
        instrument=0,
        event_ns=0,
        received_ns=0,
        trade_id=1,
        price_ticks=BID - 2,
        quantity_lots=5,
        aggressor=Side.SELL,
    )
    floor.venue.apply(trade, NOW_MS)
    assert floor.order.filled_lots == 5
    floor.venue.desk.cancel(floor.order, NOW_MS)
    assert floor.venue.account.working[0].buy_lots == 0


def test_amendment_into_the_book_fills() -> None:
    """A new price that crosses takes at once."""
    floor = Floor()
    floor.amend(ASK + 1, 10)
    assert floor.told == [("AMENDMENT", "NEW"), ("TRADE", "FILLED")]
    assert floor.venue.account.position_lots(0) == 10


def test_post_only_order_amended_into_the_book_is_cancelled() -> None:
    """It may not take, so it ends."""
    floor = Floor("GTX")
    floor.amend(ASK + 1, 10)
    assert floor.told == [("CANCELED", "CANCELED")]
    assert floor.venue.account.working[0].buy_lots == 0


@pytest.mark.parametrize(
    ("price_ticks", "lots", "code"),
    [(BID * 2, 10, -4016), (BID, 900, -2019), (BID, 1, -4164)],
)
def test_refused_amendment_leaves_the_order(price_ticks: int, lots: int, code: int) -> None:
    """Collar, margin and notional are judged as for a new order."""
    floor = Floor()
    with pytest.raises(VenueError) as caught:
        floor.amend(price_ticks, lots)
    assert caught.value.code == code
    assert (floor.order.request.price_ticks, floor.order.open_lots) == (BID - 1, 10)
    assert floor.venue.account.working[0].buy_lots == 10
    assert floor.told == []


def test_ended_order_cannot_be_amended() -> None:
    """What does not work any more is unknown to the call."""
    floor = Floor()
    floor.venue.desk.cancel(floor.order, NOW_MS)
    with pytest.raises(VenueError, match="does not exist"):
        floor.amend(BID - 2, 10)
