"""The order desk: what is filled, refused, expired, and what the user stream says about it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.simulated.listings import listed_instruments
from daemon.simulated.order_request import OrderRequest, VenueOrderType
from daemon.simulated.venue import Venue
from daemon.simulated.venue_errors import VenueError
from daemon.simulated.venue_order import VenueOrder
from kernels.events import DepthDiff, DepthSnapshot, Side, Trade
from kernels.matching import TimeInForce
from kernels.units import E8, to_e8

NOW_MS = 1_700_000_000_000
BID, ASK = 600_000, 600_001
SHOWN = 100
TIMES = list(TimeInForce)


class Floor:
    """A venue with one BTCUSDT book of ten levels a side, and everything it published."""

    def __init__(self, wallet_quote: int = 100_000) -> None:
        self.events: list[dict[str, Any]] = []
        instruments = listed_instruments(("BTCUSDT",), maker_fee_bps=2.0, taker_fee_bps=5.0)
        self.venue = Venue(
            instruments,
            wallet_quote * E8,
            NOW_MS,
            self.events.append,
            lambda key, document: self.events.append(document),
        )
        self.count = 0
        self.venue.apply(
            DepthSnapshot(
                instrument=0,
                event_ns=0,
                received_ns=0,
                last_update_id=1,
                bid_levels_n2=np.array([[BID - i, SHOWN] for i in range(10)], dtype=np.int64),
                ask_levels_n2=np.array([[ASK + i, SHOWN] for i in range(10)], dtype=np.int64),
            ),
            NOW_MS,
        )

    def place(
        self,
        side: Side,
        lots: int,
        price_ticks: int = 0,
        time_in_force: TimeInForce = TimeInForce.GTC,
        *,
        reduce_only: bool = False,
        name: str = "",
    ) -> VenueOrder:
        """Place a limit order, or a market order without a price."""
        self.count += 1
        is_market = price_ticks == 0
        request = OrderRequest(
            instrument=0,
            side=side,
            order_type=VenueOrderType.MARKET if is_market else VenueOrderType.LIMIT,
            time_in_force=TimeInForce.IOC if is_market else time_in_force,
            price_ticks=price_ticks,
            quantity_lots=lots,
            reduce_only=reduce_only,
            client_order_id=name or f"order-{self.count}",
        )
        return self.venue.desk.place(request, NOW_MS)

    def trade(self, price_ticks: int, lots: int, aggressor: Side) -> None:
        """Print a public trade."""
        trade = Trade(
            instrument=0,
            event_ns=0,
            received_ns=0,
            trade_id=1,
            price_ticks=price_ticks,
            quantity_lots=lots,
            aggressor=aggressor,
        )
        self.venue.apply(trade, NOW_MS)

    def levels(self, bids: list[list[int]], asks: list[list[int]], update_id: int) -> None:
        """Change the displayed book."""
        diff = DepthDiff(
            instrument=0,
            event_ns=0,
            received_ns=0,
            first_update_id=update_id,
            last_update_id=update_id,
            previous_update_id=update_id - 1,
            bid_levels_n2=np.array(bids, dtype=np.int64).reshape(-1, 2),
            ask_levels_n2=np.array(asks, dtype=np.int64).reshape(-1, 2),
        )
        self.venue.apply(diff, NOW_MS)

    def story(self) -> list[tuple[str, str]]:
        """Tell the order events so far as (execution type, status)."""
        return [
            (event["o"]["x"], event["o"]["X"])
            for event in self.events
            if event["e"] == "ORDER_TRADE_UPDATE"
        ]

    @property
    def position_lots(self) -> int:
        """Signed position."""
        return self.venue.account.position_lots(0)


def code_of(action: Any, *arguments: Any, **names: Any) -> int:
    """Return the venue's error code of a call that must fail."""
    with pytest.raises(VenueError) as caught:
        action(*arguments, **names)
    return caught.value.code


def test_taker_walks_the_book_and_pays_the_taker_fee() -> None:
    """An IOC over two levels fills level by level; the remainder expires."""
    floor = Floor()
    order = floor.place(Side.BUY, 250, ASK + 1, TimeInForce.IOC)
    assert (order.status, order.filled_lots) == ("EXPIRED", 200)
    assert floor.story() == [
        ("NEW", "NEW"),
        ("TRADE", "PARTIALLY_FILLED"),
        ("TRADE", "PARTIALLY_FILLED"),
        ("EXPIRED", "EXPIRED"),
    ]
    notional_e8 = (100 * ASK + 100 * (ASK + 1)) * 10_000
    assert order.filled_notional_e8 == notional_e8
    fees_e8 = floor.venue.account.ledger.fees_quote_e8
    assert fees_e8 == notional_e8 * 5 // 10_000
    assert floor.position_lots == 200


def test_maker_waits_its_turn_and_pays_the_maker_fee() -> None:
    """Behind 100 displayed lots, a trade of 130 fills 30 of ours."""
    floor = Floor()
    order = floor.place(Side.BUY, 50, BID, TimeInForce.GTX)
    floor.trade(BID, 130, Side.SELL)
    assert (order.status, order.filled_lots) == ("PARTIALLY_FILLED", 30)
    fill = floor.venue.desk.fills[-1].fill
    assert fill.is_maker
    assert fill.fee_quote_e8 == 30 * BID * 10_000 * 2 // 10_000
    floor.trade(BID - 1, 500, Side.SELL)
    assert order.status == "FILLED"
    assert floor.venue.account.working[0].buy_lots == 0


def test_account_update_comes_before_its_order_update() -> None:
    """Each execution tells balance and position first, then the order."""
    floor = Floor()
    floor.place(Side.SELL, 10)
    kinds = [event["e"] for event in floor.events]
    assert kinds == ["ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE", "ORDER_TRADE_UPDATE"]
    account, order = floor.events[1]["a"], floor.events[2]["o"]
    assert account["P"][0]["pa"] == "-0.010"
    assert to_e8(account["B"][0]["wb"]) == 100_000 * E8 - to_e8(order["n"])


def test_refusals_leave_no_trace() -> None:
    """Post-only that takes, FOK that cannot fill, collar, notional, margin, duplicates."""
    floor = Floor()
    assert code_of(floor.place, Side.BUY, 10, ASK, TimeInForce.GTX) == -5022
    assert code_of(floor.place, Side.BUY, 150, ASK, TimeInForce.FOK) == -5021
    assert code_of(floor.place, Side.BUY, 10, BID * 106 // 100) == -4016
    assert code_of(floor.place, Side.SELL, 10, BID * 94 // 100) == -4024
    assert code_of(floor.place, Side.BUY, 1, BID) == -4164
    assert code_of(floor.place, Side.BUY, 34_000, BID) == -2019
    assert floor.events == []
    floor.place(Side.BUY, 10, BID, name="once")
    assert code_of(floor.place, Side.BUY, 10, BID, name="once") == -4116
    assert len(floor.venue.desk.working_orders()) == 1


def test_margin_of_working_orders_is_reserved() -> None:
    """Two orders that each fit do not fit together; cancelling frees the margin."""
    floor = Floor(wallet_quote=1_000)
    first = floor.place(Side.BUY, 250, BID - 5)
    assert code_of(floor.place, Side.BUY, 250, BID - 5) == -2019
    assert floor.place(Side.SELL, 250, ASK + 5).status == "NEW"
    floor.venue.desk.cancel(first, NOW_MS)
    assert floor.place(Side.BUY, 250, BID - 5).status == "NEW"


def test_cancel_works_once() -> None:
    """A second cancel, and one of a filled order, are unknown orders."""
    floor = Floor()
    order = floor.place(Side.BUY, 10, BID)
    desk = floor.venue.desk
    assert desk.cancel(order, NOW_MS).status == "CANCELED"
    assert code_of(desk.cancel, order, NOW_MS) == -2011
    assert code_of(desk.cancel, floor.place(Side.BUY, 10), NOW_MS) == -2011
    assert desk.find(0, order.order_id, "") is order
    assert desk.find(0, 0, "order-1") is order
    assert desk.find(0, 99, "") is None


def test_reduce_only_never_opens_or_flips() -> None:
    """Flat: refused. Too large: cut to the position. Left over when flat: expired."""
    floor = Floor()
    assert code_of(floor.place, Side.SELL, 10, reduce_only=True) == -2022
    floor.place(Side.BUY, 50)
    assert code_of(floor.place, Side.BUY, 10, reduce_only=True) == -2022
    resting = floor.place(Side.SELL, 80, ASK + 5, reduce_only=True)
    assert resting.quantity_lots == 50
    assert code_of(floor.place, Side.SELL, 10, reduce_only=True) == -2022
    floor.place(Side.SELL, 30)
    assert resting.status == "EXPIRED"
    floor.place(Side.SELL, 90, reduce_only=True)
    assert floor.position_lots == 0


def test_dead_mans_switch_cancels_when_it_is_not_renewed() -> None:
    """Armed orders live until the countdown ends; zero disarms it."""
    floor = Floor()
    order = floor.place(Side.BUY, 10, BID)
    floor.venue.set_countdown(0, 1_000, NOW_MS)
    floor.venue.set_countdown(0, 1_000, NOW_MS + 900)
    floor.venue.tick(NOW_MS + 1_800)
    assert order.status == "NEW"
    floor.venue.tick(NOW_MS + 1_900)
    assert order.status == "CANCELED"
    disarmed = floor.place(Side.BUY, 10, BID)
    floor.venue.set_countdown(0, 1_000, NOW_MS)
    floor.venue.set_countdown(0, 0, NOW_MS)
    floor.venue.tick(NOW_MS + 5_000)
    assert disarmed.status == "NEW"


def test_listen_key_lives_an_hour_after_its_last_use() -> None:
    """Kept alive it stays the same, forgotten it expires with a last event."""
    floor = Floor()
    key = floor.venue.listen_key
    assert code_of(key.extend, NOW_MS) == -1125
    name = key.obtain(NOW_MS)
    assert key.obtain(NOW_MS + 1_000) == name
    assert key.extend(NOW_MS + 3_000_000) == name
    floor.venue.tick(NOW_MS + 6_599_999)
    assert key.is_valid(name, NOW_MS + 6_599_999)
    floor.venue.tick(NOW_MS + 6_600_000)
    assert floor.events[-1]["e"] == "listenKeyExpired"
    assert not key.is_valid(name, NOW_MS + 6_600_000)
    assert key.obtain(NOW_MS + 6_600_000) != name


def test_funding_is_paid_by_the_long_side() -> None:
    """At the full eight hours a long position pays 0.01 % of its value."""
    floor = Floor()
    floor.place(Side.BUY, 100)
    eight_hours_ms = 8 * 3_600_000
    floor.venue.tick(NOW_MS + eight_hours_ms)
    expected_e8 = -(100 * floor.venue.markets[0].mark_ticks * 10_000 // 10_000)
    assert floor.venue.account.ledger.funding_quote_e8 == pytest.approx(expected_e8, abs=1)
    assert floor.events[-1]["a"]["m"] == "FUNDING_FEE"
    floor.venue.tick(NOW_MS + eight_hours_ms + 1)
    assert floor.venue.account.ledger.funding_quote_e8 == pytest.approx(expected_e8, abs=1)


ORDERS = st.tuples(
    st.just("order"),
    st.sampled_from(list(Side)),
    st.integers(min_value=2, max_value=300),
    st.integers(min_value=BID - 12, max_value=ASK + 12),
    st.sampled_from(TIMES),
    st.booleans(),
)
TRADES = st.tuples(
    st.just("trade"),
    st.sampled_from(list(Side)),
    st.integers(min_value=1, max_value=400),
    st.integers(min_value=BID - 12, max_value=ASK + 12),
)
CANCELS = st.tuples(st.just("cancel"), st.integers(min_value=0, max_value=30))
LEVELS = st.tuples(
    st.just("level"), st.integers(min_value=0, max_value=9), st.integers(0, 300), st.booleans()
)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.one_of(ORDERS, TRADES, CANCELS, LEVELS), max_size=40))
def test_books_of_account_and_user_stream_always_agree(steps: list[Any]) -> None:
    """Position, fees, working lots and every order's story add up after any sequence."""
    floor = Floor()
    orders: list[VenueOrder] = []
    for number, step in enumerate(steps):
        if step[0] == "order":
            try:
                orders.append(floor.place(step[1], step[2], step[3], step[4], reduce_only=step[5]))
            except VenueError:
                continue
        elif step[0] == "trade":
            floor.trade(step[3], step[2], step[1])
        elif step[0] == "cancel" and step[1] < len(orders):
            try:
                floor.venue.desk.cancel(orders[step[1]], NOW_MS)
            except VenueError:
                continue
        elif step[0] == "level":
            rows = [[(BID - step[1]) if step[3] else (ASK + step[1]), step[2]]]
            floor.levels(rows if step[3] else [], [] if step[3] else rows, number + 2)
    fills = [record.fill for record in floor.venue.desk.fills]
    working = floor.venue.desk.working_orders()
    account = floor.venue.account
    assert floor.position_lots == sum(fill.side * fill.quantity_lots for fill in fills)
    assert account.ledger.fees_quote_e8 == sum(fill.fee_quote_e8 for fill in fills)
    for side, open_lots in zip(
        (Side.BUY, Side.SELL),
        (account.working[0].buy_lots, account.working[0].sell_lots),
        strict=True,
    ):
        assert open_lots == sum(o.open_lots for o in working if o.request.side is side)
    for order in orders:
        mine = [
            event["o"]
            for event in floor.events
            if event["e"] == "ORDER_TRADE_UPDATE" and event["o"]["i"] == order.order_id
        ]
        assert mine[0]["x"] == "NEW"
        assert mine[-1]["X"] == order.status
        traded = sum(round(float(each["l"]) * 1000) for each in mine if each["x"] == "TRADE")
        assert traded == order.filled_lots <= order.quantity_lots
        assert (order in working) == (order.status in ("NEW", "PARTIALLY_FILLED"))
    reducers = [order for order in working if order.request.reduce_only]
    assert all(o.open_lots <= -floor.position_lots * o.request.side for o in reducers)
