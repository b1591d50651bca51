"""Checks of new risk against what the account may hold and lose; see ``risk.checks``."""

from __future__ import annotations

from kernels.events import OrderIntent
from kernels.units import E8
from risk.breaker import NS_PER_MS
from risk.reasons import Denial, DenialCode, beyond
from risk.scene import Scene
from risk.survey import NOBODY


def agents_armed(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk that a disarmed agent has a share in."""
    agents = scene.memory.agents
    if not agents.is_any_disarmed:
        return None
    agent = agents.first_disarmed(intent.agent_share_A)
    if agent is None:
        return None
    detail = f"share of agent {agent}, disarmed: {agents.causes[agent]}"
    return beyond(DenialCode.AGENT_DISARMED, 0, intent.agent_share_A[agent], detail)


def marks_known(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk unless this and every exposed instrument has a mark price."""
    if scene.mark_ticks and scene.unmarked == NOBODY:
        return None
    at = scene.unmarked if scene.mark_ticks else intent.instrument
    return beyond(DenialCode.MARK_MISSING, 0, 0, f"no mark of instrument {at}")


def marks_fresh(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk while this or any exposed instrument is valued at an old mark price."""
    oldest_ns = scene.mark_received_ns
    if scene.unmarked == NOBODY and scene.oldest_mark_ns < oldest_ns:
        oldest_ns = scene.oldest_mark_ns
    age_ns = scene.now_ns - oldest_ns
    is_early = scene.mark_received_ns > scene.now_ns  # a stamp later than now proves nothing
    if oldest_ns > 0 and age_ns <= scene.bounds.mark_age_ns and not is_early:
        return None
    limit_ms = scene.limits.mark_age_ms_max
    return beyond(DenialCode.MARK_STALE, limit_ms, age_ns / NS_PER_MS, "ms, oldest mark in use")


def equity_known(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk without positive equity, or beside a position the ledger could never value."""
    if scene.position_lots and not scene.ledger_mark_ticks:
        return beyond(DenialCode.EQUITY_MISSING, 0, 0, "the position was never valued")
    if scene.equity_e8 > 0:
        return None
    return beyond(DenialCode.EQUITY_MISSING, 0, scene.equity_e8 / E8, "quote, equity")


def order_notional(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny a single order of new risk that is too large."""
    value_e8 = scene.asked_value_e8
    if value_e8 <= scene.bounds.order_notional_e8:
        return None
    limit = scene.limits.order_notional_quote_max
    return beyond(DenialCode.ORDER_NOTIONAL, limit, value_e8 / E8, "quote, one order")


def position_notional(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk when the instrument's worst position would be too large."""
    worst_e8 = scene.asked_worst_e8
    if worst_e8 <= scene.bounds.position_notional_e8:
        return None
    limit = scene.limits.position_notional_quote_max
    return beyond(DenialCode.POSITION_NOTIONAL, limit, worst_e8 / E8, "quote, worst position")


def gross_notional(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk when the worst positions together would be too large."""
    gross_e8 = scene.asked_gross_e8
    if gross_e8 <= scene.bounds.gross_notional_e8:
        return None
    limit = scene.limits.gross_notional_quote_max
    return beyond(DenialCode.GROSS_NOTIONAL, limit, gross_e8 / E8, "quote, worst gross")


def net_notional(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk when the account could end up too far on one side of the market."""
    net_e8 = scene.asked_net_e8
    if net_e8 <= scene.bounds.net_notional_e8:
        return None
    limit = scene.limits.net_notional_quote_max
    return beyond(DenialCode.NET_NOTIONAL, limit, net_e8 / E8, "quote, worst net")


def leverage(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk when worst gross notional over equity would be too high."""
    limit, gross_e8, equity_e8 = scene.bounds.leverage, scene.asked_gross_e8, scene.equity_e8
    if gross_e8 <= limit * equity_e8:
        return None
    observed = gross_e8 / equity_e8 if equity_e8 > 0 else float("inf")
    return beyond(DenialCode.LEVERAGE, limit, observed, "worst gross over equity")


def margin(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk when the initial margin of the worst case would bind too much of equity."""
    bounds = scene.bounds
    needed_e8 = scene.asked_gross_e8 * bounds.initial_margin_frac
    if needed_e8 <= bounds.margin_use_frac * scene.equity_e8:
        return None
    observed = needed_e8 / scene.equity_e8 if scene.equity_e8 > 0 else float("inf")
    detail = "share of equity bound as initial margin"
    return beyond(DenialCode.MARGIN, bounds.margin_use_frac, observed, detail)


def daily_loss(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk once the day has lost its share, marked to market."""
    limit, observed = scene.bounds.daily_loss_frac, _lost(scene.day_start_e8, scene.equity_e8)
    if observed < limit:
        return None
    return beyond(DenialCode.DAILY_LOSS, limit, observed, "share of the day's first equity")


def drawdown(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk once the loss from the peak of equity is too large, marked to market."""
    limit, observed = scene.bounds.drawdown_frac, _lost(scene.peak_e8, scene.equity_e8)
    if observed < limit:
        return None
    return beyond(DenialCode.DRAWDOWN, limit, observed, "share of the peak of equity")


def _lost(from_e8: int, to_e8: int) -> float:
    if from_e8 <= 0:
        return 1.0
    return (from_e8 - to_e8) / from_e8 if to_e8 < from_e8 else 0.0
