"""Sizing: inside every limit, rounded toward zero, explicit when nothing can be said."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import RiskLimits, SizingSettings
from kernels.units import E8
from risk.sizing import (
    NO_EVIDENCE,
    EdgeEstimate,
    SizingEvidence,
    capped_share,
    drawdown_factor,
    expected_shortfall_frac,
    full_notional_quote,
    kelly_leverage,
    lots_of,
    order_lots_max,
    size_caps_quote,
)
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
    full_quote = full_notional_quote(
        equity_quote_e8=int(equity_quote * E8),
        instrument_count=2,
        sizing=sizing,
        limits=limits,
        max_position_risk=risk,
    )
    return lots_of(exposure, full_quote, mid_ticks * BTC_SPEC.tick_lot_quote_e8 / E8)


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
        net_notional_quote_max=position_max * 1.2,
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
    assert 2 * notional <= limits.net_notional_quote_max
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


def full(
    evidence: SizingEvidence = NO_EVIDENCE,
    *,
    is_kelly_enabled: bool = True,
    limits: RiskLimits = LIMITS,
    risk: float = 0.95,
    sizing: SizingSettings = SIZING,
) -> float:
    """Size one of two instruments at full conviction with 100000 of equity, in quote."""
    return full_notional_quote(
        equity_quote_e8=100_000 * E8,
        instrument_count=2,
        sizing=sizing,
        limits=limits,
        max_position_risk=risk,
        is_kelly_enabled=is_kelly_enabled,
        evidence=evidence,
    )


GOOD_EDGE = EdgeEstimate(mean_frac=0.0001, variance_frac2=0.01**2, sample_count=10_000)
POOR_EDGE = EdgeEstimate(mean_frac=0.00001, variance_frac2=0.01**2, sample_count=10_000)
numbers = st.one_of(st.none(), st.floats(-10.0, 10.0), st.sampled_from([math.nan, math.inf]))


@given(
    st.one_of(
        st.none(),
        st.builds(
            EdgeEstimate,
            mean_frac=st.floats(-1.0, 1.0),
            variance_frac2=st.floats(0.0, 1.0),
            sample_count=st.floats(0.0, 1e9),
        ),
    ),
    numbers,
    numbers,
    st.floats(-0.5, 1.5),
    st.booleans(),
)
def test_no_evidence_enlarges_the_base(
    edge: EdgeEstimate | None,
    volatility_frac: float | None,
    shortfall_frac: float | None,
    drawdown_frac: float,
    is_kelly_enabled: bool,
) -> None:
    """However good the evidence, a position is never larger than its base share, nor negative."""
    evidence = SizingEvidence(
        drawdown_frac=drawdown_frac,
        edge=edge,
        volatility_frac=volatility_frac,
        shortfall_frac=shortfall_frac,
    )
    sized = full(evidence, is_kelly_enabled=is_kelly_enabled)
    assert 0.0 <= sized <= full() == 25_000.0


@pytest.mark.parametrize(
    ("evidence", "knob", "smaller", "larger"),
    [
        (NO_EVIDENCE, "position_frac", 0.1, 0.2),
        (SizingEvidence(edge=POOR_EDGE), "kelly_fraction", 0.1, 0.2),
        (SizingEvidence(edge=POOR_EDGE), "kelly_prior_edge_bps", 0.5, 1.0),
        (SizingEvidence(volatility_frac=2.0), "volatility_target_frac", 0.1, 0.2),
        (SizingEvidence(shortfall_frac=0.2), "shortfall_frac_max", 0.01, 0.02),
        (SizingEvidence(drawdown_frac=0.06), "drawdown_governor_start_frac", 0.01, 0.04),
        (SizingEvidence(drawdown_frac=0.06), "drawdown_governor_stop_frac", 0.07, 0.15),
    ],
)
def test_every_knob_changes_the_size(
    evidence: SizingEvidence, knob: str, smaller: float, larger: float
) -> None:
    """A larger value of any knob gives a larger position while its cap is the one that holds."""
    small, large = (SizingSettings.model_validate({knob: number}) for number in (smaller, larger))
    assert 0.0 < full(evidence, sizing=small) < full(evidence, sizing=large)


def test_shortfall_tail_changes_the_measure() -> None:
    """The tail knob moves the shortfall that is measured, and with it the size."""
    tight = SizingSettings(shortfall_frac_max=0.01)
    returns = [0.001 * n for n in range(-60, 140)]
    sizes = []
    for tail_frac in (0.01, 0.1):
        measured = expected_shortfall_frac(returns, tail_frac)
        assert measured is not None
        sizes.append(full(SizingEvidence(shortfall_frac=measured), sizing=tight))
    assert 0.0 < sizes[0] < sizes[1] < 25_000.0


def test_limits_and_risk_cap_the_size() -> None:
    """``max_position_risk``, leverage, margin, net and gross each hold when they are smallest."""
    assert full(risk=0.2) == pytest.approx(0.2 * 100_000 / 2 * 0.99)
    for changes, quote in (
        ({"leverage_max": 0.1}, 5_000 * 0.99),
        ({"margin_use_frac_max": 0.005}, 5_000 * 0.99),
        (
            {
                "order_notional_quote_max": 1e4,
                "position_notional_quote_max": 1e4,
                "net_notional_quote_max": 1e4,
            },
            5_000 * 0.99,
        ),
    ):
        assert full(limits=RiskLimits.model_validate(changes)) == pytest.approx(quote)


def test_caps_are_named() -> None:
    """Every cap can be shown beside the others, so that a size can be explained."""
    caps = size_caps_quote(
        equity_quote_e8=100_000 * E8,
        instrument_count=2,
        sizing=SIZING,
        limits=LIMITS,
        max_position_risk=0.95,
        is_kelly_enabled=True,
        evidence=SizingEvidence(edge=POOR_EDGE, volatility_frac=1.0, shortfall_frac=0.1),
    )
    assert {"base", "kelly", "volatility_target", "shortfall", "max_position_risk"} <= set(caps)
    assert min(caps, key=lambda name: caps[name]) == "kelly"
    assert caps["volatility_target"] == pytest.approx(20_000)
    assert caps["shortfall"] == pytest.approx(20_000)


@pytest.mark.parametrize(
    "edge",
    [
        EdgeEstimate(mean_frac=0.0, variance_frac2=0.01, sample_count=100),
        EdgeEstimate(mean_frac=-0.1, variance_frac2=0.01, sample_count=100),
        EdgeEstimate(mean_frac=0.1, variance_frac2=0.0, sample_count=100),
        EdgeEstimate(mean_frac=0.1, variance_frac2=0.01, sample_count=0),
        EdgeEstimate(mean_frac=math.nan, variance_frac2=0.01, sample_count=100),
        EdgeEstimate(mean_frac=math.inf, variance_frac2=0.01, sample_count=100),
        EdgeEstimate(mean_frac=0.1, variance_frac2=math.nan, sample_count=100),
    ],
)
def test_no_edge_is_no_position(edge: EdgeEstimate) -> None:
    """No edge, a negative one or one that is no number sizes to 0, unless Kelly is off."""
    evidence = SizingEvidence(edge=edge)
    assert full(evidence) == 0.0
    assert full(evidence, is_kelly_enabled=False) == 25_000.0


def test_kelly_of_zero_is_zero() -> None:
    """A Kelly fraction of 0 takes no bet, however good the edge; it is not off."""
    assert full(SizingEvidence(edge=GOOD_EDGE), sizing=SizingSettings(kelly_fraction=0.0)) == 0.0


def test_kelly_without_an_estimate_says_nothing() -> None:
    """Until an edge is estimated, switching Kelly on or off changes no size."""
    assert full(is_kelly_enabled=True) == full(is_kelly_enabled=False) == 25_000.0


def test_kelly_by_hand() -> None:
    """Prior 1 bp, sampling error 1 bp: half the mean is trusted, the rest adds to the variance."""
    edge = EdgeEstimate(mean_frac=0.0002, variance_frac2=0.01**2, sample_count=10_000)
    spread = 0.01**2 + 0.5 * 0.01**2 / 10_000
    assert kelly_leverage(edge, SIZING) == pytest.approx(0.25 * 0.0001 / spread)


@given(st.floats(1.0, 1e6), st.floats(1.0, 1e6))
def test_more_samples_never_bet_less(one: float, other: float) -> None:
    """The same estimate from more samples is trusted at least as much, never beyond full trust."""
    few, many = (
        kelly_leverage(
            EdgeEstimate(mean_frac=0.0001, variance_frac2=0.0001, sample_count=count), SIZING
        )
        for count in (min(one, other), max(one, other))
    )
    assert few <= many * (1 + 1e-12)
    assert many <= 0.25 * 0.0001 / 0.0001


@pytest.mark.parametrize(
    ("drawdown_frac", "factor"),
    [(-0.1, 1.0), (0.0, 1.0), (0.05, 1.0), (0.1, 0.5), (0.15, 0.0), (0.9, 0.0), (math.nan, 0.0)],
)
def test_drawdown_governor_by_hand(drawdown_frac: float, factor: float) -> None:
    """Full size up to 5 %, half at 10 %, none from 15 % on, and none for no number."""
    assert drawdown_factor(drawdown_frac, SIZING) == pytest.approx(factor)


@pytest.mark.parametrize("bad", [math.nan, -0.1, -math.inf])
def test_measure_that_is_none_permits_nothing(bad: float) -> None:
    """A volatility or shortfall that is no number, or negative, sizes to 0."""
    assert capped_share(0.2, bad) == 0.0
    assert full(SizingEvidence(volatility_frac=bad)) == 0.0
    assert full(SizingEvidence(shortfall_frac=bad)) == 0.0
    assert full(SizingEvidence(volatility_frac=0.0, shortfall_frac=0.0)) == 25_000.0


def test_expected_shortfall_by_hand() -> None:
    """The worst two and a half of ten returns average to what is computed by hand."""
    returns = [0.03, -0.01, -0.05, 0.02, -0.03, 0.0, 0.01, 0.04, 0.05, 0.06]
    assert expected_shortfall_frac(returns, 0.25) == pytest.approx((0.05 + 0.03 + 0.005) / 2.5)
    assert expected_shortfall_frac([0.01] * 10, 0.2) == 0.0
    assert expected_shortfall_frac(returns[:3], 0.25) is None
    unknown = expected_shortfall_frac([*returns, math.nan], 0.25)
    assert unknown is not None
    assert math.isnan(unknown)


@given(st.lists(st.floats(-1.0, 1.0), min_size=20, max_size=60), st.floats(0.05, 0.9))
def test_expected_shortfall_is_no_less_than_the_quantile(
    returns: list[float], tail_frac: float
) -> None:
    """It lies between the loss at the tail's edge and the worst loss."""
    measured = expected_shortfall_frac(returns, tail_frac)
    assert measured is not None
    worst = sorted(returns)
    edge = worst[min(math.floor(tail_frac * len(returns)), len(returns) - 1)]
    assert max(-edge, 0.0) <= measured + 1e-12
    assert measured <= max(-worst[0], 0.0) + 1e-12


@given(st.integers(0, 10**6), st.floats(0.0, 1.0))
def test_largest_order_keeps_its_share_of_the_depth(depth_lots: int, share: float) -> None:
    """An order cut to the depth is the largest that the gate's check of it lets pass."""
    limits = RiskLimits(order_depth_frac_max=share)
    lots = order_lots_max(BTC_SPEC, BTC_TICKS, limits, depth_lots)
    assert lots <= share * depth_lots
    if lots < order_lots_max(BTC_SPEC, BTC_TICKS, limits):
        assert lots + 1 > share * depth_lots


@given(st.integers(0, 10**7), st.floats(0.0, 1.0))
def test_largest_order_keeps_its_share_of_the_day(volume_lots: int, share: float) -> None:
    """An order cut to the day's volume is the largest that the gate's check of it lets pass."""
    limits = RiskLimits(order_day_volume_frac_max=share)
    lots = order_lots_max(BTC_SPEC, BTC_TICKS, limits, None, volume_lots)
    assert lots <= share * volume_lots
    if lots < order_lots_max(BTC_SPEC, BTC_TICKS, limits):
        assert lots + 1 > share * volume_lots
