"""Campaigns: when one begins and ends, what waits too long takes, slices that add up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import ExecutionSettings
from strategy.campaigns import (
    NO_CAMPAIGN,
    Campaign,
    advance,
    aim,
    is_under_way,
    sent_slice,
    slice_lots,
    style_now,
)

MS = 1_000_000
TWAP = ExecutionSettings(style="twap", twap_ms=10_000, twap_slices=5)
PASSIVE = ExecutionSettings(style="passive", passive_ms_max=4_000)


def _advance(
    campaign: Campaign,
    target_lots: int,
    position_lots: int,
    *,
    settings: ExecutionSettings = TWAP,
    is_working: bool = False,
    now_ns: int = 50,
) -> Campaign:
    return advance(
        campaign,
        target_lots=target_lots,
        position_lots=position_lots,
        full_lots=100,
        is_working=is_working,
        settings=settings,
        now_ns=now_ns,
    )


@given(st.integers(-1000, 1000), st.integers(-1000, 1000))
def test_aim_never_crosses_zero(target_lots: int, position_lots: int) -> None:
    """A flip stops at flat, everything else goes the whole way."""
    aimed = aim(target_lots, position_lots)
    assert aimed * position_lots >= 0
    assert aimed in (0, target_lots)


def test_a_campaign_keeps_its_beginning_until_it_turns_or_ends() -> None:
    """Fills do not restart the clock, the other direction does, the target ends it."""
    begun = _advance(NO_CAMPAIGN, 100, 0, now_ns=7)
    assert begun == Campaign(side=1, started_ns=7)
    assert _advance(begun, 100, 40, now_ns=900) == begun
    assert _advance(begun, 100, 100, now_ns=900) == NO_CAMPAIGN
    assert _advance(begun, -100, 0, now_ns=900) == Campaign(side=-1, started_ns=900)


def test_a_small_remainder_is_finished_only_while_slices_are_missing() -> None:
    """Hysteresis must not strand the last slices, nor keep a finished campaign alive."""
    begun = Campaign(side=1, started_ns=0, slices_sent=4)
    assert is_under_way(begun, TWAP)
    assert _advance(begun, 100, 95) == begun
    done = sent_slice(begun)
    assert not is_under_way(done, TWAP)
    assert _advance(done, 100, 95) == NO_CAMPAIGN
    assert _advance(done, 100, 95, is_working=True) == done


def test_what_waits_too_long_is_taken() -> None:
    """A passive campaign turns aggressive at its time-out, no other style changes."""
    campaign = Campaign(side=1, started_ns=1_000 * MS)
    assert style_now(campaign, PASSIVE, 4_999 * MS) == "passive"
    assert style_now(campaign, PASSIVE, 5_000 * MS) == "aggressive"
    assert style_now(campaign, TWAP, 10**18) == "twap"


@given(
    st.integers(1, 10_000),
    st.integers(2, 12),
    st.lists(st.integers(0, 4_000), min_size=1, max_size=60),
    st.randoms(use_true_random=False),
)
def test_slices_add_up_and_never_come_early(
    total_lots: int, slices: int, pauses_ms: list[int], random: object
) -> None:
    """Whatever the pauses: slice k is not before its time, and the last leaves nothing."""
    settings = ExecutionSettings(style="twap", twap_ms=10_000, twap_slices=slices)
    campaign, remaining, now_ms = Campaign(side=1, started_ns=0), total_lots, 0
    for pause_ms in [*pauses_ms, *([10_000] * slices)]:
        now_ms += pause_ms
        due = slice_lots(campaign, remaining, settings, now_ms * MS)
        assert due is not None
        if due == 0:
            continue
        assert now_ms * MS >= campaign.slices_sent * (10_000 * MS // slices)
        remaining -= min(due, remaining)
        campaign = sent_slice(campaign)
        if remaining == 0:
            break
        assert campaign.slices_sent <= slices
    assert remaining == 0
    assert campaign.slices_sent <= slices


@pytest.mark.parametrize("style", ["market", "aggressive", "passive"])
def test_nothing_else_is_sliced(style: str) -> None:
    """Only twap cuts an order."""
    settings = ExecutionSettings(style=style)
    assert slice_lots(Campaign(side=1, started_ns=0), 100, settings, 5) is None
