"""Agents by name: the five standard ones and whatever a user registers.

A registered agent is a ``torch.nn.Module`` class that is built from the width of what it sees (the
market row, then its own position one-hot), maps that to preference_B3 and can be scripted; all of
that is tried out at registration, so that a mistake surfaces there and not in a decision.
"""

from __future__ import annotations

import re

import torch
from torch import nn

from kernels.events import AGENTS
from strategy.agents.d3qn import D3qn
from strategy.agents.double_dqn import DoubleDqn
from strategy.agents.dueling import ACTION_COUNT
from strategy.agents.ppo import Ppo
from strategy.agents.rainbow import Rainbow
from strategy.agents.twin_d3qn import TwinD3qn

AgentClass = type[nn.Module]

STANDARD_AGENTS: dict[str, AgentClass] = dict(
    zip(AGENTS, (D3qn, DoubleDqn, TwinD3qn, Ppo, Rainbow), strict=True)
)
"""The five agents of the specification; they cannot be replaced or removed."""

PROBE_OBSERVATION_COUNT = 7
PROBE_ROWS = 3

_registered: dict[str, AgentClass] = dict(STANDARD_AGENTS)


class RegistrationError(Exception):
    """An agent cannot join; the message says which agent and why."""


def register_agent(name: str, agent_class: AgentClass) -> None:
    """Make an agent class known under a new name (lower case, digits, underscores).

    Raises RegistrationError when the name is malformed or taken, or when a trial instance cannot be
    built, scripted, or does not return finite float32 preferences of shape (B, 3).
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name):
        raise RegistrationError(f"agent {name!r}: wanted lower case letters, digits, underscores")
    if name in _registered:
        raise RegistrationError(f"agent {name!r}: the name is taken")
    if not (isinstance(agent_class, type) and issubclass(agent_class, nn.Module)):
        raise RegistrationError(f"agent {name!r}: {agent_class!r} is no torch.nn.Module class")
    _try_out(name, agent_class)
    _registered[name] = agent_class


def unregister_agent(name: str) -> None:
    """Forget a registered agent; KeyError for an unknown or a standard one."""
    if name in STANDARD_AGENTS:
        raise KeyError(f"{name} is a standard agent")
    del _registered[name]


def agent_names() -> tuple[str, ...]:
    """Return all known names, the standard ones first, then in order of registration."""
    return tuple(_registered)


def build_agent(name: str, observation_count: int) -> nn.Module:
    """Return a new agent for rows of ``observation_count`` inputs; KeyError for an unknown name."""
    if name not in _registered:
        raise KeyError(f"unknown agent {name!r}; known are {', '.join(_registered)}")
    return _registered[name](observation_count)


def _try_out(name: str, agent_class: AgentClass) -> None:
    obs_BF = torch.linspace(-1.0, 1.0, PROBE_ROWS * PROBE_OBSERVATION_COUNT)
    obs_BF = obs_BF.view(PROBE_ROWS, PROBE_OBSERVATION_COUNT)
    try:
        agent = agent_class(PROBE_OBSERVATION_COUNT).eval()
        with torch.inference_mode():
            preference_B3 = torch.jit.script(agent)(obs_BF)
    except Exception as error:  # foreign code may raise anything: it is reported, not masked
        raise RegistrationError(f"agent {name!r}: the trial failed: {error}") from error
    wanted = (PROBE_ROWS, ACTION_COUNT)
    if not isinstance(preference_B3, torch.Tensor) or preference_B3.shape != wanted:
        raise RegistrationError(f"agent {name!r}: it does not return a tensor of shape {wanted}")
    if preference_B3.dtype != torch.float32 or not bool(torch.isfinite(preference_B3).all()):
        raise RegistrationError(f"agent {name!r}: its preferences are not finite float32")
