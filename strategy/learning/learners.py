"""The five learners by name."""

from __future__ import annotations

from strategy.learning.d3qn_learner import D3qnLearner
from strategy.learning.double_dqn_learner import DoubleDqnLearner
from strategy.learning.learner import Learner, LearnerMaker, LearnerOptions
from strategy.learning.ppo_learner import PpoLearner
from strategy.learning.rainbow_learner import RainbowLearner
from strategy.learning.replay_ring import Source
from strategy.learning.twin_d3qn_learner import TwinD3qnLearner

STANDARD_LEARNERS: dict[str, LearnerMaker] = {
    "d3qn": D3qnLearner,
    "double_dqn": DoubleDqnLearner,
    "twin_d3qn": TwinD3qnLearner,
    "ppo": PpoLearner,
    "rainbow": RainbowLearner,
}
"""In the order of ``kernels.events.AGENTS``."""

UPDATES: dict[str, int] = {
    "d3qn": 4_000,
    "double_dqn": 4_000,
    "twin_d3qn": 4_000,
    "ppo": 100,
    "rainbow": 4_000,
}
"""Length of a full training; an update of PPO is an iteration of 32,768 steps."""


def make_learner(
    name: str,
    source: Source,
    options: LearnerOptions | None = None,
    *,
    seed: int,
    device: str = "cpu",
) -> Learner:
    """Return a fresh learner, a pure function of its arguments; KeyError for an unknown name."""
    if name not in STANDARD_LEARNERS:
        raise KeyError(f"no learner {name!r}; there are {', '.join(STANDARD_LEARNERS)}")
    chosen = options or LearnerOptions(updates=UPDATES[name])
    return STANDARD_LEARNERS[name](source, chosen, seed=seed, device=device)
