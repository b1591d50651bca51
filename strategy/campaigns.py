"""The way from a position to its target, where one order is not the whole of it. Pure.

A campaign begins when an instrument has a change worth making and ends when that is done or points
the other way. It remembers what an execution style needs over several decisions: since when it has
waited in the book, and how many slices are out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from config.settings import ExecutionSettings
from kernels.fast_values import positional_maker
from strategy.intents import Style

NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """``side`` is the sign of the change, 0 for none; ``started_ns`` when it was first wanted."""

    side: int = 0
    started_ns: int = 0
    slices_sent: int = 0


NO_CAMPAIGN = Campaign()
_make_campaign = positional_maker(Campaign)


def aim(target_lots: int, position_lots: int) -> int:
    """Return where the position goes first: a flip through zero stops at flat."""
    return 0 if position_lots * target_lots < 0 else target_lots


def advance(
    campaign: Campaign,
    *,
    target_lots: int,
    position_lots: int,
    full_lots: int,
    is_working: bool,
    settings: ExecutionSettings,
    now_ns: int,
) -> Campaign:
    """Return the campaign after a look at target and position.

    A change too small to begin with does not begin one; one under way (an order rests, slices are
    missing) goes on to its end.
    """
    lead_lots = aim(target_lots, position_lots) - position_lots
    side = (lead_lots > 0) - (lead_lots < 0)
    if side == campaign.side:
        is_small = abs(lead_lots) < settings.hysteresis_frac * abs(full_lots)
        is_done = is_small and target_lots != 0 and not is_working
        return NO_CAMPAIGN if is_done and not is_under_way(campaign, settings) else campaign
    return _make_campaign(side, now_ns, 0) if side else NO_CAMPAIGN


def is_under_way(campaign: Campaign, settings: ExecutionSettings) -> bool:
    """Say whether slices are out and others are to follow."""
    return settings.style == "twap" and 0 < campaign.slices_sent < settings.twap_slices


def style_now(campaign: Campaign, settings: ExecutionSettings, now_ns: int) -> Style:
    """Return how the next order executes: what waited in the book too long takes."""
    waited_ns = now_ns - campaign.started_ns
    if settings.style == "passive" and waited_ns >= settings.passive_ms_max * NS_PER_MS:
        return "aggressive"
    return settings.style


def slice_lots(
    campaign: Campaign, remaining_lots: int, settings: ExecutionSettings, now_ns: int
) -> int | None:
    """Return the size of the slice that is due, 0 when none is, None where nothing is sliced.

    Slice k of N is due k/N of ``twap_ms`` after the beginning and carries an equal share of what
    remains, so that an unfilled one is made up for by those behind it.
    """
    if settings.style != "twap" or campaign.side == 0:
        return None
    step_ns = settings.twap_ms * NS_PER_MS // settings.twap_slices
    due = min(1 + (now_ns - campaign.started_ns) // max(step_ns, 1), settings.twap_slices)
    if campaign.slices_sent >= settings.twap_slices:
        return remaining_lots
    if campaign.slices_sent >= due:
        return 0
    return -(-remaining_lots // (settings.twap_slices - campaign.slices_sent))


def sent_slice(campaign: Campaign) -> Campaign:
    """Count one more slice."""
    return replace(campaign, slices_sent=campaign.slices_sent + 1)
