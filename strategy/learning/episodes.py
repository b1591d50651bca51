"""One episode of a whole team: every agent on its own account, the ensemble on one beside them.

All accounts walk the same bars of a tape. At every bar the members act in the light of their own
position, the ensemble follows the weighted vote, and afterwards each member is told what *its own*
action earned: nobody is paid for another's choice. The weights learn from the same outcomes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.events import REGIMES
from strategy.agents.wrappers import AgentError
from strategy.evaluation.figures import drawdown, sharpe
from strategy.learning.agent_wrappers import Answer
from strategy.learning.ensemble_wrapper import AgentEnsembleWrapper
from strategy.learning.environment import Moved, TradingWorlds, WorldRules
from strategy.learning.market_tape import MarketTape
from strategy.observation import FLAT, FORECAST_NAMES

Floats = NDArray[np.float64]

YEAR_NS = 365.25 * 86_400e9
POSTERIOR_END = -len(FORECAST_NAMES)
POSTERIOR_BEGIN = POSTERIOR_END - len(REGIMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where episodes are played; ``scale`` is the standard deviation of a bar's return.

    The weights are formed anew every ``weigh_every`` bars. With ``is_patient`` a bar on which too
    few members answer is spent flat and counted, without it AgentError is raised.
    """

    tape: MarketTape
    rules: WorldRules
    scale: float
    weigh_every: int = 1
    is_patient: bool = True

    @property
    def year_bars(self) -> float:
        """Bars in a year."""
        return YEAR_NS / self.tape.interval_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """What an episode gave; rewards are changes of equity as shares of it, net of all costs.

    ``sharpe_ratio`` is a year's, None without spread. ``abstained`` counts bars without enough
    voices, ``failures`` errors of each member; ``losses`` are None where nothing was learnt.
    """

    first_bar: int
    steps: int
    total_reward: float
    sharpe_ratio: float | None
    max_drawdown: float
    trades: int
    confidence: float
    agreement: float
    exposure: float
    win_rate: float | None
    abstained: int
    weights: Mapping[str, float]
    agent_rewards: Mapping[str, float]
    losses: Mapping[str, float | None]
    updates: Mapping[str, int]
    failures: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return plain facts for a caller or a JSON file."""
        names = self.__dataclass_fields__
        return {
            name: dict(value) if isinstance(value := getattr(self, name), Mapping) else value
            for name in names
        }


class Play:
    """One episode under way."""

    def __init__(
        self, ensemble: AgentEnsembleWrapper, stage: Stage, first_bar: int, steps: int, seed: int
    ) -> None:
        """Open all accounts at a row; ValueError where the tape ends before the first step."""
        self.ensemble, self.stage, self.first_bar = ensemble, stage, first_bar
        self.names, count = ensemble.names, len(ensemble.names)
        rules = replace(stage.rules, episode_bars=steps)
        self.worlds = TradingWorlds(stage.tape, count + 1, rules, seed=seed)
        self.seen_WF = self.worlds.reset(first_bar=first_bar).copy()
        self.is_alive_N = np.ones(count, np.bool_)
        self.rewards: list[Floats] = []
        self.answers: list[Answer] = []
        self.held: list[int] = []
        self.abstained = 0
        self.failures = dict.fromkeys(self.names, 0)
        self.updates = dict.fromkeys(self.names, 0)
        self.losses: dict[str, list[float]] = {name: [] for name in self.names}
        self.weight_sum_N = np.zeros(count)

    def run(self, is_learning: bool) -> Episode:
        """Play to the end."""
        while not self._step(is_learning):
            continue
        return self._told()

    def _step(self, is_learning: bool) -> bool:
        bar = len(self.rewards)
        posterior_K = self.seen_WF[-1, POSTERIOR_BEGIN - 3 : POSTERIOR_END - 3].astype(np.float64)
        if bar % self.stage.weigh_every == 0:
            self.ensemble.weigh(posterior_K)
        self.weight_sum_N += np.array(list(self.ensemble.weights.values()))
        action_W, failed = self._choose(is_learning)
        before_WF = self.seen_WF
        moved = self.worlds.step(action_W)
        over_W = moved.terminated_W | moved.truncated_W
        self.seen_WF = np.where(over_W[:, None], moved.final_WF, moved.obs_WF)
        self.rewards.append(moved.reward_W.copy())
        self.held.append(int(action_W[-1]) - FLAT)
        earned_N = moved.reward_W[:-1] / self.stage.scale
        for place, name in enumerate(self.names):
            if name in failed or not self.is_alive_N[place]:
                earned_N[place] = np.nan
        self.ensemble.learn_outcomes(earned_N)
        if is_learning:
            self._teach(before_WF, action_W, moved, failed)
        self.is_alive_N &= ~moved.terminated_W[:-1]
        return bool(over_W[-1])

    def _choose(self, is_learning: bool) -> tuple[NDArray[np.int64], set[str]]:
        """Return everybody's action, the ensemble's last, and who failed to answer."""
        action_W = np.full(len(self.names) + 1, FLAT, np.int64)
        answers: dict[str, Answer] = {}
        failed: set[str] = set()
        for place, (name, member) in enumerate(self.ensemble.agent.items()):
            if not self.is_alive_N[place]:
                continue
            state_F = self.seen_WF[place]
            try:
                answers[name] = member.get_action_with_confidence(state_F)
                action_W[place] = member.explore(state_F) if is_learning else answers[name].action
            except AgentError:
                self.failures[name] += 1
                failed.add(name)
        try:
            answer = self.ensemble.settle(answers, dict.fromkeys(failed, "failed"))
        except AgentError:
            if not self.stage.is_patient:
                raise
            self.abstained += 1
            return action_W, failed
        self.answers.append(answer)
        action_W[-1] = answer.action
        return action_W, failed

    def _teach(
        self,
        before_WF: NDArray[np.float32],
        action_W: NDArray[np.int64],
        moved: Moved,
        failed: set[str],
    ) -> None:
        """Tell every member what its own action earned."""
        for place, (name, member) in enumerate(self.ensemble.agent.items()):
            if name in failed or not self.is_alive_N[place]:
                continue
            found = member.update_with_feedback(
                before_WF[place].copy(),
                int(action_W[place]),
                float(moved.reward_W[place]),
                self.seen_WF[place].copy(),
                bool(moved.terminated_W[place]),
                bool(moved.truncated_W[place]),
            )
            if not found.success:
                self.failures[name] += 1
            self.updates[name] += found.updates
            if found.loss is not None:
                self.losses[name].append(found.loss)

    def _told(self) -> Episode:
        reward_TW = np.array(self.rewards)
        own_T = reward_TW[:, -1]
        held_T = np.array(self.held)
        moved_T = own_T[own_T != 0.0]
        weights_N = self.weight_sum_N / len(own_T)
        return Episode(
            first_bar=self.first_bar,
            steps=len(own_T),
            total_reward=float(own_T.sum()),
            sharpe_ratio=sharpe(own_T, self.stage.year_bars) if len(own_T) > 1 else None,
            max_drawdown=drawdown(own_T)[0],
            trades=int((np.diff(held_T, prepend=0) != 0).sum()),
            confidence=_mean([answer.confidence for answer in self.answers]),
            agreement=_mean([answer.info["agreement"] for answer in self.answers]),
            exposure=float(np.abs(held_T).mean()),
            win_rate=float((moved_T > 0.0).mean()) if len(moved_T) else None,
            abstained=self.abstained,
            weights=dict(zip(self.names, weights_N.tolist(), strict=True)),
            agent_rewards=dict(
                zip(self.names, reward_TW[:, :-1].sum(axis=0).tolist(), strict=True)
            ),
            losses={name: _mean(found) if found else None for name, found in self.losses.items()},
            updates=self.updates,
            failures=self.failures,
        )


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else 0.0
