"""From a wish in [-1, 1] to lots: capped by evidence and every notional limit, toward zero.

A position at full conviction is the smallest of its base share of equity and of the caps in
``size_caps_quote``. A cap speaks only when its evidence exists: without an edge estimate Kelly says
nothing and the base share stands, and no evidence, however good, makes a position larger than that.
Evidence that exists but is no number permits nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from config.settings import RiskLimits, SizingSettings
from kernels.units import BPS_PER_UNIT, E8, Instrument

ORDER_HEADROOM_FRAC = 0.01
"""Share left free below a limit, so that a price moving before the gate asks is no denial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeEstimate:
    """The ensemble's own edge on one instrument, of ``sample_count`` past decisions.

    Mean and variance of the return per decision, after costs, for a position of full conviction on
    the side it chose; fractions of notional.
    """

    mean_frac: float
    variance_frac2: float
    sample_count: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SizingEvidence:
    """What is known about one instrument and the account when a size is asked for.

    ``volatility_frac`` is a year's standard deviation of its return, ``shortfall_frac`` its
    expected shortfall over a day (``expected_shortfall_frac``), ``drawdown_frac`` the account's
    loss from its peak. None: not known yet.
    """

    drawdown_frac: float = 0.0
    edge: EdgeEstimate | None = None
    volatility_frac: float | None = None
    shortfall_frac: float | None = None


NO_EVIDENCE = SizingEvidence()


def kelly_leverage(edge: EdgeEstimate, sizing: SizingSettings) -> float:
    """Give the notional over equity of the fractional Kelly bet; 0.0 for no edge or no number.

    The mean is shrunk to zero by a normal prior of deviation ``kelly_prior_edge_bps``, and what
    remains unknown about it adds to the variance: posterior mean / (variance + posterior variance
    of the mean), times ``kelly_fraction``. Few samples bet little.
    """
    numbers = (edge.mean_frac, edge.variance_frac2, edge.sample_count)
    if not all(map(math.isfinite, numbers)) or min(edge.variance_frac2, edge.sample_count) <= 0.0:
        return 0.0
    prior_frac2 = (sizing.kelly_prior_edge_bps / BPS_PER_UNIT) ** 2
    sampling_frac2 = edge.variance_frac2 / edge.sample_count
    trust = prior_frac2 / (prior_frac2 + sampling_frac2)
    spread_frac2 = edge.variance_frac2 + trust * sampling_frac2
    return sizing.kelly_fraction * max(edge.mean_frac, 0.0) * trust / spread_frac2


def drawdown_factor(drawdown_frac: float, sizing: SizingSettings) -> float:
    """Give the share of a size that a drawdown leaves: 1 up to start, linear to 0 at stop."""
    if math.isnan(drawdown_frac):
        return 0.0
    start, stop = sizing.drawdown_governor_start_frac, sizing.drawdown_governor_stop_frac
    return min(1.0, max(0.0, (stop - drawdown_frac) / (stop - start)))


def capped_share(target_frac: float, measure_frac: float) -> float:
    """Give the share of equity at which ``measure`` of it is ``target``; 0.0 for no number."""
    if math.isnan(measure_frac) or measure_frac < 0.0:
        return 0.0
    return target_frac / measure_frac if measure_frac > 0.0 else math.inf


def expected_shortfall_frac(returns_T: Sequence[float], tail_frac: float) -> float | None:
    """Average the worst ``tail_frac`` of returns, as a positive loss; 0.0 where they are gains.

    The last, cut observation of the tail counts with its part (Acerbi, Tasche 2002). None for fewer
    returns than it takes for one to lie in the tail; NaN where one of them is no number.
    """
    tail = tail_frac * len(returns_T)
    if tail < 1.0:
        return None
    if not all(map(math.isfinite, returns_T)):
        return math.nan
    worst = sorted(returns_T)
    whole = math.floor(tail)
    total = math.fsum(worst[:whole])
    if whole < len(worst):
        total += (tail - whole) * worst[whole]
    return max(-total / tail, 0.0)


def size_caps_quote(
    *,
    equity_quote_e8: int,
    instrument_count: int,
    sizing: SizingSettings,
    limits: RiskLimits,
    max_position_risk: float,
    is_kelly_enabled: bool,
    evidence: SizingEvidence,
) -> dict[str, float]:
    """Give every cap on a position at full conviction by name, in quote; the smallest holds.

    An equal part per instrument of what all together may use (``max_position_risk`` and
    ``leverage_max`` of equity, gross and net limits) less a headroom of 1 %, and the caps of
    evidence. All are 0.0 without equity.
    """
    equity_quote = max(equity_quote_e8 / E8, 0.0)
    kept = 1.0 - ORDER_HEADROOM_FRAC
    part = kept / max(instrument_count, 1)
    caps = {
        "base": equity_quote * sizing.position_frac,
        "position_limit": limits.position_notional_quote_max * kept,
        "gross_limit": limits.gross_notional_quote_max * part,
        "net_limit": limits.net_notional_quote_max * part,
        "leverage": equity_quote * limits.leverage_max * part,
        "margin": equity_quote * limits.margin_use_frac_max / limits.initial_margin_frac * part,
        "max_position_risk": equity_quote * max_position_risk * part,
    }
    if is_kelly_enabled and evidence.edge is not None:
        caps["kelly"] = equity_quote * kelly_leverage(evidence.edge, sizing)
    if evidence.volatility_frac is not None:
        share = capped_share(sizing.volatility_target_frac, evidence.volatility_frac)
        caps["volatility_target"] = equity_quote * share if equity_quote else 0.0
    if evidence.shortfall_frac is not None:
        share = capped_share(sizing.shortfall_frac_max, evidence.shortfall_frac)
        caps["shortfall"] = equity_quote * share if equity_quote else 0.0
    return caps


def full_notional_quote(
    *,
    equity_quote_e8: int,
    instrument_count: int,
    sizing: SizingSettings,
    limits: RiskLimits,
    max_position_risk: float,
    is_kelly_enabled: bool = True,
    evidence: SizingEvidence = NO_EVIDENCE,
) -> float:
    """Give the notional of one instrument at full conviction, in quote; 0.0 without equity.

    The smallest of ``size_caps_quote``, shrunk by the drawdown governor.
    """
    caps = size_caps_quote(
        equity_quote_e8=equity_quote_e8,
        instrument_count=instrument_count,
        sizing=sizing,
        limits=limits,
        max_position_risk=max_position_risk,
        is_kelly_enabled=is_kelly_enabled,
        evidence=evidence,
    )
    return min(caps.values()) * drawdown_factor(evidence.drawdown_frac, sizing)


def lots_of(exposure: float, full_quote: float, lot_quote: float) -> int | None:
    """Give a share of the full position in signed lots, rounded toward zero.

    ``exposure`` is clipped to [-1, 1]; ``full_quote`` is what ``full_notional_quote`` gave,
    ``lot_quote`` a lot's worth. None (keep what there is, explicitly) for an exposure that is no
    number, and where a lot has no finite worth above 0.
    """
    if not (math.isfinite(exposure) and math.isfinite(lot_quote) and lot_quote > 0.0):
        return None
    return math.trunc(min(1.0, max(-1.0, exposure)) * full_quote / lot_quote)


def order_lots_max(
    instrument: Instrument,
    price_ticks: int,
    limits: RiskLimits,
    depth_lots: int | None = None,
    day_volume_lots: int | None = None,
) -> int:
    """Give the most lots of new risk that one order may carry at this price, filters included.

    ``depth_lots`` is what the other side of the book displays, ``day_volume_lots`` what is traded
    in a day; None where one is not to be asked.
    """
    if price_ticks <= 0:
        return 0
    lot_quote = price_ticks * instrument.tick_lot_quote_e8 / E8
    allowed_quote = limits.order_notional_quote_max * (1.0 - ORDER_HEADROOM_FRAC)
    lots_max = min(instrument.lots_max, math.floor(allowed_quote / lot_quote))
    if depth_lots is not None:
        lots_max = min(lots_max, math.floor(limits.order_depth_frac_max * depth_lots))
    if day_volume_lots is not None:
        lots_max = min(lots_max, math.floor(limits.order_day_volume_frac_max * day_volume_lots))
    return lots_max
