"""Execution styles in the real engine: what is sent, moved, taken in the end, and sliced."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from config.settings import DecisionSettings, ExecutionSettings
from daemon.effects import AmendOrder, CancelOrder, Decided, Effect, SendOrder
from daemon.engine import Engine
from kernels.events import Fill, OrderStatus, OrderType, OrderUpdate, Verdict
from tests.fakes.scripted_engine import (
    START,
    S,
    ScriptedJudge,
    fill_of,
    fold,
    make_engine,
    of,
    second,
    status,
    warm,
)


def _engine(judge: ScriptedJudge | None = None, **execution: Any) -> Engine:
    return make_engine(
        judge or ScriptedJudge(),
        decision=DecisionSettings(warm_up_bars=2),
        execution=ExecutionSettings(**execution),
    )


def _update(send: SendOrder, at_ns: int, what: OrderStatus, filled_lots: int = 0) -> OrderUpdate:
    return OrderUpdate(
        instrument=0,
        event_ns=at_ns,
        received_ns=at_ns,
        client_order_id=send.client_order_id,
        status=what,
        filled_lots=filled_lots,
        code=0,
        reason="",
    )


def _resting(engine: Engine) -> SendOrder:
    """Warm up until a passive order is sent, and let the venue take it."""
    (send,) = of(warm(engine, 3), SendOrder)
    fold(engine, [_update(send, START + 2 * S + 5, OrderStatus.WORKING)])
    return send  # type: ignore[no-any-return]  # of() finds by type


def test_market_reaches_to_the_collar() -> None:
    """No naked market order: an IOC whose limit is the collar, further than aggressive goes."""
    (market,) = of(warm(_engine(style="market"), 3), SendOrder)
    (aggressive,) = of(warm(_engine(style="aggressive"), 3), SendOrder)
    assert market.approved.intent.order_type is OrderType.IOC
    assert market.approved.intent.price_ticks > aggressive.approved.intent.price_ticks > 600_001


def test_a_quote_follows_the_touch() -> None:
    """After requote_ms the resting order is moved, in one message and with its whole size."""
    engine = _engine(style="passive", passive_ms_max=60_000, working_ms_max=60_000)
    send = _resting(engine)
    assert send.approved.intent.order_type is OrderType.POST_ONLY
    assert send.approved.intent.price_ticks == 600_000
    effects = fold(engine, second(3, 600_050))
    (amend,) = of(effects, AmendOrder)
    assert amend.client_order_id == send.client_order_id
    assert amend.approved.intent.price_ticks == 600_050
    assert amend.quantity_lots == send.approved.intent.quantity_lots
    assert amend.approved.intent.sequence > send.approved.intent.sequence
    assert of(effects, Decided)[-1].outcome == "requoting"
    (order,) = engine.desk.orders.open_orders()
    assert order.resting_ticks == 600_050
    assert not of(fold(engine, second(4, 600_050)), AmendOrder), "it is where it belongs"


def test_a_partly_filled_quote_moves_with_what_remains() -> None:
    """The gate judges the remainder, the venue is told the whole size."""
    engine = _engine(style="passive", passive_ms_max=60_000, working_ms_max=60_000)
    send = _resting(engine)
    whole = send.approved.intent.quantity_lots
    fill = fill_of(send, START + 2 * S + 6)[0]
    assert isinstance(fill, Fill)
    part = Fill(**{name: getattr(fill, name) for name in fill.__slots__} | {"quantity_lots": 5})
    fold(engine, [part, _update(send, START + 2 * S + 7, OrderStatus.PARTIALLY_FILLED, 5)])
    (amend,) = of(fold(engine, second(3, 599_000)), AmendOrder)
    assert (amend.quantity_lots, amend.approved.intent.quantity_lots) == (whole, whole - 5)


def test_what_waited_too_long_is_cancelled_and_taken() -> None:
    """passive_ms_max after the wish began: cancel first, then an IOC; never both at once."""
    engine = _engine(style="passive", passive_ms_max=3_000, working_ms_max=60_000)
    send = _resting(engine)
    effects: list[Effect] = []
    for number in (3, 4, 5):
        effects += fold(engine, second(number))
    (cancel,) = of(effects, CancelOrder)
    assert cancel.client_order_id == send.client_order_id
    assert of(effects, Decided)[-1].outcome == "crossing"
    assert not of(effects, SendOrder)
    fold(engine, [_update(send, START + 5 * S + 9, OrderStatus.CANCELLED)])
    (taken,) = of(fold(engine, second(6)), SendOrder)
    assert taken.approved.intent.order_type is OrderType.IOC


def test_slices_come_in_time_and_reach_the_target() -> None:
    """Four slices two seconds apart add up to what one order would have been."""
    (whole,) = of(warm(_engine(style="aggressive"), 3), SendOrder)
    engine = _engine(style="twap", twap_ms=8_000, twap_slices=4)
    effects = warm(engine, 3)
    sizes, times = [], []
    for number in range(3, 16):
        for send in of(effects, SendOrder):
            sizes.append(send.approved.intent.quantity_lots)
            times.append(send.approved.intent.decided_ns)
            for place, event in enumerate(fill_of(send, START + number * S - 20)):
                if isinstance(event, Fill):
                    fields = {name: getattr(event, name) for name in event.__slots__}
                    event = Fill(**fields | {"trade_id": number, "fee_quote_e8": 0})
                fold(engine, [event])
                assert place < 2
        effects = fold(engine, second(number))
    assert len(sizes) == 4
    assert max(sizes) - min(sizes) <= 1
    assert {round((b - a) / S) for a, b in pairwise(times)} == {2}
    target = whole.approved.intent.quantity_lots
    assert abs(engine.desk.ledger.position_lots(0) - target) <= target * 0.01


def test_campaigns_survive_a_restart() -> None:
    """The state carries them: a restored engine waits as long as the first would have."""
    engine = _engine(style="twap", twap_ms=8_000, twap_slices=4)
    warm(engine, 3)
    (campaign,) = engine.decider.planner.campaigns
    assert (campaign.side, campaign.slices_sent) == (1, 1)
    other = _engine(style="twap", twap_ms=8_000, twap_slices=4)
    other.restore(engine.state)
    assert other.decider.planner.campaigns == [campaign]


def test_a_move_that_the_gate_denies_becomes_a_cancel() -> None:
    """A quote that may not move must not stay: no verdict, no new risk, so it is cancelled."""
    engine = _engine(style="passive", passive_ms_max=60_000, working_ms_max=60_000)
    send = _resting(engine)
    (order,) = engine.desk.orders.open_orders()
    intent = send.approved.intent
    effects = engine.desk.amend(order, intent, engine.markets, START + 3 * S, [])
    assert [type(each) for each in of(list(effects), CancelOrder)] == [CancelOrder]
    assert not of(list(effects), AmendOrder)
    assert engine.desk.orders.working_view().table_NC.sum() > 0, "it counts until it is gone"


@pytest.mark.parametrize("style", ["market", "aggressive", "passive", "twap"])
def test_no_style_orders_on_a_feed_that_is_not_ok(style: str) -> None:
    """Styles change how, never whether."""
    engine = _engine(style=style)
    effects = fold(engine, [status(START, Verdict.STALE)])
    for number in range(6):
        effects += fold(engine, second(number))
    assert not of(effects, SendOrder)
    assert engine.decider.planner.campaigns[0].side == 0
