"""Agents behind one contract: an action with its confidence out, feedback in, learning from it.

``BaseAgentWrapper`` is what a user's own agent derives from. An agent that cannot answer raises
``AgentError``; nothing is ever answered with HOLD in its place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import isfinite
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from strategy.agents.wrappers import AgentError
from strategy.learning.critic_engine import CriticEngine
from strategy.learning.learner import Learner, Snapshot, generator_facts, seeded
from strategy.learning.ppo_learner import PpoLearner, Walks, estimate_advantages
from strategy.learning.rainbow_learner import RainbowLearner
from strategy.learning.replay_ring import Replay, are_finite
from strategy.learning.value_learner import ValueLearner

State = NDArray[np.float32]

SPREAD_MEMORY = 0.99
SPREAD_MIN = 1e-6


class Answer(NamedTuple):
    """``action``, ``confidence`` in [0, 1] (0 at chance, 1 certain), and what explains both."""

    action: int
    confidence: float
    info: dict[str, Any]  # the specification's name


class Feedback(NamedTuple):
    """What came of a feedback: learnt from or kept, the mean loss if there was one, updates made.

    ``reason`` says why where ``success`` is False.
    """

    success: bool
    loss: float | None
    updates: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Practice:
    """How an agent explores and how often it learns from feedback.

    Learning begins after ``warm_steps``, then ``updates_per_step`` updates follow each step.
    Agents without noise of their own take a drawn action with a chance that falls from
    ``exploration_start`` to ``exploration_end`` over ``exploration_steps``.
    """

    warm_steps: int = 1_000
    updates_per_step: float = 1.0
    exploration_start: float = 1.0
    exploration_end: float = 0.05
    exploration_steps: int = 10_000

    def __post_init__(self) -> None:
        """Refuse a practice without sense; ValueError."""
        if self.warm_steps < 1 or self.exploration_steps < 1 or self.updates_per_step < 0.0:
            raise ValueError("warm_steps and exploration_steps from 1, updates_per_step from 0")
        if not 0.0 <= self.exploration_end <= self.exploration_start <= 1.0:
            raise ValueError("exploration must fall within [0, 1]")

    def exploration_at(self, steps: int) -> float:
        """Return the chance of a drawn action after so many steps."""
        left_frac = max(1.0 - steps / self.exploration_steps, 0.0)
        return self.exploration_end + (self.exploration_start - self.exploration_end) * left_frac


class BaseAgentWrapper(ABC):
    """Contract of every agent of an ensemble; derive from it to bring your own."""

    is_on_policy: ClassVar[bool] = False
    """True: only feedback on its own actions teaches it anything."""

    def __init__(self, agent: Any, name: str) -> None:
        """Hold the agent under a name."""
        self.agent, self.name = agent, name

    @abstractmethod
    def get_action_with_confidence(self, state: State) -> Answer:
        """Return action, confidence and explanation for one state (F,); changes nothing.

        Raises AgentError where there is no answer.
        """

    @abstractmethod
    def update_with_feedback(
        self,
        state: State,
        action: int,
        reward: float,
        next_state: State,
        done: bool,
        truncated: bool = False,
    ) -> Feedback:
        """Learn from one step; ``done``: nothing follows, ``truncated``: only left off there."""

    def explore(self, state: State) -> int:
        """Return the action to try while learning; without a say it is the best one known."""
        return int(self.get_action_with_confidence(state).action)

    def snapshot(self) -> Snapshot:
        """Return all that the next answer and update depend on; nothing without a memory."""
        return Snapshot(tensors={}, facts={})

    def restore(self, snapshot: Snapshot) -> None:
        """Go on where a snapshot was taken; ValueError when it is of another agent."""
        if snapshot.tensors or snapshot.facts:
            raise ValueError(f"agent {self.name} has no memory to restore")


class LearnerWrapper(BaseAgentWrapper):
    """What the five standard agents share: one network, its learner, a replay or a market path."""

    agent: Learner

    def __init__(
        self, agent: Learner, name: str, practice: Practice | None = None, *, seed: int = 0
    ) -> None:
        """Hold the learner; it may learn from a replay, or from a market path."""
        super().__init__(agent, name)
        self.practice = practice or Practice()
        self._generator = seeded(seed)
        self._steps, self._owed, self._spread = 0, 0.0, 1.0

    def get_action_with_confidence(self, state: State) -> Answer:
        """Return the preferred action; confidence is how far its share lies above chance."""
        preference_N = self.preferences(state)
        scaled_N = (preference_N - preference_N.max()) / self._spread
        top, count = 1.0 / float(np.exp(scaled_N).sum()), len(preference_N)
        return Answer(
            action=int(preference_N.argmax()),
            confidence=(count * top - 1.0) / (count - 1.0),
            info={"agent": self.name, "preferences": preference_N},
        )

    def preferences(self, state: State) -> NDArray[np.float64]:
        """Return the network's preferences for one state, without noise; AgentError otherwise."""
        if state.ndim != 1 or not are_finite(state):
            raise AgentError(self.name, f"the state is no finite row: shape {state.shape}")
        try:
            preference_N = self._ask(np.asarray(state, np.float32))
        except (RuntimeError, ValueError) as error:
            raise AgentError(self.name, f"its network refuses the state: {error}") from error
        if not np.isfinite(preference_N).all():
            raise AgentError(self.name, f"its preferences are not finite: {preference_N}")
        return preference_N

    def _size(self, state: State) -> float:
        """Return the root mean square of the preferences around their mean."""
        return float(self.preferences(state).std())

    def _ask(self, state: State) -> NDArray[np.float64]:
        net = self.agent.net
        was_training = net.training
        net.eval()
        try:
            with torch.inference_mode():
                found_1N = net(torch.from_numpy(state)[None, :])
        finally:
            net.train(was_training)
        return np.asarray(found_1N[0].double().numpy())

    def update_with_feedback(
        self,
        state: State,
        action: int,
        reward: float,
        next_state: State,
        done: bool,
        truncated: bool = False,
    ) -> Feedback:
        """Keep the step where there is a replay, then do the updates that are due."""
        self._steps += 1
        self._spread += (1.0 - SPREAD_MEMORY) * (self._size(state) - self._spread)
        self._spread = max(self._spread, SPREAD_MIN)
        return self._learn(state, action, reward, next_state, done=done, truncated=truncated)

    @abstractmethod
    def _learn(
        self,
        state: State,
        action: int,
        reward: float,
        next_state: State,
        *,
        done: bool,
        truncated: bool,
    ) -> Feedback:
        """Learn from one step."""

    def _train_owed(self) -> Feedback:
        self._owed += self.practice.updates_per_step
        updates = int(self._owed)
        if not updates:
            return Feedback(success=True, loss=None, updates=0)
        self._owed -= updates
        measured = self.agent.train(updates)
        return Feedback(success=True, loss=measured.get("loss"), updates=updates)

    def _drawn(self, count: int) -> int:
        return int(self._generator.integers(count))

    def snapshot(self) -> Snapshot:
        """Return learner, replay and the wrapper's own counts."""
        inner = self.agent.snapshot()
        tensors = {f"learner.{name}": tensor for name, tensor in inner.tensors.items()}
        if isinstance(view := self._view, Replay):
            for name, table in view.tables().items():
                tensors[f"replay.{name}"] = torch.from_numpy(table)
        return Snapshot(
            tensors=tensors,
            facts={
                "learner": dict(inner.facts),
                "steps": self._steps,
                "owed": self._owed,
                "spread": self._spread,
                "generator": generator_facts(self._generator),
            },
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go on where a snapshot was taken."""
        parts: dict[str, dict[str, torch.Tensor]] = {"learner": {}, "replay": {}}
        for name, tensor in snapshot.tensors.items():
            kind, _, rest = name.partition(".")
            parts[kind][rest] = tensor
        if isinstance(view := self._view, Replay):
            view.restore({name: tensor.numpy() for name, tensor in parts["replay"].items()})
        facts = snapshot.facts
        self.agent.restore(Snapshot(tensors=parts["learner"], facts=facts["learner"]))
        self._steps, self._owed = int(facts["steps"]), float(facts["owed"])
        self._spread = float(facts["spread"])
        self._generator.bit_generator.state = facts["generator"]

    @property
    def _view(self) -> object:
        return getattr(self.agent, "view", None)


class DQNAgentWrapper(LearnerWrapper):
    """A value agent: D3QN, double DQN or twin D3QN."""

    agent: ValueLearner

    def _ask(self, state: State) -> NDArray[np.float64]:
        """Ask the compiled critics, where there are any: a tenth of what torch's calls cost."""
        engine = self.agent.engine
        if engine is None:
            return super()._ask(state)
        return np.asarray(engine.values(state[None, :])[0], np.float64)

    def _size(self, state: State) -> float:
        engine = self.agent.engine
        if isinstance(engine, CriticEngine) and state.ndim == 1:
            size = engine.spread(np.asarray(state, np.float32)[None, :])
            if isfinite(size):
                return size
        return super()._size(state)

    def explore(self, state: State) -> int:
        """Return a drawn action with the chance of now, else the preferred one.

        On a market path nothing has to be tried: what every action would have earned is known.
        """
        if not isinstance(self.agent.view, Replay):
            return super().explore(state)
        if self._generator.random() < self.practice.exploration_at(self._steps):
            return self._drawn(self.agent.view.spaces.action_count)
        return int(self.preferences(state).argmax())

    def _learn(
        self,
        state: State,
        action: int,
        reward: float,
        next_state: State,
        *,
        done: bool,
        truncated: bool,
    ) -> Feedback:
        view = self.agent.view
        if isinstance(view, Replay):
            view.add(state, action, reward, next_state, is_ended=done, is_cut=truncated)
            if len(view) < self.practice.warm_steps:
                return Feedback(success=True, loss=None, updates=0)
        return self._train_owed()


class RainbowAgentWrapper(DQNAgentWrapper):
    """Rainbow: it explores by the noise in its network, where that part is on."""

    agent: RainbowLearner

    def explore(self, state: State) -> int:
        """Return the action preferred under fresh noise, on a market path without noise."""
        if not isinstance(self.agent.view, Replay) or not self.agent.parts.noisy:
            return super().explore(state)
        if len(self.agent.view) < self.practice.warm_steps:
            return self._drawn(self.agent.view.spaces.action_count)
        found_1A = self.agent.noisy_values(np.asarray(state, np.float32)[None, :])
        return int(found_1A.argmax())


class PPOAgentWrapper(LearnerWrapper):
    """PPO: actions are drawn from its policy; a rollout of them is learnt from, then forgotten."""

    is_on_policy: ClassVar[bool] = True
    agent: PpoLearner

    def _ask(self, state: State) -> NDArray[np.float64]:
        """Return the logs of the actions' shares: preferences as the actor's outputs are."""
        log_share_1A, _ = self.agent.answer(torch.from_numpy(state)[None, :])
        return np.asarray(log_share_1A[0].double().numpy())

    def explore(self, state: State) -> int:
        """Return an action drawn from the policy, on a market path the likeliest."""
        if not isinstance(self.agent.view, Replay):
            return super().explore(state)
        preference_N = self.preferences(state)
        share_N = np.exp(preference_N - preference_N.max())
        chosen = np.searchsorted(np.cumsum(share_N), self._generator.random() * share_N.sum())
        return min(int(chosen), len(share_N) - 1)

    def _learn(
        self,
        state: State,
        action: int,
        reward: float,
        next_state: State,
        *,
        done: bool,
        truncated: bool,
    ) -> Feedback:
        view = self.agent.view
        if not isinstance(view, Replay):
            return self._train_owed()
        view.add(state, action, reward, next_state, is_ended=done, is_cut=truncated)
        if len(view) < view.capacity:
            return Feedback(success=True, loss=None, updates=0)
        measured = self.agent.learn(walks_of(self.agent, view))
        view.clear()
        return Feedback(success=True, loss=measured["loss"], updates=1)


def walks_of(learner: PpoLearner, replay: Replay) -> Walks:
    """Return a full ring as steps of the present policy, advantages estimated (N).

    Where an episode was only cut off, the value of the state it reached is added to its reward.
    """
    tables = {name: torch.from_numpy(table) for name, table in replay.tables().items()}
    input_NF, next_NF, action_N = tables["input"], tables["next"], tables["action"]
    discount, trace = learner.options.discount, learner.ppo.trace
    with torch.no_grad():
        log_share_NA, value_N = learner.answer(input_NF)
        _, reached_N = learner.answer(next_NF)
        ends_N = (tables["discount"] == 0.0).float()
        leaves_N = torch.ones_like(ends_N)
        leaves_N[:-1] = (next_NF[:-1] != input_NF[1:]).any(dim=1).float()
        leaves_N[-1] = 0.0  # the last value is handed over on its own
        cut_N = leaves_N * (1.0 - ends_N)
        reward_N = tables["reward"] + discount * cut_N * reached_N
        advantage_N1 = estimate_advantages(
            reward_N.unsqueeze(1),
            value_N.unsqueeze(1),
            reached_N[-1:],
            torch.maximum(ends_N, cut_N).unsqueeze(1),
            discount,
            trace,
        )
    advantage_N = advantage_N1.squeeze(1)
    return Walks(
        input_NF=input_NF,
        action_N=action_N,
        log_share_N=log_share_NA.gather(1, action_N.unsqueeze(1)).squeeze(1),
        value_N=value_N,
        advantage_N=advantage_N,
        return_N=advantage_N + value_N,
    )
