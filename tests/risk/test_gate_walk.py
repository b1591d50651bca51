"""No limit is ever exceeded: the gate under long random walks of account, market and orders."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import risk.checks
from risk.reasons import DenialCode
from tests.fakes.gate_floor import walk


def walk_many(count: int) -> tuple[int, Counter[DenialCode]]:
    """Walk so many floors; give the number of approvals and the denials by code."""
    codes: Counter[DenialCode] = Counter()
    approved_count = 0
    for seed in range(count):
        floor = walk(seed, 40)
        codes += floor.codes
        approved_count += floor.approved_count
    return approved_count, codes


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_limit_is_ever_exceeded(seed: int) -> None:
    """On a random floor no approval, with all that works or is UNKNOWN, breaks any limit."""
    walk(seed, 40)


def test_random_floors_press_on_every_limit() -> None:
    """The random floors approve often and meet each limit often, so the property says something."""
    approved_count, codes = walk_many(300)
    assert approved_count > 3_000
    for code in (
        DenialCode.ORDER_NOTIONAL,
        DenialCode.DEPTH_SHARE,
        DenialCode.DAY_VOLUME_SHARE,
        DenialCode.DAY_VOLUME_STALE,
        DenialCode.POSITION_NOTIONAL,
        DenialCode.GROSS_NOTIONAL,
        DenialCode.NET_NOTIONAL,
        DenialCode.LEVERAGE,
        DenialCode.MARGIN,
        DenialCode.MESSAGE_BUDGET,
        DenialCode.REDUCE_FROM_FLAT,
        DenialCode.REDUCE_TOO_LARGE,
        DenialCode.UNKNOWN_ORDER,
        DenialCode.COLLAR_MID,
        DenialCode.SELF_TRADE,
        DenialCode.MODEL_NOT_OK,
        DenialCode.AGENT_DISARMED,
        DenialCode.DAILY_LOSS,
        DenialCode.DRAWDOWN,
    ):
        assert codes[code] > 20, code


@pytest.mark.parametrize(
    "name",
    [
        "breaker_permits",
        "truly_reduces",
        "feed_ok",
        "model_ok",
        "agents_armed",
        "quote_fresh",
        "marks_known",
        "marks_fresh",
        "collar_mid",
        "no_self_trade",
        "depth_share",
        "day_volume_known",
        "day_volume_share",
        "fate_known",
        "order_notional",
        "position_notional",
        "gross_notional",
        "net_notional",
        "leverage",
        "margin",
        "daily_loss",
        "drawdown",
        "message_budget",
    ],
)
def test_random_floors_notice_a_missing_check(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one check the random walk itself finds an approval that breaks its limit."""
    # mid and mark agree on this floor: either collar alone suffices
    absent = {name, *(("collar_mark", "last_collar_mark") if name == "collar_mid" else ())}
    for each in absent:
        monkeypatch.setattr(risk.checks, each, lambda intent, scene: None)
    with pytest.raises(AssertionError):
        walk_many(300)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_no_limit_is_ever_exceeded_in_a_million_reviews() -> None:
    """The same over 10**4 random event sequences with 10**6 random reviews."""
    asked = 0
    for seed in range(10_000):
        floor = walk(1_000_000 + seed, 100)
        asked += floor.approved_count + floor.codes.total()
    assert asked > 10**6
