"""One agent at a time: (action, confidence, info), and errors that stay errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kernels.events import AGENTS, Action
from strategy.agents.registry import build_agent
from strategy.agents.wrappers import AgentError, AgentWrapper


class Fixed(nn.Module):
    """Answers what it was given."""

    def __init__(self, answer: Tensor) -> None:
        """Take the answer."""
        super().__init__()
        self.answer = answer

    def forward(self, obs_BF: Tensor) -> Tensor:
        """Return it."""
        return self.answer


class Failing(nn.Module):
    """Raises on every observation."""

    def forward(self, obs_BF: Tensor) -> Tensor:
        """Fail."""
        raise ZeroDivisionError("no luck")


ROW = np.zeros(4, np.float32)


@pytest.mark.parametrize("name", AGENTS)
def test_every_standard_agent_answers(name: str) -> None:
    """Action, confidence in [0, 1] and the preferences that explain both."""
    answer = AgentWrapper(name, build_agent(name, 4)).act(ROW)
    action, confidence, details = answer
    assert action == Action(int(np.argmax(details["preference_3"])))
    assert 0.0 <= confidence <= 1.0
    assert details["agent"] == name


def test_confidence_by_hand() -> None:
    """Preferences (0, 0, ln 2) have a top probability of one half: a quarter above chance."""
    answer = AgentWrapper("fixed", Fixed(torch.tensor([[0.0, 0.0, math.log(2.0)]]))).act(ROW)
    assert answer.action is Action.BUY
    assert answer.confidence == pytest.approx(0.25, abs=1e-6)


@pytest.mark.parametrize(
    ("agent", "reason"),
    [
        (Failing(), "ZeroDivisionError: no luck"),
        (Fixed(torch.tensor([[0.0, math.nan, 0.0]])), "not finite"),
        (Fixed(torch.tensor([[0.0, math.inf, 0.0]])), "not finite"),
        (Fixed(torch.zeros(1, 4)), "one preference per action"),
    ],
)
def test_errors_are_never_answered_with_hold(agent: nn.Module, reason: str) -> None:
    """A failing agent raises with its name and reason instead of giving an action."""
    with pytest.raises(AgentError, match=reason) as caught:
        AgentWrapper("custom", agent).act(ROW)
    assert caught.value.agent == "custom"


def test_an_observation_with_nan_is_refused() -> None:
    """The agent is not even asked."""
    with pytest.raises(AgentError, match="observation"):
        AgentWrapper("failing", Failing()).act(np.array([1.0, np.nan], np.float32))


def test_a_temperature_must_be_positive() -> None:
    """Zero would divide by zero."""
    with pytest.raises(ValueError, match="temperature"):
        AgentWrapper("fixed", Fixed(torch.zeros(1, 3)), temperature=0.0)
