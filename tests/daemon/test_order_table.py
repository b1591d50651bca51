"""The order table: legal transitions only, fills once, exposure never undercounted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.order_table import TRANSITIONS, Applied, OrderTable
from kernels.events import (
    TERMINAL_STATUSES,
    Fill,
    OrderIntent,
    OrderStatus,
    OrderType,
    OrderUpdate,
    Side,
)
from risk.views import BUY_LOTS, REDUCE_SELL_LOTS, SELL_LOTS, UNKNOWN_COUNT

QUANTITY = 10


def intent(side: Side = Side.BUY, reduce_only: bool = False) -> OrderIntent:
    return OrderIntent(
        sequence=0,
        instrument=0,
        side=side,
        quantity_lots=QUANTITY,
        price_ticks=1000,
        order_type=OrderType.IOC,
        reduce_only=reduce_only,
        decided_ns=1,
        reason="test",
    )


def update(status: OrderStatus, filled_lots: int = -1, name: str = "a") -> OrderUpdate:
    return OrderUpdate(
        instrument=0,
        event_ns=2,
        received_ns=2,
        client_order_id=name,
        status=status,
        filled_lots=filled_lots,
        code=0,
        reason="",
    )


def fill(lots: int, trade_id: int, name: str = "a") -> Fill:
    return Fill(
        instrument=0,
        event_ns=3,
        received_ns=3,
        client_order_id=name,
        trade_id=trade_id,
        side=Side.BUY,
        price_ticks=1000,
        quantity_lots=lots,
        fee_quote_e8=0,
        is_maker=False,
    )


@pytest.fixture
def table() -> OrderTable:
    orders = OrderTable(1)
    orders.add("a", intent(), sent_ns=1)
    return orders


def test_sent_order_counts_in_full_before_any_answer(table: OrderTable) -> None:
    """What is on its way may fill completely."""
    assert table.working_view().table_NC[0, BUY_LOTS] == QUANTITY


def test_answer_before_fills_keeps_the_claimed_lots_at_stake(table: OrderTable) -> None:
    """A terminal answer that claims fills we have not seen is not settled yet."""
    table.apply_update(update(OrderStatus.FILLED, QUANTITY))
    assert table.working_view().table_NC[0, BUY_LOTS] == QUANTITY
    assert table.apply_fill(fill(QUANTITY, 1)) is Applied.CHANGED
    assert table.open_orders() == []
    assert table.counts["filled"] == 1


def test_fills_before_the_answer_reduce_what_is_at_stake(table: OrderTable) -> None:
    """The user stream may be quicker than the answer to the request."""
    table.apply_fill(fill(4, 1))
    assert table.working_view().table_NC[0, BUY_LOTS] == QUANTITY - 4
    table.apply_update(update(OrderStatus.EXPIRED, 4))
    assert table.open_orders() == []
    assert table.counts["partially_filled"] == 1


def test_fill_with_a_known_trade_id_is_applied_once(table: OrderTable) -> None:
    """A repeated execution changes nothing."""
    assert table.apply_fill(fill(4, 7)) is Applied.CHANGED
    assert table.apply_fill(fill(4, 7)) is Applied.REPEATED
    assert table.working_view().table_NC[0, BUY_LOTS] == QUANTITY - 4


def test_overfill_is_reported(table: OrderTable) -> None:
    """More executed than ordered is no ordinary news."""
    assert table.apply_fill(fill(QUANTITY + 1, 1)) is Applied.ILLEGAL


def test_terminal_status_is_never_left(table: OrderTable) -> None:
    """After REJECTED nothing can become FILLED; the evidence is reported as illegal."""
    table.apply_update(update(OrderStatus.REJECTED))
    assert table.apply_update(update(OrderStatus.CANCELLED)) is Applied.ILLEGAL
    order = table.get("a")
    assert order is not None
    assert order.status is OrderStatus.REJECTED


def test_slow_channel_repeating_an_earlier_status_is_no_alarm(table: OrderTable) -> None:
    """WORKING from the REST answer after FILLED from the stream is merely late."""
    table.apply_update(update(OrderStatus.FILLED, QUANTITY))
    assert table.apply_update(update(OrderStatus.WORKING, 0)) is Applied.REPEATED


def test_news_of_a_foreign_order_is_told_apart(table: OrderTable) -> None:
    """Orders of another program on the account are not ours to change."""
    assert table.apply_update(update(OrderStatus.WORKING, name="b")) is Applied.FOREIGN
    assert table.apply_fill(fill(1, 9, name="b")) is Applied.FOREIGN


def test_reduce_only_and_unknown_are_shown_to_the_gate() -> None:
    """The gate counts reducers apart and knows which instrument has an unproven order."""
    orders = OrderTable(1)
    orders.add("a", intent(Side.SELL, reduce_only=True), sent_ns=1)
    orders.apply_update(update(OrderStatus.UNKNOWN))
    row = orders.working_view().table_NC[0]
    assert row[SELL_LOTS] == row[REDUCE_SELL_LOTS] == QUANTITY
    assert row[UNKNOWN_COUNT] == 1


def test_late_claim_counts_again(table: OrderTable) -> None:
    """An order that ended without fills and later claims one is at stake until the fill comes."""
    table.apply_update(update(OrderStatus.CANCELLED, 0))
    assert table.open_orders() == []
    table.apply_update(update(OrderStatus.CANCELLED, 3))
    assert table.working_view().table_NC[0, BUY_LOTS] == 3
    table.apply_fill(fill(3, 1))
    assert table.open_orders() == []


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(list(OrderStatus)), st.integers(-1, QUANTITY)),
            st.integers(1, 4),
        ),
        max_size=12,
    )
)
def test_random_news_never_breaks_the_table(
    news: list[tuple[OrderStatus, int] | int],
) -> None:
    """Any order of news keeps to the transition table and never undercounts open exposure."""
    orders = OrderTable(1)
    orders.add("a", intent(), sent_ns=1)
    order = orders.get("a")
    assert order is not None
    for number, item in enumerate(news):
        before = order.status
        if isinstance(item, int):
            orders.apply_fill(fill(item, number))
        else:
            orders.apply_update(update(*item))
        assert order.status is before or order.status in TRANSITIONS[before]
        if before in TERMINAL_STATUSES:
            assert order.status is before
        else:
            remaining = max(QUANTITY - order.seen_lots, 0)
            if order.status not in TERMINAL_STATUSES:
                assert orders.working_view().table_NC[0, BUY_LOTS] == remaining
        assert (order in orders.open_orders()) is not order.is_settled
        at_stake = 0 if order.is_settled else order.at_stake_lots
        assert orders.working_view().table_NC[0, BUY_LOTS] == at_stake
