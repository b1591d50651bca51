"""Sampling by priority: the sums hold, and places come in proportion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy.learning.samplers import PrioritisedSampler, UniformSampler
from strategy.learning.sum_tree import SumTree


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(0, 39), st.floats(0.0, 1e6)), max_size=60),
)
@settings(max_examples=200, deadline=None)
def test_the_total_is_the_sum(capacity: int, changes: list[tuple[int, float]]) -> None:
    """After any changes the tree agrees with a plain list, and never draws what has nothing."""
    tree, plain = SumTree(capacity), np.zeros(capacity)
    for place, priority in changes:
        tree.set(np.array([place % capacity]), np.array([priority]))
        plain[place % capacity] = priority
    assert tree.total == pytest.approx(plain.sum())
    if plain.sum() > 0.0:
        drawn = tree.draw(np.random.default_rng(1).random(64))
        assert (plain[drawn] > 0.0).all()


def test_places_come_in_proportion() -> None:
    """A chi-square of 20,000 draws against the priorities stays below its 99.9 % point."""
    priority = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 0.5, 10.0])
    tree = SumTree(len(priority))
    tree.set(np.arange(len(priority)), priority)
    generator = np.random.default_rng(4)
    counts = np.zeros(len(priority))
    for _ in range(20_000):  # unstratified: one uniform number for each single draw
        counts[tree.draw(generator.random(1))] += 1
    wanted = priority / priority.sum() * counts.sum()
    seen = wanted > 0.0
    assert counts[~seen].sum() == 0
    assert float(((counts - wanted)[seen] ** 2 / wanted[seen]).sum()) < 20.5


def test_one_draw_from_each_share() -> None:
    """With equal priorities a stratified batch touches every equal part of the tree once."""
    tree = SumTree(64)
    tree.fill(1.0)
    drawn = tree.draw(np.random.default_rng(2).random(64))
    np.testing.assert_array_equal(np.sort(drawn), np.arange(64))


def test_a_priority_that_is_none_is_refused() -> None:
    """A negative or missing number would break every sum above it."""
    for wrong in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="priority"):
            SumTree(4).set(np.array([0]), np.array([wrong]))
    with pytest.raises(ValueError, match="capacity"):
        SumTree(0)


def test_weights_correct_the_preference() -> None:
    """A place drawn twice as often counts half at the end of the training, at most 1 ever."""
    sampler = PrioritisedSampler(bars=3, steps=1, alpha=1.0, beta=1.0)
    sampler.tree.set(np.arange(18), np.where(np.arange(18) == 3, 2.0, 1.0))
    weight = sampler.weights(np.array([3, 4]), 1.0)
    np.testing.assert_allclose(weight, [0.5, 1.0])


def test_errors_become_priorities() -> None:
    """What was wrong is drawn more often; what was right is not forgotten."""
    sampler = PrioritisedSampler(bars=3, steps=1)
    sampler.learn(np.array([0, 1]), np.array([4.0, 0.0]))
    high, low = sampler.tree.get(np.array([0, 1]))
    assert high == pytest.approx(2.0, rel=1e-3)
    assert low > 0.0


def test_places_not_yet_seen_are_never_behind() -> None:
    """A new largest error lifts them all; those that were seen keep their own."""
    sampler = PrioritisedSampler(bars=3, steps=1)
    sampler.learn(np.array([0, 1]), np.array([4.0, 1.0]))
    sampler.learn(np.array([2]), np.array([9.0]))
    sampler.learn(np.array([3, 3]), np.array([9.0, 0.25]))
    found = sampler.tree.get(np.arange(18))
    np.testing.assert_allclose(found[:4], [2.0, 1.0, 3.0, 0.5], rtol=2e-3)
    assert (found[4:] == sampler.largest).all()
    assert found[:4].max() < sampler.largest < found[:4].max() + 1e-9
    assert sampler.tree.total == pytest.approx(found.sum())


def test_short_paths_are_refused() -> None:
    """A path must hold one place more than the steps of a return."""
    assert UniformSampler(4, 3).draw(100, np.random.default_rng(1)).max() < 9
    with pytest.raises(ValueError, match="too short"):
        UniformSampler(3, 3)
