"""Do the agents learn a task that everybody knows? CartPole-v1, on seeds drawn now and printed.

    python -m tests.benchmarks.cartpole_bars                   every agent; exit 1 below the bar
    python -m tests.benchmarks.cartpole_bars --agents ppo --seeds 2

Agents learn from feedback through their wrappers, as from any environment. Every few thousand
steps twenty validation episodes are played without exploring; a training ends once they average
495, or with its budget, and the state that did best there is kept. It is judged by the mean return
of a hundred other episodes, each of 500 steps at most.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tomllib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from time import perf_counter

import gymnasium
import numpy as np
import torch

from kernels.events import AGENTS
from strategy.learning.agent_wrappers import LearnerWrapper, Practice
from strategy.learning.learner import LearnerOptions, Snapshot
from strategy.learning.ppo_learner import PpoOptions
from strategy.learning.wrapper_factory import STANDARD_WRAPPERS, create_agent
from tests.benchmarks.learning_bars import BARS_FILE

TASK = "CartPole-v1"
INPUTS, ACTIONS = 4, 2
VALIDATED, JUDGED = 20, 100
SOLVED = 495.0
VALIDATION_SEED, JUDGED_SEED = 1_000_000, 2_000_000
"""Episodes of validation and of the judgement begin elsewhere than those that teach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How an agent is taught: its budget of steps, and after how many it is validated."""

    steps: int
    validate_every: int
    options: LearnerOptions
    reward_scale: float = 1.0
    practice: Practice = field(default_factory=Practice)
    rollout: PpoOptions = field(default_factory=PpoOptions)


VALUE_STEPS = 30_000
VALUES = LearnerOptions(updates=VALUE_STEPS, batch=64, rate=1e-3, rate_end=1e-4)
VALUE_COURSE = Course(
    steps=VALUE_STEPS,
    validate_every=1_000,
    options=VALUES,
    practice=Practice(exploration_end=0.04, exploration_steps=5_000),
)
PPO_STEPS, ROLLOUT = 100_000, 512
COURSES: dict[str, Course] = {
    **dict.fromkeys(("d3qn", "double_dqn", "twin_d3qn", "rainbow"), VALUE_COURSE),
    "ppo": Course(
        steps=PPO_STEPS,
        validate_every=4 * ROLLOUT,
        options=LearnerOptions(updates=PPO_STEPS // ROLLOUT, discount=0.98),
        reward_scale=0.02,  # values of about one: the loss clips them to 0.2 around the old ones
        rollout=PpoOptions(
            walkers=1, horizon=ROLLOUT, epochs=20, minibatch=256, trace=0.8, entropy=0.0
        ),
    ),
}


def pupil(agent: str, seed: int) -> LearnerWrapper:
    """Return a fresh agent for the task in its wrapper."""
    course = COURSES[agent]
    learner = create_agent(
        agent,
        INPUTS,
        ACTIONS,
        options=course.options,
        return_scale=100.0 * course.reward_scale,
        replay_capacity=course.steps,
        rollout=course.rollout,
        seed=seed,
    )
    kind = STANDARD_WRAPPERS[agent]
    assert issubclass(kind, LearnerWrapper)
    return kind(learner, agent, course.practice, seed=seed)


def balance(agent: str, seed: int) -> tuple[float, int, float]:
    """Teach one agent; return its mean return, the steps it was taught and the seconds it took."""
    torch.set_num_threads(1)
    began = perf_counter()
    course, wrapper = COURSES[agent], pupil(agent, seed)
    environment = gymnasium.make(TASK)
    state, _ = environment.reset(seed=seed)
    best, kept, taught = -1.0, wrapper.snapshot(), 0
    while taught < course.steps and best < SOLVED:
        action = wrapper.explore(state)
        following, reward, done, is_cut, _ = environment.step(action)
        wrapper.update_with_feedback(
            state, action, float(reward) * course.reward_scale, following, done, is_cut
        )
        state, taught = following, taught + 1
        if done or is_cut:
            state, _ = environment.reset()
        if taught % course.validate_every == 0:
            best, kept = keep_best(wrapper, seed, best, kept)
    wrapper.restore(kept)
    score = float(np.mean(returns(wrapper, JUDGED, JUDGED_SEED + seed)))
    return score, taught, perf_counter() - began


def keep_best(
    wrapper: LearnerWrapper, seed: int, best: float, kept: Snapshot
) -> tuple[float, Snapshot]:
    """Validate; return the best mean so far and its state. Two bad episodes end it early."""
    first = VALIDATION_SEED + seed
    if np.mean(returns(wrapper, 2, first)) <= best:
        return best, kept
    found = float(np.mean(returns(wrapper, VALIDATED, first)))
    return (found, wrapper.snapshot()) if found > best else (best, kept)


def returns(wrapper: LearnerWrapper, episodes: int, first_seed: int) -> list[float]:
    """Play episodes without exploring; return how many steps each lasted."""
    environment = gymnasium.make(TASK)
    found = []
    for episode in range(episodes):
        state, _ = environment.reset(seed=first_seed + episode)
        total, is_over = 0.0, False
        while not is_over:
            action = wrapper.get_action_with_confidence(state).action
            state, reward, done, is_cut, _ = environment.step(action)
            total, is_over = total + float(reward), done or is_cut
        found.append(total)
    return found


def run_table(agents: tuple[str, ...], seeds: list[int], jobs: int) -> list[str]:
    """Print one line for each agent; return what was missed."""
    bar = tomllib.loads(BARS_FILE.read_text())["cartpole"]
    wanted = min(bar["seeds_min"], len(seeds))
    print(f"{TASK}, mean of {JUDGED} episodes; seeds {' '.join(map(str, seeds))}", flush=True)
    missed = []
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = {agent: [pool.submit(balance, agent, seed) for seed in seeds] for agent in agents}
        for agent, answers in waiting.items():
            found = [answer.result() for answer in answers]
            good = sum(score >= bar["return_min"] for score, _, _ in found)
            print(
                f"  {agent:11s} {good} of {len(seeds)} at least {bar['return_min']:g}: "
                f"{' '.join(f'{score:.1f}' for score, _, _ in found)}; steps "
                f"{' '.join(str(steps) for _, steps, _ in found)}; "
                f"{np.mean([took for _, _, took in found]):.0f} s each",
                flush=True,
            )
            if good < wanted:
                missed.append(f"{agent}: {good} of {len(seeds)} seeds, wanted {wanted}")
    return missed


def main() -> int:
    """Print the table; 1 when an agent misses its bar."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--agents", nargs="+", default=list(AGENTS), choices=AGENTS)
    parser.add_argument("--seeds", type=int, default=5, help="how many (default 5)")
    parser.add_argument("--seed", type=int, help="repeat a run by its first seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    options = parser.parse_args()
    first = options.seed if options.seed is not None else secrets.randbelow(2**20)
    seeds = [first + place for place in range(options.seeds)]
    missed = run_table(tuple(options.agents), seeds, options.jobs)
    for line in missed:
        print(f"MISSED {line}")
    print("every bar holds" if not missed else f"{len(missed)} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
