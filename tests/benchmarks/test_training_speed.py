"""How fast agents learn, beside the library that others would take; ratios within one run.

The D3QN loop acts, steps, stores and learns on ``TradeSimulator-v0``, one update of 64 rows for
every four steps, as Stable-Baselines3's DQN does by default; both networks have two hidden layers
of 128, ours a dueling head and layer normalisation besides. The five-agent update is one batch of
64 rows for each agent, beside the same updates in plain torch (``is_compiled`` off, an optimiser
that is not fused). The bars are 5 for both; below them the tests fail and say by how much, apart
where even the floors are lost. Run with ``-m bench -s``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from kernels.events import AGENTS
from strategy.learning import trade_simulator
from strategy.learning.agent_wrappers import DQNAgentWrapper, Practice
from strategy.learning.learner import LearnerOptions
from strategy.learning.learners import STANDARD_LEARNERS
from strategy.learning.ppo_learner import PpoLearner
from strategy.learning.transitions import MarketPath
from strategy.learning.wrapper_factory import create_agent

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1_800)]

STATE_DIM, BATCH, STEPS_PER_UPDATE = 50, 64, 4
STEPS, ROUNDS = 1_000, 3
LOOP_BAR, LOOP_FLOOR = 5.0, 4.0
TEAM_BAR, TEAM_FLOOR = 5.0, 4.0


def world() -> gymnasium.Env[Any, Any]:
    """Return the one environment that both libraries learn on."""
    return gymnasium.make(trade_simulator.ENVIRONMENT_ID, state_dim=STATE_DIM, max_step=500)


class Loop:
    """Our D3QN on the environment, step by step."""

    def __init__(self) -> None:
        """Fill the replay as far as learning needs."""
        options = LearnerOptions(updates=1_000_000, batch=BATCH)
        agent = create_agent("d3qn", STATE_DIM, options=options, replay_capacity=50_000)
        practice = Practice(warm_steps=500, updates_per_step=1.0 / STEPS_PER_UPDATE)
        self.wrapper = DQNAgentWrapper(agent, "d3qn", practice)
        self.world = world()
        self.state, _ = self.world.reset(seed=1)
        self.run(600)

    def run(self, steps: int) -> None:
        """Act, step, store, learn."""
        for _ in range(steps):
            action = self.wrapper.explore(self.state)
            following, reward, done, is_cut, _ = self.world.step(action)
            self.wrapper.update_with_feedback(
                self.state, action, float(reward), following, done, is_cut
            )
            self.state = following
            if done or is_cut:
                self.state, _ = self.world.reset()


def seconds(work: Callable[[], object]) -> float:
    """Return how long a piece of work takes."""
    began = perf_counter()
    work()
    return perf_counter() - began


def judge(what: str, ratio: float, bar: float, floor: float) -> None:
    """Fail below the bar, and say so apart where even what was once reached is lost."""
    assert ratio >= floor, f"{what}: {ratio:.1f} times, it has reached {floor:g}"
    assert ratio >= bar, f"{what}: {ratio:.1f} times, the bar is {bar:g}"


def test_the_loop_against_stable_baselines3() -> None:
    """Steps a second of both loops, in turn, at the same ratio of updates to steps."""
    sb3 = pytest.importorskip("stable_baselines3", reason="extra test: stable-baselines3")
    torch.set_num_threads(1)
    ours = Loop()
    theirs = sb3.DQN(
        "MlpPolicy",
        world(),
        batch_size=BATCH,
        train_freq=STEPS_PER_UPDATE,
        learning_starts=500,
        buffer_size=50_000,
        exploration_fraction=0.5,
        policy_kwargs={"net_arch": [128, 128]},
        device="cpu",
        seed=1,
    )
    theirs.learn(600)
    pairs = []
    for _ in range(ROUNDS):
        own_s = seconds(lambda: ours.run(STEPS))
        their_s = seconds(lambda: theirs.learn(STEPS, reset_num_timesteps=False))
        pairs.append((STEPS / own_s, STEPS / their_s))
    own, other = np.median(np.array(pairs), axis=0)
    print(
        f"\nD3QN loop {own:,.0f} steps/s, Stable-Baselines3 DQN {other:,.0f}; "
        f"ratio {np.median([a / b for a, b in pairs]):.1f}"
    )
    ratio = float(np.median([a / b for a, b in pairs]))
    judge("D3QN loop against Stable-Baselines3", ratio, LOOP_BAR, LOOP_FLOOR)


def five(path: MarketPath, is_compiled: bool) -> list[Callable[[], object]]:
    """Return one update of each of the five agents, at 64 rows, as we make it or in plain torch."""
    works: list[Callable[[], object]] = []
    for agent in AGENTS:
        kind: Any = STANDARD_LEARNERS[agent]
        options = LearnerOptions(updates=1_000_000, batch=BATCH)
        learner = kind(path, options, seed=1, is_compiled=is_compiled)
        optimiser = torch.optim.Adam if agent == "ppo" else torch.optim.AdamW
        learner.optimiser = optimiser(learner.net.parameters(), foreach=False)
        if isinstance(learner, PpoLearner):
            works.append(partial(learner.step, learner.walk(), torch.arange(BATCH)))
        else:
            works.append(partial(learner.train, 1))
    return works


def test_five_updates_against_plain_torch() -> None:
    """Updates a second of the whole team, in turn; and each agent's own."""
    torch.set_num_threads(1)
    generator = np.random.default_rng(1)
    path = MarketPath(
        rows_TF=generator.normal(size=(20_000, STATE_DIM - 3)).astype(np.float32),
        return_T=generator.normal(size=20_000),
        cost_T=np.full(20_000, 0.1),
    )
    forms = five(path, True), five(path, False)
    for form in forms:
        for work in form:
            work()
    took_RFA = np.array(
        [
            [[min(seconds(work) for _ in range(10)) for work in form] for form in forms]
            for _ in range(ROUNDS)
        ]
    )
    own_A, plain_A = np.median(took_RFA, axis=0)
    for agent, own, plain in zip(AGENTS, own_A, plain_A, strict=True):
        print(f"\n  {agent:11s} {own * 1e6:6.0f} us, plain torch {plain * 1e6:6.0f}", end="")
    ratio = float(np.median(took_RFA[:, 1].sum(axis=1) / took_RFA[:, 0].sum(axis=1)))
    print(f"\n  all five {1.0 / own_A.sum():,.0f} a second; ratio {ratio:.1f}")
    judge("five updates against plain torch", ratio, TEAM_BAR, TEAM_FLOOR)
