"""Closing orders: they reduce, they widen, they never leave the collar."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import RiskLimits
from kernels.events import OrderType, Side
from kernels.units import BPS_PER_UNIT
from risk.closing import WIDTHS_FRAC, closing_intent
from tests.fakes.gate_scene import INSTRUMENTS

INSTRUMENT = INSTRUMENTS[0]
COLLAR_BPS = RiskLimits().price_collar_bps


@given(
    position_lots=st.integers(-5000, 5000).filter(lambda lots: lots != 0),
    bid_ticks=st.integers(10_000, 1_000_000),
    spread_ticks=st.integers(1, 50),
    attempt=st.integers(0, 10),
)
def test_reduces_inside_the_collar(
    position_lots: int, bid_ticks: int, spread_ticks: int, attempt: int
) -> None:
    """Side, size and price are always such that the gate may let it through."""
    ask_ticks = bid_ticks + spread_ticks
    intent = closing_intent(
        sequence=1,
        instrument=INSTRUMENT,
        position_lots=position_lots,
        bid_ticks=bid_ticks,
        ask_ticks=ask_ticks,
        mark_ticks=0,
        price_collar_bps=COLLAR_BPS,
        attempt=attempt,
        decided_ns=1,
    )
    assert intent is not None
    assert intent.reduce_only
    assert intent.order_type is OrderType.IOC
    assert intent.side is (Side.SELL if position_lots > 0 else Side.BUY)
    assert 0 < intent.quantity_lots <= abs(position_lots)
    middle = 0.5 * (bid_ticks + ask_ticks)
    assert abs(intent.price_ticks - middle) <= middle * COLLAR_BPS / BPS_PER_UNIT


@pytest.mark.parametrize("position_lots", [100, -100])
def test_each_attempt_reaches_further(position_lots: int) -> None:
    """What did not fill is tried at a worse price, until the collar is nearly reached."""
    prices = []
    for attempt in range(len(WIDTHS_FRAC) + 2):
        intent = closing_intent(
            sequence=attempt,
            instrument=INSTRUMENT,
            position_lots=position_lots,
            bid_ticks=600_000,
            ask_ticks=600_001,
            mark_ticks=600_000,
            price_collar_bps=COLLAR_BPS,
            attempt=attempt,
            decided_ns=1,
        )
        assert intent is not None
        prices.append(intent.price_ticks)
    assert prices == sorted(prices, reverse=position_lots > 0)
    assert len(set(prices)) == len(WIDTHS_FRAC)


def test_nothing_without_a_price() -> None:
    """A price is not invented; the mark will do where the quote is gone."""

    def price_of(bid_ticks: int, mark_ticks: int) -> int | None:
        intent = closing_intent(
            sequence=1,
            instrument=INSTRUMENT,
            position_lots=5,
            bid_ticks=bid_ticks,
            ask_ticks=0,
            mark_ticks=mark_ticks,
            price_collar_bps=COLLAR_BPS,
            attempt=0,
            decided_ns=1,
        )
        return None if intent is None else intent.price_ticks

    assert price_of(600_000, 0) is None
    assert price_of(600_000, 500_000) == 499_750
