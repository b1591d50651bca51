"""The cost model against orders whose cost is known; too few orders say nothing."""

from __future__ import annotations

import numpy as np
import pytest

from strategy.evaluation.cost_figures import ORDERS_MIN, ExecutedOrder, cost_figures, mean_cost
from strategy.evaluation.execution import Costs

MODEL = Costs(fee_frac=5e-4, half_spread_frac=5e-5, slippage_frac=5e-5)
"""6 bps a unit of turnover."""


def orders(
    price_bps: float, *, fee_bps: float = 5.0, half_tick_bps: float = 0.01, count: int = 40
) -> list[ExecutedOrder]:
    """Return orders of different sizes that all cost the same."""
    return [
        ExecutedOrder(
            symbol="BTC/USDT:USDT",
            notional_quote=100.0 + n,
            price_bps=price_bps,
            fee_bps=fee_bps,
            half_tick_bps=half_tick_bps,
        )
        for n in range(count)
    ]


def test_a_model_that_is_right_has_no_error() -> None:
    """Orders that cost exactly what is charged: no error, and no width."""
    found = cost_figures(orders(1.0), MODEL)
    assert found.total is not None
    assert (found.total.bps, found.total.low_bps) == pytest.approx((6.0, 6.0))
    assert found.error_frac == pytest.approx(0.0)
    assert found.is_met is True


@pytest.mark.parametrize(("price_bps", "is_met"), [(0.1, True), (-0.5, False), (3.0, False)])
def test_both_sides_are_missed(price_bps: float, is_met: bool) -> None:
    """Charging a third too much or a quarter too little is an error; a sixth is within bounds."""
    found = cost_figures(orders(price_bps), MODEL)
    assert found.error_frac == pytest.approx(6.0 / (5.0 + price_bps) - 1.0)
    assert found.is_met is is_met


def test_an_order_is_charged_the_step_of_its_own_book() -> None:
    """Half a tick of 2 bps is charged instead of the narrower default, each order its own."""
    wide = orders(2.3, half_tick_bps=2.0)
    assert cost_figures(wide, MODEL).modelled_bps == pytest.approx(5.0 + 2.0 + 0.5)
    assert cost_figures(orders(2.3), MODEL).modelled_bps == pytest.approx(6.0)


def test_the_default_is_near_what_recorded_streams_charged() -> None:
    """On BTC at 60,000, a tick of 0.1: 5.01 bps were paid; the excess is far below the bar."""
    found = cost_figures(orders(0.01, half_tick_bps=0.0083), Costs())
    assert found.error_frac is not None
    assert 0.0 < found.error_frac < 0.1


def test_luck_is_no_accuracy() -> None:
    """A mean that happens to be right with an interval beyond the bound is not met."""
    wild = orders(1.0 + 12.0) + orders(1.0 - 12.0)
    found = cost_figures(wild, MODEL)
    assert found.error_frac == pytest.approx(0.0, abs=0.01)
    assert found.is_met is False


def test_too_few_orders_say_nothing() -> None:
    """Below thirty orders, and where orders may have cost nothing, nothing is met or missed."""
    few = cost_figures(orders(1.0, count=ORDERS_MIN - 1), MODEL)
    assert (few.total, few.error_frac, few.is_met) == (None, None, None)
    free = cost_figures(orders(-5.0), MODEL)
    assert free.total is not None
    assert (free.error_frac, free.is_met) == (None, None)
    assert cost_figures([], MODEL).notional_quote == 0.0


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Of 2,000 samples of unequal orders about 95 % of the intervals hold the true mean."""
    generator = np.random.default_rng(3)
    held = 0
    for _ in range(2_000):
        size_n = generator.lognormal(0.0, 0.5, 200)
        found = mean_cost(generator.normal(2.0, 1.0, 200), size_n)
        held += found.low_bps <= 2.0 <= found.high_bps
    assert 0.93 <= held / 2_000 <= 0.97
