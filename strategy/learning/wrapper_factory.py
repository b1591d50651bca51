"""Wrappers by name: the standard kinds and whatever a user registers; agents made to be wrapped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from config.meta_learning_config import MetaLearningConfig
from kernels.events import AGENTS
from strategy.learning.agent_wrappers import (
    BaseAgentWrapper,
    DQNAgentWrapper,
    LearnerWrapper,
    PPOAgentWrapper,
    Practice,
    RainbowAgentWrapper,
)
from strategy.learning.ensemble_wrapper import AgentEnsembleWrapper
from strategy.learning.learner import Learner, LearnerOptions
from strategy.learning.learners import STANDARD_LEARNERS, make_learner
from strategy.learning.ppo_learner import PpoLearner, PpoOptions
from strategy.learning.replay_ring import Replay, Spaces
from strategy.learning.transitions import MarketPath

WrapperClass = type[BaseAgentWrapper]

STANDARD_WRAPPERS: dict[str, WrapperClass] = {
    "d3qn": DQNAgentWrapper,
    "double_dqn": DQNAgentWrapper,
    "twin_d3qn": DQNAgentWrapper,
    "ppo": PPOAgentWrapper,
    "rainbow": RainbowAgentWrapper,
    "ensemble": AgentEnsembleWrapper,
}
"""They cannot be replaced."""

ROLLOUT = PpoOptions(walkers=1, horizon=1_024, epochs=10, minibatch=128, trace=0.95, entropy=0.01)
"""PPO on one stream of steps: a rollout of 1,024, learnt from in ten passes."""

RAINBOW_STEPS = 3

UPDATES_PER_WALK = 40
"""An iteration of PPO on a market path is worth so many updates of a value agent."""


class AgentWrapperFactory:
    """Makes wrappers; a name is a kind: ``d3qn``, ``ppo``, ``ensemble`` or one registered."""

    _registered: ClassVar[dict[str, WrapperClass]] = dict(STANDARD_WRAPPERS)

    @classmethod
    def create_wrapper(cls, agent: Any, name: str) -> BaseAgentWrapper:
        """Return the agent in the wrapper of that name; ValueError for an unknown name."""
        if name not in cls._registered:
            known = ", ".join(cls._registered)
            raise ValueError(f"no wrapper {name!r}; known are {known}; register_wrapper adds one")
        return cls._registered[name](agent, name)

    @classmethod
    def register_wrapper(cls, name: str, wrapper_class: WrapperClass) -> None:
        """Make a wrapper class known under a new name.

        ValueError for a malformed or standard name, or a class that is no ``BaseAgentWrapper``; the
        same class again is no error, another under a name that is taken is one.
        """
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name):
            raise ValueError(f"wrapper {name!r}: lower case letters, digits, underscores")
        if not (isinstance(wrapper_class, type) and issubclass(wrapper_class, BaseAgentWrapper)):
            raise ValueError(f"wrapper {name!r}: {wrapper_class!r} is no BaseAgentWrapper class")
        if cls._registered.get(name, wrapper_class) is not wrapper_class:
            raise ValueError(f"wrapper {name!r}: the name is taken")
        cls._registered[name] = wrapper_class

    @classmethod
    def unregister_wrapper(cls, name: str) -> None:
        """Forget a registered wrapper; ValueError for a standard one, KeyError for an unknown."""
        if name in STANDARD_WRAPPERS:
            raise ValueError(f"wrapper {name!r} is a standard one")
        del cls._registered[name]

    @classmethod
    def create_multiple_wrappers(cls, agents: Mapping[str, Any]) -> dict[str, BaseAgentWrapper]:
        """Return every agent in the wrapper of its name."""
        return {name: cls.create_wrapper(agent, name) for name, agent in agents.items()}


def create_agent(
    name: str,
    state_dim: int,
    action_dim: int = 3,
    *,
    options: LearnerOptions | None = None,
    return_scale: float = 1.0,
    replay_capacity: int = 50_000,
    rollout: PpoOptions = ROLLOUT,
    seed: int = 7,
) -> Learner:
    """Return a fresh standard agent that learns from any environment's steps, not from a market.

    ``return_scale`` is what a discounted return is of the order of; Rainbow lays its atoms there.
    KeyError for an unknown name.
    """
    if name not in STANDARD_LEARNERS:
        raise KeyError(f"no agent {name!r}; there are {', '.join(STANDARD_LEARNERS)}")
    chosen = options or LearnerOptions(updates=20_000)
    spaces = Spaces(input_count=state_dim, action_count=action_dim, return_scale=return_scale)
    replay = Replay(
        spaces,
        capacity=rollout.walkers * rollout.horizon if name == "ppo" else replay_capacity,
        steps=RAINBOW_STEPS if name == "rainbow" else 1,
        discount=chosen.discount,
    )
    if name == "ppo":
        return PpoLearner(replay, chosen, seed=seed, ppo=rollout)
    return STANDARD_LEARNERS[name](replay, chosen, seed=seed)


def create_agent_wrappers_from_config(
    config: MetaLearningConfig,
    net_dims: tuple[int, int] | None = None,
    state_dim: int | None = None,
    action_dim: int | None = None,
    *,
    market: MarketPath | None = None,
) -> dict[str, BaseAgentWrapper]:
    """Return the agents that the configuration switches on, fresh, each in its wrapper.

    What is not given is the configuration's. They learn from the steps that feedback tells of; with
    a ``market`` each feedback is the beat at which they learn from that path instead, where the
    outcome of every position and action is known.
    """
    options = learner_options(config, net_dims)
    wrappers: dict[str, BaseAgentWrapper] = {}
    for place, name in enumerate(AGENTS):
        if not config.agents[name]:
            continue
        seed, practice = config.seed * len(AGENTS) + place, practice_of(config)
        if market is not None:
            rate = 1.0 if name != "ppo" else 1.0 / UPDATES_PER_WALK
            practice = replace(practice, updates_per_step=practice.updates_per_step * rate)
            updates = max(1, round(options.updates * rate))
            agent = make_learner(name, market, replace(options, updates=updates), seed=seed)
        else:
            agent = create_agent(
                name,
                state_dim or config.env_args.state_dim,
                action_dim or config.env_args.action_dim,
                options=options,
                return_scale=config.return_scale,
                replay_capacity=config.replay_capacity,
                seed=seed,
            )
        kind = STANDARD_WRAPPERS[name]
        assert issubclass(kind, LearnerWrapper)
        wrappers[name] = kind(agent, name, practice, seed=seed)
    return wrappers


def learner_options(
    config: MetaLearningConfig, net_dims: tuple[int, int] | None = None
) -> LearnerOptions:
    """Return what the configuration says of learning; ``net_dims`` replaces its own."""
    return LearnerOptions(
        updates=max(1, round(config.break_step * config.updates_per_step)),
        batch=config.batch_size,
        discount=config.gamma,
        rate=config.learning_rate,
        rate_end=min(1e-5, config.learning_rate),
        net_dims=net_dims or config.net_dims,
    )


def practice_of(config: MetaLearningConfig) -> Practice:
    """Return how the configuration's agents explore and how often they learn."""
    return Practice(
        warm_steps=config.warm_steps,
        updates_per_step=config.updates_per_step,
        exploration_start=config.exploration_start,
        exploration_end=config.exploration_end,
        exploration_steps=max(1, config.break_step // 2),
    )
