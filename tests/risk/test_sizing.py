"""Sizing: inside every limit, rounded toward zero, explicit when nothing can be said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import RiskLimits, SizingSettings
from kernels.units import E8
from risk.sizing import order_lots_max, target_lots
from tests.fakes.gate_scene import BTC, BTC_TICKS, INSTRUMENTS

LIMITS, SIZING = RiskLimits(), SizingSettings()
BTC_SPEC = INSTRUMENTS[BTC]


def size(
    exposure: float,
    *,
    equity_quote: float = 100_000.0,
    mid_ticks: float = BTC_TICKS,
    limits: RiskLimits = LIMITS,
    sizing: SizingSettings = SIZING,
    risk: float = 0.95,
) -> int | None:
    """Size BTC beside one other instrument."""
    return target_lots(
        exposure=exposure,
        instrument=BTC_SPEC,
        instrument_count=2,
        mid_ticks=mid_ticks,
        equity_quote_e8=int(equity_quote * E8),
        sizing=sizing,
        limits=limits,
        max_position_risk=risk,
    )


@given(
    st.floats(-3.0, 3.0),
    st.floats(-1e5, 1e7),
    st.floats(1e3, 1e7),
    st.floats(0.0, 1.0),
    st.floats(100.0, 1e6),
    st.floats(0.01, 20.0),
    st.floats(0.01, 1.0),
)
def test_target_keeps_every_limit(
    exposure: float,
    equity_quote: float,
    mid_ticks: float,
    position_frac: float,
    position_max: float,
    leverage_max: float,
    risk: float,
) -> None:
    """The target has the sign of the wish, and two such positions break no limit."""
    limits = RiskLimits(
        order_notional_quote_max=position_max,
        position_notional_quote_max=position_max,
        gross_notional_quote_max=position_max * 1.5,
        leverage_max=leverage_max,
    )
    sizing = SizingSettings(position_frac=position_frac)
    values = {"limits": limits, "sizing": sizing, "mid_ticks": mid_ticks}
    lots = size(exposure, equity_quote=equity_quote, risk=risk, **values)  # type: ignore[arg-type]  # a mixed dict
    assert lots is not None
    assert lots * exposure >= 0
    notional = abs(lots) * mid_ticks * BTC_SPEC.tick_lot_quote_e8 / E8
    equity = max(0.0, equity_quote)
    assert notional <= equity * position_frac * (1 + 1e-9)
    assert notional <= position_max
    assert 2 * notional <= limits.gross_notional_quote_max
    assert 2 * notional <= equity * min(leverage_max, risk)


def test_target_by_hand() -> None:
    """A quarter of 100000 at 60000 is 0.416 BTC, half of the wish the half, toward zero."""
    assert size(1.0) == 416
    assert size(-1.0) == -416
    assert size(0.5) == 208
    assert size(0.0011) == 0
    assert size(7.0) == 416


@given(st.floats(-1.0, 1.0), st.floats(-1.0, 1.0))
def test_more_wish_is_never_less_position(one: float, other: float) -> None:
    """The target grows with the exposure."""
    low, high = size(min(one, other)), size(max(one, other))
    assert low is not None
    assert high is not None
    assert low <= high


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_no_number_is_no_target(bad: float) -> None:
    """A wish or a price that is not a number is answered by None, never by a silent zero."""
    assert size(bad) is None
    assert size(1.0, mid_ticks=bad) is None
    assert size(1.0, mid_ticks=0.0) is None


def test_no_equity_is_flat() -> None:
    """Without equity the target is flat."""
    assert size(1.0, equity_quote=0.0) == 0
    assert size(-1.0, equity_quote=-5.0) == 0


@given(st.integers(1, 10**7))
def test_largest_order_keeps_its_limit(price_ticks: int) -> None:
    """The largest order stays below the order limit and the venue's filter, within one lot."""
    lots = order_lots_max(BTC_SPEC, price_ticks, LIMITS)
    lot_quote = price_ticks * BTC_SPEC.tick_lot_quote_e8 / E8
    assert lots <= BTC_SPEC.lots_max
    assert lots * lot_quote <= LIMITS.order_notional_quote_max
    if lots < BTC_SPEC.lots_max:
        assert (lots + 1) * lot_quote > LIMITS.order_notional_quote_max * 0.98
    assert order_lots_max(BTC_SPEC, 0, LIMITS) == 0
