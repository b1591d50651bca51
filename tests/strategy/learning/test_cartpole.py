"""The five agents balance the pole: a task whose solution everybody knows."""

from __future__ import annotations

import secrets

import pytest

from kernels.events import AGENTS
from tests.benchmarks.cartpole_bars import balance, run_table


@pytest.mark.nightly
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("agent", AGENTS)
def test_the_pole_is_balanced(agent: str) -> None:
    """At least 475 of 500 over a hundred episodes in four of five seeds, drawn now and printed."""
    first = secrets.randbelow(2**20)
    assert run_table((agent,), [first + place for place in range(5)], jobs=2) == []


@pytest.mark.nightly
@pytest.mark.timeout(7_200)
def test_the_bar_can_be_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that is never taught stays far below it: the table is no formality."""
    from strategy.learning.agent_wrappers import DQNAgentWrapper, Feedback

    def deaf(*_: object, **__: object) -> Feedback:
        return Feedback(success=True, loss=None, updates=0)

    monkeypatch.setattr(DQNAgentWrapper, "update_with_feedback", deaf)
    monkeypatch.setattr("tests.benchmarks.cartpole_bars.VALIDATED", 2)
    score, _, _ = balance("d3qn", 1)
    assert score < 100.0
