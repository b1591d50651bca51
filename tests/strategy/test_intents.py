"""From target to order: direction, size, price and everything that must not be sent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from config.settings import ExecutionSettings
from kernels.events import OrderIntent, OrderType, Side
from kernels.units import Instrument
from strategy.intents import numbered, opposes, plan

BTC = Instrument(
    index=0,
    symbol="BTC/USDT:USDT",
    venue_id="BTCUSDT",
    tick_size_e8=10_000_000,
    lot_size_e8=100_000,
    lots_min=1,
    lots_max=100_000,
    notional_min_quote_e8=100 * 10**8,
    maker_fee_frac=0.0002,
    taker_fee_frac=0.0005,
)


def planned(**changes: Any) -> OrderIntent | None:
    """Plan from flat to a target of 100 lots in a quiet market, with some facts changed."""
    style = changes.pop("style", "aggressive")
    offset = changes.pop("taker_offset_bps", 2.0)
    facts: dict[str, Any] = {
        "sequence": 7,
        "instrument": BTC,
        "target_lots": 100,
        "position_lots": 0,
        "full_lots": 100,
        "working_buy_lots": 0,
        "working_sell_lots": 0,
        "bid_ticks": 600_000,
        "ask_ticks": 600_001,
        "mark_ticks": 600_000,
        "price_collar_bps": 50.0,
        "settings": ExecutionSettings(style=style, taker_offset_bps=offset, hysteresis_frac=0.1),
        "decided_ns": 11,
        "reason": "decided",
        "agent_share_A": (1.0,),
    }
    return plan(**(facts | changes))


def test_number_changes_nothing_else() -> None:
    """An intent under its number is what replacing that field gives."""
    intent = planned()
    assert intent is not None
    assert numbered(intent, 41) == replace(intent, sequence=41)


def test_opening_takes_through_the_touch() -> None:
    """An IOC buy reaches two basis points beyond the ask, rounded outward, and names its facts."""
    intent = planned()
    assert intent == OrderIntent(
        sequence=7,
        instrument=0,
        side=Side.BUY,
        quantity_lots=100,
        price_ticks=600_122,  # 600,001 * 1.0002 = 600,121.0002
        order_type=OrderType.IOC,
        reduce_only=False,
        decided_ns=11,
        reason="decided",
        agent_share_A=(1.0,),
    )


def test_selling_mirrors_buying() -> None:
    """An IOC sell reaches two basis points below the bid: 600,000 * 0.9998 exactly."""
    intent = planned(target_lots=-100)
    assert intent is not None
    assert (intent.side, intent.price_ticks, intent.reduce_only) == (Side.SELL, 599_880, False)


@pytest.mark.parametrize(("target", "price"), [(100, 600_000), (-100, 600_001)])
def test_maker_rests_at_its_own_touch(target: int, price: int) -> None:
    """Post-only at the bid to buy, at the ask to sell."""
    intent = planned(target_lots=target, style="passive")
    assert intent is not None
    assert (intent.price_ticks, intent.order_type) == (price, OrderType.POST_ONLY)


def test_a_flip_first_closes_then_opens() -> None:
    """Through zero: exactly the position, reduce-only; from flat: the opening order."""
    closing = planned(position_lots=40, target_lots=-100)
    assert closing is not None
    assert (closing.side, closing.quantity_lots, closing.reduce_only) == (Side.SELL, 40, True)
    opening = planned(position_lots=0, target_lots=-100)
    assert opening is not None
    assert (opening.quantity_lots, opening.reduce_only) == (100, False)


@pytest.mark.parametrize(
    ("position", "target", "quantity"),
    [(0, 9, None), (0, 10, 10), (100, 95, None), (100, 89, 11), (5, 0, 5), (3, -90, 3)],
)
def test_hysteresis_spares_small_changes_but_never_a_close(
    position: int, target: int, quantity: int | None
) -> None:
    """Below a tenth of a full position nothing is sent, except down to exactly flat."""
    intent = planned(position_lots=position, target_lots=target, instrument=BTC)
    assert (intent.quantity_lots if intent else None) == quantity


def test_working_orders_count_as_if_filled() -> None:
    """What is on its way is not ordered again."""
    assert planned(working_buy_lots=100) is None
    rest = planned(working_buy_lots=60)
    assert rest is not None
    assert rest.quantity_lots == 40


def test_no_order_against_our_own() -> None:
    """While an opposing order rests, nothing is planned and it is due to be cancelled."""
    assert planned(working_sell_lots=5) is None
    asks = {"target_lots": 100, "position_lots": 0}
    assert opposes(**asks, working_buy_lots=0, working_sell_lots=5)
    assert opposes(**asks, working_buy_lots=101, working_sell_lots=0)
    assert not opposes(**asks, working_buy_lots=100, working_sell_lots=0)
    assert not opposes(target_lots=0, position_lots=10, working_buy_lots=0, working_sell_lots=10)


def test_the_minimum_notional_binds_new_risk_only() -> None:
    """One lot is worth 60 of the needed 100: not opened, but a remainder of one lot is closed."""
    assert planned(target_lots=1, full_lots=1) is None
    closing = planned(position_lots=1, target_lots=0)
    assert closing is not None
    assert (closing.quantity_lots, closing.reduce_only) == (1, True)


@pytest.mark.parametrize(
    "quote",
    [
        {"bid_ticks": 0},
        {"ask_ticks": 0},
        {"bid_ticks": 600_001},
        {"bid_ticks": 600_005},
        {"bid_ticks": -5},
    ],
)
def test_no_order_without_a_whole_quote(quote: dict[str, int]) -> None:
    """A missing, locked or crossed side plans nothing."""
    assert planned(**quote) is None


def test_the_collar_cuts_the_reach_and_can_forbid_the_touch() -> None:
    """Beyond mid and mark by the collar no price is named; a touch outside plans nothing."""
    cut = planned(taker_offset_bps=100.0)
    assert cut is not None
    assert cut.price_ticks == 603_000  # 50 bps above the mark, the lower of both anchors
    assert planned(mark_ticks=590_000) is None
    assert planned(mark_ticks=590_000, target_lots=-100) is None
    assert planned(mark_ticks=0) is not None


@given(
    target=st.integers(-500, 500),
    position=st.integers(-500, 500),
    working=st.integers(-50, 50),
    bid=st.integers(100_000, 10**6),
    spread=st.integers(1, 50),
    mark_off=st.integers(-200, 200),
    offset=st.floats(0.0, 100.0),
    style=st.sampled_from(["market", "aggressive", "passive", "twap"]),
)
@settings(max_examples=300, deadline=None)
def test_every_planned_order_is_sound(
    target: int,
    position: int,
    working: int,
    bid: int,
    spread: int,
    mark_off: int,
    offset: float,
    style: str,
) -> None:
    """Never past the target, never past zero, inside the collar, and marketable as a taker."""
    mark = bid + mark_off
    buys, sells = max(working, 0), max(-working, 0)
    intent = planned(
        target_lots=target,
        position_lots=position,
        working_buy_lots=buys,
        working_sell_lots=sells,
        bid_ticks=bid,
        ask_ticks=bid + spread,
        mark_ticks=mark,
        taker_offset_bps=offset,
        style=style,
    )
    assume(intent is not None)
    assert intent is not None
    after = position + buys - sells + intent.side * intent.quantity_lots
    aim = 0 if position * target < 0 else target
    assert after == aim
    assert intent.reduce_only == (position * intent.side < 0)
    if intent.reduce_only:
        assert intent.quantity_lots <= abs(position)
    for anchor in (bid + spread / 2, mark):
        assert abs(intent.price_ticks - anchor) <= anchor * 0.005 + 1e-6
    if style != "passive":
        reaches = (
            intent.price_ticks >= bid + spread
            if intent.side is Side.BUY
            else intent.price_ticks <= bid
        )
        assert reaches
