"""Custom agents: tried out at registration, and part of an ensemble afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from kernels.events import AGENTS
from strategy.agents import registry
from strategy.agents.registry import (
    RegistrationError,
    agent_names,
    build_agent,
    register_agent,
    unregister_agent,
)


class Momentum(nn.Module):
    """A custom agent: buys when the first input is positive."""

    def __init__(self, observation_count: int) -> None:
        """Take the width of a row."""
        super().__init__()
        self.width = observation_count

    def forward(self, obs_BF: Tensor) -> Tensor:
        """Prefer the direction of the first input."""
        lean = obs_BF[:, 0]
        return torch.stack((-lean, torch.zeros_like(lean), lean), dim=1)


class WrongShape(Momentum):
    """Returns four preferences."""

    def forward(self, obs_BF: Tensor) -> Tensor:
        """Return the wrong number of columns."""
        return obs_BF[:, :4]


class NotFinite(Momentum):
    """Returns NaN."""

    def forward(self, obs_BF: Tensor) -> Tensor:
        """Return numbers that are none."""
        return obs_BF[:, :3] / torch.zeros_like(obs_BF[:, :3]) * 0.0


class Unscriptable(Momentum):
    """Cannot be compiled."""

    def forward(self, obs_BF: Tensor) -> Tensor:
        """Use what the script compiler does not know."""
        return eval("obs_BF")[:, :3]  # type: ignore[no-any-return]  # deliberately untyped


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave the registry as it was."""
    yield
    for name in agent_names():
        if name not in AGENTS:
            unregister_agent(name)


def test_a_registered_agent_is_built_by_name() -> None:
    """After registration the name gives a working agent, listed behind the standard ones."""
    register_agent("momentum", Momentum)
    assert agent_names() == (*AGENTS, "momentum")
    assert build_agent("momentum", 4)(torch.tensor([[2.0, 0, 0, 0]])).argmax().item() == 2


@pytest.mark.parametrize("name", ["", "Momentum", "1st", "a b", "x" * 65, "a\n"])
def test_malformed_names_are_refused(name: str) -> None:
    """Names go into manifests and logs and must stay plain."""
    with pytest.raises(RegistrationError, match="wanted lower case"):
        register_agent(name, Momentum)


@pytest.mark.parametrize("name", [*AGENTS, "momentum"])
def test_taken_names_are_refused(name: str) -> None:
    """Neither a standard nor a registered agent can be replaced."""
    register_agent("momentum", Momentum)
    with pytest.raises(RegistrationError, match="taken"):
        register_agent(name, Momentum)


@pytest.mark.parametrize(
    ("agent_class", "reason"),
    [
        (WrongShape, "shape"),
        (NotFinite, "not finite"),
        (Unscriptable, "the trial failed"),
        (nn.Linear, "the trial failed"),
        (int, "no torch.nn.Module"),
    ],
)
def test_broken_agents_are_refused_with_the_reason(
    agent_class: type[nn.Module], reason: str
) -> None:
    """A mistake surfaces at registration and leaves the registry unchanged."""
    with pytest.raises(RegistrationError, match=reason):
        register_agent("broken", agent_class)
    assert agent_names() == AGENTS


def test_standard_agents_stay() -> None:
    """They cannot be unregistered."""
    with pytest.raises(KeyError, match="standard"):
        unregister_agent("ppo")
    assert registry.STANDARD_AGENTS["ppo"] is type(build_agent("ppo", 3))
