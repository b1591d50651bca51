"""The ladder: a whole table, only an operator climbs up, rejections count in a window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import RiskLimits
from risk.breaker import (
    NS_PER_MS,
    TRANSITIONS,
    Breaker,
    BreakerState,
    Trigger,
    loss_trigger,
    transition,
)

LIMITS = RiskLimits(rejects_in_window_max=3, reject_window_ms=1000)


def test_table_is_whole() -> None:
    """Every trigger states where it leads from each of the five states."""
    assert set(TRANSITIONS) == set(Trigger)
    assert {len(row) for row in TRANSITIONS.values()} == {len(BreakerState)}


@pytest.mark.parametrize("state", list(BreakerState))
@pytest.mark.parametrize("trigger", list(Trigger))
def test_only_an_operator_goes_up(state: BreakerState, trigger: Trigger) -> None:
    """Nothing but RESUME, and FLATTEN out of HALTED, ever permits more than before."""
    after = transition(state, trigger)
    if after < state:
        assert trigger in (Trigger.OPERATOR_RESUME, Trigger.OPERATOR_FLATTEN)
        assert trigger is Trigger.OPERATOR_RESUME or state is BreakerState.HALTED


@pytest.mark.parametrize(
    ("state", "trigger", "after"),
    [
        (BreakerState.NORMAL, Trigger.DAILY_LOSS, BreakerState.REDUCE_ONLY),
        (BreakerState.REDUCE_ONLY, Trigger.DRAWDOWN, BreakerState.HALTED),
        (BreakerState.FLATTEN, Trigger.DRAWDOWN, BreakerState.FLATTEN),
        (BreakerState.NORMAL, Trigger.DRAWDOWN_FLATTEN, BreakerState.FLATTEN),
        (BreakerState.HALTED, Trigger.DRAWDOWN_FLATTEN, BreakerState.HALTED),
        (BreakerState.FLATTEN, Trigger.FLAT, BreakerState.HALTED),
        (BreakerState.NORMAL, Trigger.FLAT, BreakerState.NORMAL),
        (BreakerState.HALTED, Trigger.OPERATOR_REDUCE, BreakerState.HALTED),
        (BreakerState.HALTED, Trigger.OPERATOR_FLATTEN, BreakerState.FLATTEN),
        (BreakerState.HALTED, Trigger.OPERATOR_RESUME, BreakerState.NORMAL),
        (BreakerState.NORMAL, Trigger.OPERATOR_CANCEL, BreakerState.CANCEL),
    ],
)
def test_transitions_as_written(state: BreakerState, trigger: Trigger, after: BreakerState) -> None:
    """The transitions that matter lead where the ladder says."""
    assert transition(state, trigger) is after


@given(st.lists(st.sampled_from([each for each in Trigger if each is not Trigger.OPERATOR_RESUME])))
def test_latched_until_resumed(triggers: list[Trigger]) -> None:
    """Once a limit has tripped, no sequence of triggers but RESUME leads back to NORMAL."""
    breaker = Breaker().apply(Trigger.DAILY_LOSS, 1)
    for now_ns, trigger in enumerate(triggers, start=2):
        breaker = breaker.apply(trigger, now_ns)
        assert breaker.state is not BreakerState.NORMAL
        assert breaker.trigger is not None
    assert breaker.apply(Trigger.OPERATOR_RESUME, 99).state is BreakerState.NORMAL


def test_cause_and_time_are_those_of_the_change() -> None:
    """A trigger that changes nothing leaves the cause and the time of the first one."""
    tripped = Breaker().apply(Trigger.DAILY_LOSS, 7)
    assert (tripped.trigger, tripped.since_ns) == (Trigger.DAILY_LOSS, 7)
    assert tripped.apply(Trigger.REJECTS, 8) is tripped


@given(st.lists(st.integers(0, 600), min_size=1, max_size=30))
def test_rejections_trip_exactly_in_their_window(gaps_ms: list[int]) -> None:
    """The third rejection within less than a second trips, and memory stays bounded."""
    breaker, now_ns, times_ns = Breaker(), 0, [0]
    times_ns.clear()
    for gap_ms in gaps_ms:
        now_ns += gap_ms * NS_PER_MS
        times_ns.append(now_ns)
        breaker = breaker.count_rejection(now_ns, LIMITS)
        crowded = any(
            third - first < 1000 * NS_PER_MS
            for first, third in zip(times_ns, times_ns[2:], strict=False)
        )
        assert (breaker.state is BreakerState.REDUCE_ONLY) == crowded
        assert len(breaker.rejected_ns) <= LIMITS.rejects_in_window_max


def test_resume_forgets_rejections() -> None:
    """After RESUME the count begins anew, so that one more rejection does not trip at once."""
    breaker = Breaker()
    for now_ns in range(3):
        breaker = breaker.count_rejection(now_ns, LIMITS)
    resumed = breaker.apply(Trigger.OPERATOR_RESUME, 3)
    assert resumed.count_rejection(4, LIMITS).state is BreakerState.NORMAL


@pytest.mark.parametrize(
    ("day_loss_frac", "drawdown_frac", "trigger"),
    [
        (0.0499, 0.1499, None),
        (0.05, 0.0, Trigger.DAILY_LOSS),
        (0.05, 0.15, Trigger.DRAWDOWN),
        (float("nan"), 0.0, Trigger.DAILY_LOSS),
        (0.0, float("nan"), Trigger.DRAWDOWN),
    ],
)
def test_losses_trip_at_their_limit(
    day_loss_frac: float, drawdown_frac: float, trigger: Trigger | None
) -> None:
    """A loss limit trips when reached, the graver first, and when the measure is not a number."""
    assert loss_trigger(day_loss_frac, drawdown_frac, RiskLimits()) is trigger


@pytest.mark.parametrize(
    ("drawdown_frac", "trigger"),
    [
        (0.1499, None),
        (0.15, Trigger.DRAWDOWN_FLATTEN),
        (float("nan"), Trigger.DRAWDOWN),
    ],
)
def test_drawdown_closes_positions_where_the_policy_says_so(
    drawdown_frac: float, trigger: Trigger | None
) -> None:
    """A measured drawdown flattens; one that is not a number only halts."""
    assert loss_trigger(0.0, drawdown_frac, RiskLimits(), flattens=True) is trigger
