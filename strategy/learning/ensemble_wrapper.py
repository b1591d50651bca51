"""Several wrapped agents as one: votes by weight, weights from what each one's choice earned.

The weights are those of the daemon's meta-learner (``strategy.chain``): every bar ``weigh`` forms
them for a regime posterior, ``learn_outcomes`` tells it afterwards what each member's own choice
earned. Without outcomes the members still learn from feedback, and the weights stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from config.settings import MetaLearningSettings
from kernels.events import REGIMES
from strategy.agents.wrappers import AgentError
from strategy.chain import ChainShape, MetaChain
from strategy.learning.agent_wrappers import Answer, BaseAgentWrapper, Feedback, State
from strategy.learning.learner import Snapshot

Floats = NDArray[np.float64]

HOURS_A_YEAR = 8_766.0


class AgentEnsembleWrapper(BaseAgentWrapper):
    """Ask all members, follow the action with most weight behind it."""

    agent: Mapping[str, BaseAgentWrapper]

    def __init__(
        self,
        agent: Mapping[str, BaseAgentWrapper],
        name: str = "ensemble",
        settings: MetaLearningSettings | None = None,
        *,
        year_bars: float = HOURS_A_YEAR,
    ) -> None:
        """Take the members by name; ValueError where cap and number leave no weights."""
        super().__init__(agent, name)
        if not agent:
            raise ValueError("an ensemble needs members")
        self.settings = settings or MetaLearningSettings()
        self.names = tuple(agent)
        count = len(self.names)
        self.chain = MetaChain(
            ChainShape(
                agent_names=self.names,
                regime_count=len(REGIMES),
                year_bars=year_bars,
                weight_cap=max(self.settings.max_agent_weight, 1.0 / count),
                active_min=min(self.settings.min_diversification_agents, count),
                temperature=self.settings.weight_temperature,
            )
        )
        self._weight_N = np.full(count, 1.0 / count)

    @property
    def weights(self) -> dict[str, float]:
        """Weight of every member now; they sum to 1."""
        return dict(zip(self.names, self._weight_N.tolist(), strict=True))

    def weigh(self, posterior_K: Floats) -> dict[str, float]:
        """Form the weights of the coming bar for this posterior over the regimes; return them.

        With ``meta_learning_enabled`` off every member weighs the same.
        """
        awake_N = np.ones(len(self.names), np.bool_)
        weighing = self.chain.weigh(posterior_K, np.zeros(len(self.names)), awake_N)
        if weighing is not None and self.settings.meta_learning_enabled:
            self._weight_N = weighing.weight_N
        return self.weights

    def learn_outcomes(self, earned_N: Floats) -> None:
        """Learn from what every member's own choice earned since ``weigh``, in bar deviations."""
        self.chain.learn(earned_N)

    def get_action_with_confidence(self, state: State) -> Answer:
        """Return the action with most weight behind it, its lead as confidence.

        A member that cannot answer loses its say and is named in ``info``; AgentError when fewer
        than ``min_diversification_agents`` members (or all of a smaller team) answered.
        """
        return self.vote(dict.fromkeys(self.names, state))

    def vote(self, states: Mapping[str, State]) -> Answer:
        """Do the same where each member sees a state of its own, with its own position."""
        answers: dict[str, Answer] = {}
        failures: dict[str, str] = {}
        for name, member in self.agent.items():
            try:
                answers[name] = member.get_action_with_confidence(states[name])
            except AgentError as error:
                failures[name] = error.reason
        return self.settle(answers, failures)

    def settle(self, answers: Mapping[str, Answer], failures: Mapping[str, str]) -> Answer:
        """Return the vote of answers that were given; ``failures`` name those who gave none."""
        needed = min(self.settings.min_diversification_agents, len(self.names))
        if len(answers) < needed:
            raise AgentError(
                self.name, f"{len(answers)} of {needed} members answer: {dict(failures)}"
            )
        weights = self.weights
        total = sum(weights[name] for name in answers)
        behind: dict[int, float] = {}
        for name, answer in answers.items():
            share = weights[name] / total if total > 0.0 else 1.0 / len(answers)
            behind[answer.action] = behind.get(answer.action, 0.0) + share
        action = max(sorted(behind), key=lambda choice: behind[choice])
        rest = max((share for choice, share in behind.items() if choice != action), default=0.0)
        return Answer(
            action=action,
            confidence=min(max(behind[action] - rest, 0.0), 1.0),
            info={
                "agent": self.name,
                "algorithm_weights": weights,
                "votes": {name: answer.action for name, answer in answers.items()},
                "agreement": behind[action],
                "failures": dict(failures),
            },
        )

    def update_with_feedback(
        self,
        state: State,
        action: int,
        reward: float,
        next_state: State,
        done: bool,
        truncated: bool = False,
    ) -> Feedback:
        """Hand one step to every member; one that learns on policy only where it agreed."""
        losses, updates, skipped = [], 0, []
        for name, member in self.agent.items():
            if member.is_on_policy and member.get_action_with_confidence(state).action != action:
                skipped.append(name)
                continue
            found = member.update_with_feedback(state, action, reward, next_state, done, truncated)
            if not found.success:
                return Feedback(False, None, updates, f"{name}: {found.reason}")
            updates += found.updates
            if found.loss is not None:
                losses.append(found.loss)
        loss = float(np.mean(losses)) if losses else None
        reason = f"not its own action: {', '.join(skipped)}" if skipped else ""
        return Feedback(len(skipped) < len(self.names), loss, updates, reason)

    def snapshot(self) -> Snapshot:
        """Return the weights and what they are made of; the members have snapshots of their own."""
        return Snapshot(
            tensors={},
            facts={"chain": self.chain.state.tolist(), "weights": self._weight_N.tolist()},
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go on where a snapshot was taken; ValueError for another number of members."""
        self.chain.restore(np.array(snapshot.facts["chain"], np.float64))
        self._weight_N = np.array(snapshot.facts["weights"], np.float64)
