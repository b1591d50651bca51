"""The five agents against worlds whose optimum is known, and the bugs that the bars must see."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.events import AGENTS
from strategy.learning.dp_world import STRONG, draw_path
from strategy.learning.learner import LearnerOptions
from strategy.learning.learners import make_learner
from strategy.learning.value_learner import ValueLearner
from tests.benchmarks.learning_bars import PLANTS, main, planted, taught


@pytest.mark.nightly
@pytest.mark.timeout(14_400)
@pytest.mark.parametrize("agent", AGENTS)
def test_a_clear_signal_is_learnt(agent: str) -> None:
    """S13: the worst of five seeds, drawn now and printed, reaches 0.95 of the optimum."""
    assert main(["--only", "s13", "--agents", agent]) == 0


@pytest.mark.nightly
@pytest.mark.timeout(14_400)
@pytest.mark.parametrize("agent", AGENTS)
def test_a_weak_signal_is_used(agent: str) -> None:
    """S14: forecast and agent on ten worlds of four years, 0.70 at the mean and never a loss."""
    assert main(["--only", "s14", "--agents", agent]) == 0


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_bug_misses_the_bar(plant: str) -> None:
    """The command that prints the table ends with 1."""
    words = ["--only", "s13", "--agents", "d3qn", "--seeds", "1", "--jobs", "1"]
    assert main([*words, "--plant", plant]) == 1


def test_plants_reach_what_they_break() -> None:
    """Without a target network it follows at once, without cost trading is free; then all ends."""
    path = draw_path(STRONG, 500, np.random.default_rng(1))
    learner = make_learner("d3qn", path, LearnerOptions(updates=10), seed=1)
    assert isinstance(learner, ValueLearner)
    with planted("no_target"):
        assert learner.smoothing == 1.0
    assert learner.smoothing == learner.options.smoothing < 0.1
    assert (taught(path, "no_cost").cost_T == 0.0).all()
    assert taught(path, "") is path
    assert (path.cost_T > 0.0).all()
