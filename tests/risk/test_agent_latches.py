"""Latches of the agents: closed by executions or losses, opened by an operator only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import RiskLimits
from risk.agent_latches import NS_PER_MS, AgentLatches, DisarmCause

LIMITS = RiskLimits(agent_executions_max=3, agent_execution_window_ms=1000)
FIRST, SECOND, BOTH = (1.0, 0.0), (0.0, 1.0), (0.5, 0.5)


@given(st.lists(st.tuples(st.integers(0, 600), st.sampled_from([FIRST, SECOND, BOTH]))))
def test_the_window_is_exact(steps: list[tuple[int, tuple[float, ...]]]) -> None:
    """An agent is disarmed exactly when its third order within a second comes, and stays so."""
    latches = AgentLatches(2, LIMITS)
    times_ns: list[list[int]] = [[], []]
    crowded = [False, False]
    now_ns = 10**18
    for gap_ms, shares in steps:
        now_ns += gap_ms * NS_PER_MS
        latches.count(shares, now_ns)
        for agent in range(2):
            if shares[agent] > 0.0:
                times_ns[agent].append(now_ns)
                recent = [t for t in times_ns[agent] if t > now_ns - 1000 * NS_PER_MS]
                crowded[agent] |= len(recent) >= 3
        assert [cause is not None for cause in latches.causes] == crowded
        assert latches.is_any_disarmed == any(crowded)


def test_the_first_cause_stays_and_only_a_human_rearms() -> None:
    """Time, new limits and another cause open no latch; re-arming opens all and counts anew."""
    latches = AgentLatches(2, LIMITS)
    assert latches.disarm(1, DisarmCause.LOSS)
    assert not latches.disarm(1, DisarmCause.OPERATOR)
    latches.count(BOTH, 10**18)
    latches.set_limits(RiskLimits())
    latches.count(BOTH, 2 * 10**18)
    assert latches.causes == (None, DisarmCause.LOSS)
    assert latches.first_disarmed(FIRST) is None
    assert latches.first_disarmed(BOTH) == 1
    latches.rearm()
    assert not any(latches.causes)
    assert not latches.is_any_disarmed


def test_zero_executions_are_none() -> None:
    """A limit of 0 disarms everybody from the start, and no re-arming changes that."""
    latches = AgentLatches(2, RiskLimits(agent_executions_max=0))
    assert latches.causes == (DisarmCause.EXECUTIONS,) * 2
    latches.rearm()
    assert latches.causes == (DisarmCause.EXECUTIONS,) * 2
    relaxed = AgentLatches(2, LIMITS)
    relaxed.set_limits(RiskLimits(agent_executions_max=0))
    assert relaxed.is_any_disarmed


def test_restart_keeps_latch_and_count() -> None:
    """A restored state is disarmed like the original and one order away from the same limit."""
    latches = AgentLatches(2, LIMITS)
    latches.disarm(0, DisarmCause.EXECUTIONS)
    latches.count(SECOND, 10**18)
    latches.count(SECOND, 10**18 + 1)
    twin = AgentLatches(2, LIMITS)
    twin.restore(latches.state)
    assert twin.state == latches.state
    assert twin.is_any_disarmed
    twin.count(SECOND, 10**18 + 2)
    assert twin.causes == (DisarmCause.EXECUTIONS,) * 2
    with pytest.raises(ValueError, match="2 agents"):
        AgentLatches(3, LIMITS).restore(latches.state)
