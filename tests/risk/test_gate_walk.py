"""No limit is ever exceeded: the gate under long random walks of account, market and orders."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from risk.checks import CHECKS
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
    assert approved_count > 5_000
    for code in (
        DenialCode.ORDER_NOTIONAL,
        DenialCode.POSITION_NOTIONAL,
        DenialCode.GROSS_NOTIONAL,
        DenialCode.LEVERAGE,
        DenialCode.MESSAGE_BUDGET,
        DenialCode.REDUCE_FROM_FLAT,
        DenialCode.REDUCE_TOO_LARGE,
        DenialCode.UNKNOWN_ORDER,
        DenialCode.COLLAR_MID,
    ):
        assert codes[code] > 50, code


@pytest.mark.parametrize(
    "name",
    [
        "breaker_permits",
        "truly_reduces",
        "feed_ok",
        "quote_fresh",
        "marks_known",
        "collar_mid",
        "fate_known",
        "order_notional",
        "position_notional",
        "gross_notional",
        "leverage",
        "message_budget",
    ],
)
def test_random_floors_notice_a_missing_check(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one check the random walk itself finds an approval that breaks its limit."""
    without = tuple(each for each in CHECKS if each.__name__ != name)
    if name == "collar_mid":  # mid and mark agree on this floor: either collar alone suffices
        without = tuple(each for each in without if each.__name__ != "collar_mark")
    monkeypatch.setattr("risk.gate.CHECKS", without)
    with pytest.raises(AssertionError):
        walk_many(300)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_no_limit_is_ever_exceeded_in_a_million_intents() -> None:
    """The same over more than 10**6 random intents."""
    asked = 0
    for seed in range(6_000):
        floor = walk(1_000_000 + seed, 100)
        asked += floor.approved_count + floor.codes.total()
    assert asked > 10**6
