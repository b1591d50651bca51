"""The matching engine: its rules one by one, then against the lot-by-lot twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels.book import Book
from kernels.events import DepthDiff, DepthSnapshot, Side
from kernels.match_queue import ahead_after_change, parts_of
from kernels.matching import (
    MARKET_PRICE_TICKS,
    Execution,
    Liquidity,
    Matcher,
    PlacementStatus,
    QueueModel,
    TimeInForce,
)
from tests.naive.naive_matching import NaiveMatcher

Levels = list[tuple[int, int]]
BIDS: Levels = [(100, 10), (99, 20), (98, 30)]
ASKS: Levels = [(102, 5), (103, 7), (105, 40)]


def rows(levels: Levels) -> NDArray[np.int64]:
    """Turn pairs into the array shape of events."""
    return np.array(levels, dtype=np.int64).reshape(-1, 2)


def change(bids: Levels, asks: Levels) -> DepthDiff:
    """Build a depth event with the fields the matcher reads."""
    return DepthDiff(
        instrument=0,
        event_ns=0,
        received_ns=0,
        first_update_id=1,
        last_update_id=2,
        previous_update_id=0,
        bid_levels_n2=rows(bids),
        ask_levels_n2=rows(asks),
    )


def snapshot(bids: Levels, asks: Levels) -> DepthSnapshot:
    """Build a snapshot event."""
    return DepthSnapshot(
        instrument=0,
        event_ns=0,
        received_ns=0,
        last_update_id=1,
        bid_levels_n2=rows(bids),
        ask_levels_n2=rows(asks),
    )


def loaded(
    queue_model: QueueModel = QueueModel.PROPORTIONAL,
    orders_max: int = 16,
    liquidity: Liquidity = Liquidity.PRINTED,
) -> Matcher:
    """Return a matcher over the small book above."""
    matcher = Matcher(Book(32), orders_max, queue_model, liquidity)
    assert matcher.load(snapshot(BIDS, ASKS)) == ()
    return matcher


def test_taker_walks_levels_at_their_own_prices() -> None:
    """A marketable IOC takes each level at its price up to its limit and expires the rest."""
    placement = loaded().place(1, Side.BUY, TimeInForce.IOC, 103, 20)
    assert placement.status is PlacementStatus.EXPIRED
    assert placement.executions == (Execution(1, 102, 5, False), Execution(1, 103, 7, False))
    assert placement.resting_lots == 0


def test_market_order_has_no_limit() -> None:
    """Price zero on an IOC walks the whole side."""
    placement = loaded().place(1, Side.SELL, TimeInForce.IOC, MARKET_PRICE_TICKS, 61)
    assert [e.price_ticks for e in placement.executions] == [100, 99, 98]
    assert sum(e.quantity_lots for e in placement.executions) == 60


def test_consumed_level_is_not_eaten_twice_until_it_changes() -> None:
    """What we took of a level is gone for us until the level's next update."""
    matcher = loaded()
    assert matcher.place(1, Side.BUY, TimeInForce.IOC, 102, 4).status is PlacementStatus.FILLED
    assert matcher.consumed_lots(Side.SELL, 102) == 4
    second = matcher.place(2, Side.BUY, TimeInForce.IOC, 102, 4)
    assert second.executions == (Execution(2, 102, 1, False),)
    matcher.on_diff(change([], [(102, 5)]))
    assert matcher.consumed_lots(Side.SELL, 102) == 0
    third = matcher.place(3, Side.BUY, TimeInForce.IOC, 102, 4)
    assert third.status is PlacementStatus.FILLED


def test_fok_fills_whole_or_leaves_no_trace() -> None:
    """A FOK that cannot be covered changes nothing; one that can is filled at once."""
    matcher = loaded()
    assert matcher.place(1, Side.BUY, TimeInForce.FOK, 103, 13).status is PlacementStatus.EXPIRED
    placement = matcher.place(2, Side.BUY, TimeInForce.FOK, 103, 12)
    assert placement.status is PlacementStatus.FILLED
    assert len(placement.executions) == 2


def test_gtx_rests_or_is_refused() -> None:
    """Post only is refused where it would take, and rests one tick earlier."""
    matcher = loaded()
    refused = matcher.place(1, Side.BUY, TimeInForce.GTX, 102, 1)
    assert refused.status is PlacementStatus.REJECTED_GTX
    assert matcher.place(1, Side.BUY, TimeInForce.GTX, 101, 1).status is PlacementStatus.RESTING
    against_own = matcher.place(2, Side.SELL, TimeInForce.GTX, 101, 1)
    assert against_own.status is PlacementStatus.REJECTED_GTX


def test_gtc_remainder_rests_as_maker() -> None:
    """What a crossing GTC could not take rests at its limit and is filled there later."""
    matcher = loaded()
    placement = matcher.place(1, Side.BUY, TimeInForce.GTC, 102, 8)
    assert placement.status is PlacementStatus.PARTIALLY_RESTING
    assert placement.resting_lots == 3
    assert matcher.on_trade(102, 2, Side.SELL) == (Execution(1, 102, 2, True),)
    assert matcher.on_diff(change([], [(102, 0), (101, 9)])) == (Execution(1, 102, 1, True),)
    assert matcher.order_count == 0


def test_trades_consume_the_queue_before_us_and_between_our_orders() -> None:
    """Displayed volume ahead trades first, then our orders in the order they came."""
    matcher = loaded()
    matcher.place(1, Side.BUY, TimeInForce.GTC, 100, 4)
    matcher.on_diff(change([(100, 16)], []))
    matcher.place(2, Side.BUY, TimeInForce.GTC, 100, 4)
    assert (matcher.ahead_lots(1), matcher.ahead_lots(2)) == (10, 16)
    assert matcher.on_trade(100, 9, Side.SELL) == ()
    assert matcher.on_trade(100, 3, Side.SELL) == (Execution(1, 100, 2, True),)
    assert matcher.on_trade(100, 9, Side.SELL) == (
        Execution(1, 100, 2, True),
        Execution(2, 100, 1, True),
    )
    assert matcher.resting_lots(2) == 3


def test_trades_of_our_own_direction_do_not_fill_us() -> None:
    """A buyer at our bid's price did not trade with our bid."""
    matcher = loaded()
    matcher.place(1, Side.BUY, TimeInForce.GTC, 101, 4)
    assert matcher.on_trade(101, 50, Side.BUY) == ()
    assert matcher.on_trade(102, 50, Side.SELL) == ()


def test_trade_through_fills_at_our_limit_for_no_more_than_was_traded() -> None:
    """A print beyond our price meets us first, with the lots it had."""
    matcher = loaded()
    matcher.place(1, Side.BUY, TimeInForce.GTC, 100, 6)
    assert matcher.on_trade(99, 4, Side.SELL) == (Execution(1, 100, 4, True),)
    assert matcher.ahead_lots(1) == 0


@pytest.mark.parametrize(
    ("queue_model", "ahead_lots"), [(QueueModel.RISK_AVERSE, 10), (QueueModel.PROPORTIONAL, 7)]
)
def test_cancels_move_the_queue_by_the_model(queue_model: QueueModel, ahead_lots: int) -> None:
    """Ten ahead, ten behind, five of twenty cancelled: none, or half of them (down), was ahead."""
    matcher = loaded(queue_model)
    matcher.place(1, Side.BUY, TimeInForce.GTC, 100, 1)
    matcher.on_diff(change([(100, 20)], []))
    matcher.on_diff(change([(100, 14)], []))
    assert matcher.ahead_lots(1) == ahead_lots


def test_decrease_explained_by_trades_moves_the_queue_once() -> None:
    """The update that reports a trade's effect does not shrink the queue again."""
    matcher = loaded()
    matcher.place(1, Side.BUY, TimeInForce.GTC, 100, 1)
    matcher.on_diff(change([(100, 20)], []))
    matcher.on_trade(100, 4, Side.SELL)
    matcher.on_diff(change([(100, 16)], []))
    assert matcher.ahead_lots(1) == 6
    matcher.on_diff(change([(100, 8)], []))
    assert matcher.ahead_lots(1) == 3


def test_ahead_is_bounded_by_what_is_displayed() -> None:
    """When the level vanishes, nobody is ahead."""
    matcher = loaded(QueueModel.RISK_AVERSE)
    matcher.place(1, Side.BUY, TimeInForce.GTC, 100, 1)
    matcher.on_diff(change([(100, 0)], []))
    assert matcher.ahead_lots(1) == 0
    matcher.load(snapshot([(100, 50)], ASKS))
    assert matcher.ahead_lots(1) == 0


def test_crossed_opposite_volume_fills_at_our_limit_and_only_once() -> None:
    """Opposite volume shown through our price fills us with that volume, at our price."""
    matcher = loaded()
    matcher.place(1, Side.SELL, TimeInForce.GTC, 101, 30)
    filled = matcher.on_diff(change([(102, 12)], [(102, 0)]))
    assert filled == (Execution(1, 101, 12, True),)
    assert matcher.on_diff(change([(97, 1)], [])) == ()
    assert matcher.on_diff(change([(102, 12)], [])) == (Execution(1, 101, 12, True),)


def test_incoming_order_expires_on_meeting_our_own() -> None:
    """We take what stands before our own order, then expire; we never trade with ourselves."""
    matcher = loaded()
    matcher.place(1, Side.SELL, TimeInForce.GTC, 103, 4)
    placement = matcher.place(2, Side.BUY, TimeInForce.GTC, 104, 20)
    assert placement.status is PlacementStatus.EXPIRED
    assert placement.is_self_trade
    assert placement.executions == (Execution(2, 102, 5, False), Execution(2, 103, 7, False))
    assert matcher.ahead_lots(1) == 0
    assert matcher.resting_lots(1) == 4


def test_full_table_refuses_only_what_would_rest() -> None:
    """At the bound GTC and GTX are refused untouched, IOC still trades."""
    matcher = loaded(orders_max=1)
    matcher.place(1, Side.BUY, TimeInForce.GTC, 99, 1)
    refused = matcher.place(2, Side.BUY, TimeInForce.GTC, 102, 9)
    assert refused.status is PlacementStatus.REJECTED_FULL
    assert refused.executions == ()
    assert matcher.place(3, Side.BUY, TimeInForce.IOC, 102, 5).status is PlacementStatus.FILLED


def test_cancel_frees_the_order_once() -> None:
    """Cancelling returns what was open; a second time there is nothing."""
    matcher = loaded()
    matcher.place(1, Side.BUY, TimeInForce.GTC, 100, 5)
    matcher.place(2, Side.BUY, TimeInForce.GTC, 100, 6)
    assert matcher.cancel(1) == 5
    assert matcher.cancel(1) == -1
    assert matcher.resting_lots(1) == -1
    assert matcher.resting_lots(2) == 6


@pytest.mark.parametrize(
    ("price_ticks", "lots", "time_in_force"),
    [(0, 1, TimeInForce.GTC), (-5, 1, TimeInForce.IOC), (100, 0, TimeInForce.GTC)],
)
def test_bad_orders_are_refused(price_ticks: int, lots: int, time_in_force: TimeInForce) -> None:
    """Nonsense raises instead of matching."""
    with pytest.raises(ValueError, match="order 1"):
        loaded().place(1, Side.BUY, time_in_force, price_ticks, lots)


def test_resting_key_cannot_be_used_twice() -> None:
    """An order key names one resting order."""
    matcher = loaded()
    matcher.place(1, Side.BUY, TimeInForce.GTC, 100, 5)
    with pytest.raises(ValueError, match="already resting"):
        matcher.place(1, Side.SELL, TimeInForce.GTC, 110, 5)


def test_bad_diff_changes_nothing() -> None:
    """A negative quantity raises and leaves book and queue as they were."""
    matcher = loaded()
    matcher.place(1, Side.BUY, TimeInForce.GTC, 100, 5)
    with pytest.raises(ValueError, match="depth update 2"):
        matcher.on_diff(change([(100, 1), (99, -1)], []))
    assert matcher.book.best() == (100, 10, 102, 5)
    assert matcher.ahead_lots(1) == 10


@given(
    ahead=st.integers(0, 2**61),
    behind=st.integers(0, 2**61),
    after=st.integers(0, 2**62),
    traded=st.integers(0, 2**62),
)
def test_huge_queues_stay_in_range(ahead: int, behind: int, after: int, traded: int) -> None:
    """No size overflows: the queue ahead never grows, never is negative or above the level."""
    ahead_parts = parts_of(ahead)
    result = ahead_after_change(ahead_parts, ahead + behind, after, traded, 0, 1)
    assert 0 <= result <= min(ahead_parts, parts_of(after))


def test_many_small_cancels_move_the_queue_like_one_large() -> None:
    """A level that melts lot by lot brings an order forward by its share, not by nothing."""
    melting, falling = loaded(), loaded()
    for matcher in (melting, falling):
        matcher.on_diff(change([(100, 500)], []))
        matcher.place(1, Side.BUY, TimeInForce.GTC, 100, 4)
        matcher.on_diff(change([(100, 1000)], []))
    for lots in range(999, 499, -1):
        melting.on_diff(change([(100, lots)], []))
    falling.on_diff(change([(100, 500)], []))
    assert falling.ahead_lots(1) == 250
    assert abs(melting.ahead_lots(1) - 250) <= 1


def test_whole_liquidity_fills_all_once_reached() -> None:
    """Under WHOLE a small print fills an order to the end, a level shown at its price as well."""
    matcher = loaded(liquidity=Liquidity.WHOLE)
    matcher.place(1, Side.BUY, TimeInForce.GTC, 100, 400)
    matcher.place(2, Side.BUY, TimeInForce.GTC, 99, 400)
    matcher.place(3, Side.SELL, TimeInForce.GTC, 103, 400)
    assert matcher.on_trade(100, 10, Side.SELL) == ()
    assert matcher.on_trade(100, 1, Side.SELL) == (Execution(1, 100, 400, True),)
    assert matcher.on_trade(98, 1, Side.SELL) == (Execution(2, 99, 400, True),)
    assert matcher.on_diff(change([(104, 1)], [])) == (Execution(3, 103, 400, True),)
    assert matcher.order_count == 0


def test_whole_liquidity_leaves_no_trace_of_a_taker() -> None:
    """Under WHOLE a level can be taken again and again, never more of it than is shown."""
    matcher = loaded(liquidity=Liquidity.WHOLE)
    for key in (1, 2):
        placement = matcher.place(key, Side.BUY, TimeInForce.IOC, 102, 8)
        assert placement.executions == (Execution(key, 102, 5, False),)
        assert placement.status is PlacementStatus.EXPIRED
    assert matcher.consumed_lots(Side.SELL, 102) == 0


PRICES = st.integers(1, 6)
QUANTITIES = st.integers(1, 12)
SIDES = st.sampled_from([Side.BUY, Side.SELL])
LEVELS = st.lists(
    st.tuples(PRICES, st.integers(0, 12)), max_size=5, unique_by=lambda level: level[0]
)
OPERATIONS = st.one_of(
    st.tuples(st.just("diff"), LEVELS, LEVELS),
    st.tuples(st.just("trade"), PRICES, QUANTITIES, SIDES),
    st.tuples(st.just("place"), SIDES, st.sampled_from(TimeInForce), PRICES, QUANTITIES),
    st.tuples(st.just("place"), SIDES, st.just(TimeInForce.GTC), PRICES, QUANTITIES),
    st.tuples(st.just("market"), SIDES, QUANTITIES),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("load"), LEVELS, LEVELS),
)


def as_tuples(executions: tuple[Execution, ...]) -> list[tuple[int, int, int, bool]]:
    """Flatten executions to the twin's form."""
    return [(e.order_key, e.price_ticks, e.quantity_lots, e.is_maker) for e in executions]


def step_both(matcher: Matcher, twin: NaiveMatcher, key: int, operation: tuple[Any, ...]) -> None:
    """Apply one operation to both and compare what they answer."""
    name, *arguments = operation
    if name == "diff":
        bids, asks = arguments
        assert as_tuples(matcher.on_diff(change(bids, asks))) == twin.change(bids, asks)
    elif name == "load":
        bids, asks = arguments
        assert as_tuples(matcher.load(snapshot(bids, asks))) == twin.replace(bids, asks)
    elif name == "trade":
        price, lots, aggressor = arguments
        filled = twin.trade(price, lots, int(aggressor))
        assert as_tuples(matcher.on_trade(price, lots, aggressor)) == filled
        assert sum(fill[2] for fill in filled) <= lots
    elif name == "cancel":
        assert matcher.cancel(arguments[0]) == twin.cancel(arguments[0])
    else:
        if name == "market":
            side, lots = arguments
            time_in_force, price, twin_price = TimeInForce.IOC, MARKET_PRICE_TICKS, None
        else:
            side, time_in_force, price, lots = arguments
            twin_price = price
        placement = matcher.place(key, side, time_in_force, price, lots)
        status, fills, resting = twin.place(key, int(side), time_in_force.name, twin_price, lots)
        assert placement.status.name == status
        assert as_tuples(placement.executions) == fills
        assert placement.resting_lots == resting
        assert not any(e.is_maker or e.order_key != key for e in placement.executions)
        assert sum(e.quantity_lots for e in placement.executions) + resting <= lots


def check_rest(matcher: Matcher, twin: NaiveMatcher) -> None:
    """Compare every resting order, and hold the invariants of a matched state."""
    assert matcher.order_count == len(twin.orders)
    for order in twin.orders:
        assert matcher.resting_lots(order.key) == order.lots > 0
        assert matcher.ahead_lots(order.key) == order.ahead
        assert 0 <= order.ahead <= twin.shown(order.side, order.price)
    for (side, price), lots in twin.consumed.items():
        assert matcher.consumed_lots(Side(side), price) == lots <= twin.shown(side, price)
    own_bids = [order.price for order in twin.orders if order.side == 1]
    own_asks = [order.price for order in twin.orders if order.side == -1]
    assert not own_bids or not own_asks or max(own_bids) < min(own_asks)
    best_ask, best_bid = twin.best_left(-1), twin.best_left(1)
    assert not own_bids or best_ask is None or max(own_bids) < best_ask
    assert not own_asks or best_bid is None or min(own_asks) > best_bid


@settings(max_examples=300)
@given(operations=st.lists(OPERATIONS, max_size=30), queue_model=st.sampled_from(list(QueueModel)))
def test_matches_the_lot_by_lot_twin(
    operations: list[tuple[Any, ...]], queue_model: QueueModel
) -> None:
    """Any sequence of market events and orders gives the twin's fills, queues and states."""
    matcher = Matcher(Book(16), 64, queue_model)
    twin = NaiveMatcher(queue_model is QueueModel.PROPORTIONAL)
    for key, operation in enumerate(operations):
        step_both(matcher, twin, key, operation)
        check_rest(matcher, twin)
