"""Implementation shortfall: signs are costs, parts add up, what did not fill is not priced."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.shortfall import Execution, Shortfall, measure


def _measure(side: int, *fills: Execution, quantity_lots: int = 10) -> Shortfall:
    return measure(
        side=side,
        decision_mid_ticks=100_000.0,
        quantity_lots=quantity_lots,
        tick_lot_quote_e8=1_000,
        fills=fills,
        delay_ns=5,
    )


def test_a_buy_above_the_mid_costs() -> None:
    """Ten ticks in a hundred thousand are one basis point; a fee of a basis point adds another."""
    found = _measure(1, Execution(price_ticks=100_010, quantity_lots=10, fee_quote_e8=100_000))
    assert found.price_bps == pytest.approx(1.0)
    assert found.fee_bps == pytest.approx(1.0)
    assert found.total_bps == pytest.approx(2.0)
    assert (found.filled_lots, found.unfilled_lots) == (10, 0)


def test_the_same_price_is_a_gain_to_a_seller() -> None:
    """Only the sign of the side differs."""
    fill = Execution(price_ticks=100_010, quantity_lots=4, fee_quote_e8=0)
    found = _measure(-1, fill)
    assert found.price_bps == pytest.approx(-1.0)
    assert found.unfilled_lots == 6


def test_nothing_filled_costs_nothing_yet() -> None:
    """No price is made up for what did not happen."""
    found = _measure(1)
    assert found.total_bps is found.price_bps is found.average_price_ticks is None
    assert found.words()["unfilled_lots"] == 10


@given(
    st.sampled_from([1, -1]),
    st.lists(st.tuples(st.integers(90_000, 110_000), st.integers(1, 50)), min_size=1, max_size=8),
)
def test_splitting_a_fill_changes_nothing(side: int, parts: list[tuple[int, int]]) -> None:
    """The cost of an order is that of its volume-weighted price, however it was cut."""
    fills = [
        Execution(price_ticks=ticks, quantity_lots=lots, fee_quote_e8=lots) for ticks, lots in parts
    ]
    split = [
        Execution(price_ticks=each.price_ticks, quantity_lots=1, fee_quote_e8=1)
        for each in fills
        for _ in range(each.quantity_lots)
    ]
    one, other = _measure(side, *fills), _measure(side, *split)
    assert one.total_bps == pytest.approx(other.total_bps)
    assert one.total_bps == pytest.approx((one.price_bps or 0.0) + (one.fee_bps or 0.0))
