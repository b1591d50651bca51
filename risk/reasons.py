"""Why the gate said no: stable codes for journal, metrics and alerts.

A code is *denied*, by us; *rejected* is the venue's word.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class DenialCode(StrEnum):
    """One code per way an intent can fail; names are a contract with logs and dashboards."""

    INPUT_MISSING = "input_missing"
    INSTRUMENT_UNKNOWN = "instrument_unknown"
    MALFORMED = "malformed"
    SEQUENCE_REUSED = "sequence_reused"
    DUPLICATE = "duplicate"
    BREAKER_REDUCE_ONLY = "breaker_reduce_only"
    BREAKER_CANCEL = "breaker_cancel"
    BREAKER_HALTED = "breaker_halted"
    REDUCE_FROM_FLAT = "reduce_from_flat"
    REDUCE_WRONG_SIDE = "reduce_wrong_side"
    REDUCE_TOO_LARGE = "reduce_too_large"
    LOTS_FILTER = "lots_filter"
    NOTIONAL_FILTER = "notional_filter"
    FEED_NOT_OK = "feed_not_ok"
    MODEL_NOT_OK = "model_not_ok"
    AGENT_DISARMED = "agent_disarmed"
    QUOTE_MISSING = "quote_missing"
    QUOTE_STALE = "quote_stale"
    MARK_MISSING = "mark_missing"
    MARK_STALE = "mark_stale"
    COLLAR_MID = "collar_mid"
    COLLAR_MARK = "collar_mark"
    SELF_TRADE = "self_trade"
    DEPTH_SHARE = "depth_share"
    DAY_VOLUME_STALE = "day_volume_stale"
    DAY_VOLUME_SHARE = "day_volume_share"
    UNKNOWN_ORDER = "unknown_order"
    EQUITY_MISSING = "equity_missing"
    ORDER_NOTIONAL = "order_notional"
    POSITION_NOTIONAL = "position_notional"
    GROSS_NOTIONAL = "gross_notional"
    NET_NOTIONAL = "net_notional"
    LEVERAGE = "leverage"
    MARGIN = "margin"
    DAILY_LOSS = "daily_loss"
    DRAWDOWN = "drawdown"
    MESSAGE_BUDGET = "message_budget"


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """One check's no: the limit, what was observed (same unit, named in ``detail``)."""

    code: DenialCode
    limit: float
    observed: float
    detail: str


def beyond(code: DenialCode, limit: float, observed: float, detail: str) -> Denial:
    """Build a denial; ``detail`` names the unit of both numbers."""
    return Denial(code=code, limit=float(limit), observed=float(observed), detail=detail)
