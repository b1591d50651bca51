"""From a wish in [-1, 1] to lots: capped by every notional limit, rounded toward zero."""

from __future__ import annotations

import math

from config.settings import RiskLimits, SizingSettings
from kernels.units import E8, Instrument

ORDER_HEADROOM_FRAC = 0.01
"""Share left free below a limit, so that a price moving before the gate asks is no denial."""


def full_notional_quote(
    *,
    equity_quote_e8: int,
    instrument_count: int,
    sizing: SizingSettings,
    limits: RiskLimits,
    max_position_risk: float,
) -> float:
    """Give the notional of one instrument at full conviction, in quote; 0.0 without equity.

    The smallest of: its share of equity (``position_frac``); an equal part of what all instruments
    together may use (``max_position_risk`` and ``leverage_max`` of equity, and the gross limit);
    the position limit. The limits are taken less a headroom of 1 %.
    """
    if equity_quote_e8 <= 0 or instrument_count <= 0:
        return 0.0
    equity_quote = equity_quote_e8 / E8
    shared_quote = min(
        equity_quote * max_position_risk,
        equity_quote * limits.leverage_max,
        limits.gross_notional_quote_max,
    )
    capped_quote = min(limits.position_notional_quote_max, shared_quote / instrument_count)
    return min(equity_quote * sizing.position_frac, capped_quote * (1.0 - ORDER_HEADROOM_FRAC))


def target_lots(
    *,
    exposure: float,
    instrument: Instrument,
    instrument_count: int,
    mid_ticks: float,
    equity_quote_e8: int,
    sizing: SizingSettings,
    limits: RiskLimits,
    max_position_risk: float,
) -> int | None:
    """Give the position to hold, in signed lots rounded toward zero; None when nothing can be said.

    ``exposure`` is a share of the full position in [-1, 1] and is clipped to it. None (keep what
    there is, explicitly) for a non-finite exposure or price; 0 without equity.
    """
    if not (math.isfinite(exposure) and math.isfinite(mid_ticks)) or mid_ticks <= 0:
        return None
    full_quote = full_notional_quote(
        equity_quote_e8=equity_quote_e8,
        instrument_count=instrument_count,
        sizing=sizing,
        limits=limits,
        max_position_risk=max_position_risk,
    )
    lot_quote = mid_ticks * instrument.tick_lot_quote_e8 / E8
    return math.trunc(min(1.0, max(-1.0, exposure)) * full_quote / lot_quote)


def order_lots_max(instrument: Instrument, price_ticks: int, limits: RiskLimits) -> int:
    """Give the most lots of new risk that one order may carry at this price, filters included."""
    if price_ticks <= 0:
        return 0
    lot_quote = price_ticks * instrument.tick_lot_quote_e8 / E8
    allowed_quote = limits.order_notional_quote_max * (1.0 - ORDER_HEADROOM_FRAC)
    return min(instrument.lots_max, math.floor(allowed_quote / lot_quote))
