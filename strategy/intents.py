"""From a target position to at most one order intent per decision.

A flip through zero takes two decisions: first a reduce-only close of the whole position, then, once
its fill is known, the opening order. So an order either only reduces or only adds, and a partial
fill or a lost answer can never leave more than the target.

Prices are limits in ticks, whatever the style. ``market``: IOC at the collar. ``aggressive`` and
slices of ``twap``: IOC up to ``taker_offset_bps`` beyond the touch, rounded outward, but never
beyond the collar. ``passive``: post-only at our own touch. Nothing is planned without a whole,
uncrossed quote.
"""

from __future__ import annotations

import math
from typing import Literal

from config.settings import ExecutionSettings
from kernels.events import OrderIntent, OrderType, Side
from kernels.fast_values import positional_maker
from kernels.units import BPS_PER_UNIT, Instrument

Style = Literal["market", "aggressive", "passive", "twap"]


def plan(
    *,
    sequence: int,
    instrument: Instrument,
    target_lots: int,
    position_lots: int,
    full_lots: int,
    working_buy_lots: int,
    working_sell_lots: int,
    bid_ticks: int,
    ask_ticks: int,
    mark_ticks: int,
    price_collar_bps: float,
    settings: ExecutionSettings,
    decided_ns: int,
    reason: str,
    agent_share_A: tuple[float, ...] = (),
    style: Style | None = None,
    slice_lots: int | None = None,
    is_under_way: bool = False,
) -> OrderIntent | None:
    """Return the order that leads towards the target, or None when none is worth sending.

    ``style`` is that of the settings unless given; ``slice_lots`` caps the order; a way that is
    under way ends exactly, without ``hysteresis_frac``.

    ``full_lots`` is the position at full conviction, the base of ``hysteresis_frac``; closing to
    exactly flat is exempt from it. ``working_*_lots`` are the open remainders of our own orders and
    count as if filled; while one of them rests on the other side nothing is planned (see
    ``opposes``). ``mark_ticks`` 0 means unknown: then the collar is held against the mid alone.
    """
    if not 0 < bid_ticks < ask_ticks:
        return None
    aim_lots = 0 if position_lots * target_lots < 0 else target_lots
    change_lots = aim_lots - (position_lots + working_buy_lots - working_sell_lots)
    if change_lots == 0 or (working_sell_lots if change_lots > 0 else working_buy_lots) > 0:
        return None
    least_lots = 0.0 if is_under_way or aim_lots == 0 else settings.hysteresis_frac * abs(full_lots)
    if abs(change_lots) < least_lots:
        return None
    reduce_only = position_lots * change_lots < 0
    side = Side.BUY if change_lots > 0 else Side.SELL
    style = style or settings.style
    price_ticks = limit_ticks(
        side,
        style,
        bid_ticks=bid_ticks,
        ask_ticks=ask_ticks,
        mark_ticks=mark_ticks,
        price_collar_bps=price_collar_bps,
        taker_offset_bps=settings.taker_offset_bps,
    )
    if price_ticks is None:
        return None
    valued_at = 0 if reduce_only else price_ticks
    quantity_lots = _quantity_lots(abs(change_lots), slice_lots, instrument, valued_at)
    if quantity_lots == 0:
        return None
    return _intent(
        sequence,
        instrument.index,
        side,
        quantity_lots,
        price_ticks,
        OrderType.POST_ONLY if style == "passive" else OrderType.IOC,
        reduce_only,
        decided_ns,
        reason,
        agent_share_A,
    )


_intent = positional_maker(OrderIntent)


def numbered(intent: OrderIntent, sequence: int) -> OrderIntent:
    """Return the intent under its number; a tenth of what ``dataclasses.replace`` takes."""
    return _intent(
        sequence,
        intent.instrument,
        intent.side,
        intent.quantity_lots,
        intent.price_ticks,
        intent.order_type,
        intent.reduce_only,
        intent.decided_ns,
        intent.reason,
        intent.agent_share_A,
    )


def opposes(
    *, target_lots: int, position_lots: int, working_buy_lots: int, working_sell_lots: int
) -> bool:
    """Say whether our own working orders lead away from the target and should be cancelled."""
    leads_lots = target_lots - position_lots
    buys_too_much = working_buy_lots > max(leads_lots, 0)
    sells_too_much = working_sell_lots > max(-leads_lots, 0)
    return buys_too_much or sells_too_much


def _quantity_lots(
    change_lots: int, slice_lots: int | None, instrument: Instrument, price_ticks: int
) -> int:
    """Cut a change to a slice, but to nothing that the venue refuses; 0 when the whole is that.

    Without a price there is no least notional: the venue exempts reduce-only orders, so that a
    remainder can be closed.
    """
    least_lots = instrument.lots_min
    if price_ticks > 0:
        lot_quote_e8 = instrument.notional_quote_e8(price_ticks, 1)
        least_lots = max(least_lots, -(-instrument.notional_min_quote_e8 // lot_quote_e8))
    quantity_lots = min(change_lots, instrument.lots_max)
    if quantity_lots < least_lots:
        return 0
    return quantity_lots if slice_lots is None else min(quantity_lots, max(slice_lots, least_lots))


def limit_ticks(
    side: Side,
    style: Style,
    *,
    bid_ticks: int,
    ask_ticks: int,
    mark_ticks: int,
    price_collar_bps: float,
    taker_offset_bps: float,
) -> int | None:
    """Return the limit price, or None where the touch itself lies outside the collar."""
    is_passive = style == "passive"
    touch_ticks = bid_ticks if (side is Side.BUY) is is_passive else ask_ticks
    mid_ticks = 0.5 * (bid_ticks + ask_ticks)
    anchor_ticks = float(mark_ticks) if mark_ticks > 0 else mid_ticks
    collar_frac = price_collar_bps / BPS_PER_UNIT
    lowest_ticks = _ceil_ticks(max(mid_ticks, anchor_ticks) * (1.0 - collar_frac))
    highest_ticks = _floor_ticks(min(mid_ticks, anchor_ticks) * (1.0 + collar_frac))
    if not lowest_ticks <= touch_ticks <= highest_ticks:
        return None
    if is_passive:
        return touch_ticks
    if style == "market":
        return highest_ticks if side is Side.BUY else max(lowest_ticks, 1)
    reach_frac = taker_offset_bps / BPS_PER_UNIT
    if side is Side.BUY:
        return min(_ceil_ticks(touch_ticks * (1.0 + reach_frac)), highest_ticks)
    return max(_floor_ticks(touch_ticks * (1.0 - reach_frac)), lowest_ticks, 1)


def _ceil_ticks(ticks: float) -> int:
    return math.ceil(round(ticks, 6))  # a rounding error of the product is no tick of its own


def _floor_ticks(ticks: float) -> int:
    return math.floor(round(ticks, 6))
