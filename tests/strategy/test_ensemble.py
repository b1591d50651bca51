"""Weights: exact projection, cap, floor, abstention; and the target they add up to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from config.settings import MetaLearningSettings
from strategy.ensemble import (
    DIVERSIFICATION_FLOOR,
    Target,
    attribute,
    combine,
    project_box_simplex,
    warm_up,
    weigh,
)
from tests.naive.naive_simplex import project_by_bisection, project_by_enumeration

Floats = NDArray[np.float64]

FINITE = st.floats(-50.0, 50.0, allow_nan=False, width=64)


def projected(point: Floats, floor: Floats, cap: float) -> Floats | None:
    """Return the projection, or None where it reports an empty set."""
    out = np.full_like(point, np.nan)
    return out if project_box_simplex(point, floor, cap, out) else None


@st.composite
def boxes(draw: st.DrawFn) -> tuple[Floats, Floats, float]:
    """Draw a point and a feasible box around the simplex."""
    count = draw(st.integers(1, 6))
    point = np.array(draw(st.lists(FINITE, min_size=count, max_size=count)))
    cap = draw(st.floats(1.0 / count, 1.0))
    share = draw(st.floats(0.0, 1.0))
    floored = draw(st.integers(0, count))
    floor = np.zeros(count)
    floor[:floored] = share * min(cap, 1.0 / max(floored, 1))
    return point, floor, cap


@given(boxes())
@settings(max_examples=200, deadline=None)
def test_projection_equals_both_slow_twins(box: tuple[Floats, Floats, float]) -> None:
    """The two kinks give what bisection approaches and what the full enumeration finds."""
    point, floor, cap = box
    found = projected(point, floor, cap)
    assert found is not None
    np.testing.assert_allclose(found, project_by_bisection(point, floor, cap), atol=1e-9)
    by_cases = project_by_enumeration(point, floor, cap)
    np.testing.assert_allclose(found, by_cases, atol=1e-8)


@given(boxes())
@settings(max_examples=300, deadline=None)
def test_projection_invariants(box: tuple[Floats, Floats, float]) -> None:
    """Sum one within 1e-12, inside the box exactly, idempotent."""
    point, floor, cap = box
    found = projected(point, floor, cap)
    assert found is not None
    assert abs(found.sum() - 1.0) <= 1e-12
    assert (found <= cap).all()
    assert (found >= floor).all()
    again = projected(found, floor, cap)
    assert again is not None
    np.testing.assert_allclose(again, found, atol=1e-14)


def test_projection_of_an_empty_set_or_nan_is_refused() -> None:
    """Caps too small, floors too large, a floor above the cap, or NaN: no weights at all."""
    zeros = np.zeros(3)
    assert projected(zeros, zeros, 0.3) is None
    assert projected(zeros, np.full(3, 0.4), 0.5) is None
    assert projected(zeros, np.array([0.7, 0.0, 0.0]), 0.6) is None
    assert projected(np.array([0.0, np.nan, 0.0]), zeros, 1.0) is None


def meta(**knobs: object) -> MetaLearningSettings:
    """Return settings with some knobs changed."""
    return MetaLearningSettings.model_validate(knobs)


@st.composite
def markets(draw: st.DrawFn) -> tuple[Floats, NDArray[np.bool_], MetaLearningSettings]:
    """Draw predictions, health and settings that are valid."""
    count = draw(st.integers(1, 7))
    predicted = np.array(draw(st.lists(st.floats(-500, 500), min_size=count, max_size=count)))
    healthy = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    chosen = meta(
        max_agent_weight=draw(st.sampled_from([0.2, 0.25, 0.4, 0.6, 0.8, 1.0])),
        min_diversification_agents=draw(st.integers(1, 5)),
        weight_temperature=draw(st.sampled_from([0.01, 0.3, 0.5, 1.0, 100.0])),
    )
    return predicted, healthy, chosen


@given(markets())
@settings(max_examples=400, deadline=None)
def test_weights_hold_every_promise_or_abstain(
    market: tuple[Floats, NDArray[np.bool_], MetaLearningSettings],
) -> None:
    """Sum, cap, floor, order and zero for the unhealthy; None exactly when it cannot be done."""
    predicted, healthy, chosen = market
    weights = weigh(predicted, healthy, chosen)
    able = int(healthy.sum())
    wanted = chosen.min_diversification_agents
    feasible = able >= wanted and able * chosen.max_agent_weight >= 1.0 - 1e-12
    assert (weights is not None) == feasible
    if weights is None:
        return
    assert abs(weights.sum() - 1.0) <= 1e-12
    assert (weights <= chosen.max_agent_weight).all()
    assert (weights >= 0.0).all()
    assert (weights[~healthy] == 0.0).all()
    floor = min(DIVERSIFICATION_FLOOR, chosen.max_agent_weight, 1.0 / wanted)
    assert int((weights >= floor).sum()) >= wanted
    awake = np.flatnonzero(healthy)
    for a in awake:
        for b in awake:
            if predicted[a] > predicted[b]:
                assert weights[a] >= weights[b] - 1e-15


def test_the_cap_is_not_undone_by_renormalising() -> None:
    """One agent far ahead gets exactly the cap, where clip-and-renormalise would give 0.98."""
    weights = weigh(np.array([10.0, 0, 0, 0, 0]), np.ones(5, bool), meta(max_agent_weight=0.6))
    assert weights is not None
    assert weights[0] == 0.6
    assert weights[1:].sum() == pytest.approx(0.4, abs=1e-15)


def test_softmax_by_hand() -> None:
    """Without an active bound the weights are the softmax at the temperature."""
    weights = weigh(np.array([0.0, 0.5 * np.log(2.0), 0.0]), np.ones(3, bool), meta())
    assert weights is not None
    np.testing.assert_allclose(weights, [0.25, 0.5, 0.25], atol=1e-12)


def test_huge_predictions_do_not_overflow() -> None:
    """The maximum is subtracted first."""
    weights = weigh(np.array([1e300, -1e300, 0.0]), np.ones(3, bool), meta())
    assert weights is not None
    np.testing.assert_allclose(weights, [0.6, 0.2, 0.2], atol=1e-12)
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("max_agent_weight", 0.3),
        ("min_diversification_agents", 5),
        ("weight_temperature", 5.0),
        ("meta_learning_enabled", False),
        ("performance_prediction_enabled", False),
    ],
)
def test_every_knob_changes_the_weights(knob: str, value: object) -> None:
    """A parameter without effect would be no parameter."""
    predicted, healthy = np.array([5.0, 4.9, 0.0, -1.0, -2.0]), np.ones(5, bool)
    before, after = (
        weigh(predicted, healthy, meta()),
        weigh(predicted, healthy, meta(**{knob: value})),
    )
    assert before is not None
    assert after is not None
    assert not np.allclose(before, after)


@pytest.mark.parametrize("switch", ["meta_learning_enabled", "performance_prediction_enabled"])
def test_switched_off_every_healthy_agent_counts_alike(switch: str) -> None:
    """Off means a plain vote, even where a prediction is not finite."""
    predicted = np.array([3.0, np.nan, 0.0, 1.0])
    healthy = np.array([True, True, True, False])
    weights = weigh(predicted, healthy, meta(**{switch: False}))
    assert weights is not None
    np.testing.assert_allclose(weights, [1 / 3, 1 / 3, 1 / 3, 0.0], atol=1e-15)


def test_a_prediction_that_is_not_finite_takes_the_agent_out() -> None:
    """NaN and infinity are no performance."""
    predicted = np.array([np.nan, np.inf, 0.0, 0.0, 0.0])
    weights = weigh(predicted, np.ones(5, bool), meta())
    assert weights is not None
    np.testing.assert_allclose(weights, [0, 0, 1 / 3, 1 / 3, 1 / 3], atol=1e-15)


def test_shapes_that_differ_are_a_fault_of_the_caller() -> None:
    """Five predictions and four health flags are refused."""
    with pytest.raises(ValueError, match="do not match"):
        weigh(np.zeros(5), np.ones(4, bool), meta())


VOTES = st.lists(st.tuples(st.integers(0, 2), st.floats(0.0, 1.0)), min_size=3, max_size=5)


@given(VOTES, st.floats(0.1, 1.0))
@settings(max_examples=150, deadline=None)
def test_the_target_is_the_weighted_vote(votes: list[tuple[int, float]], most: float) -> None:
    """Exposure, disagreement and confidence follow from their definitions and stay in range."""
    action = np.array([a for a, _ in votes])
    own = np.array([c for _, c in votes])
    weights = weigh(np.linspace(0, 1, len(votes)), np.ones(len(votes), bool), meta())
    assert weights is not None
    target = combine(action, weights, own, most)
    mean = sum(w * (a - 1) for w, a in zip(weights, action, strict=True))
    assert target.exposure == pytest.approx(np.clip(mean, -most, most), abs=1e-12)
    assert abs(target.exposure) <= most
    assert 0.0 <= target.disagreement <= 1.0
    assert target.confidence == pytest.approx(float(weights @ own), abs=1e-12)


def test_unanimous_and_split_votes() -> None:
    """All buying is full exposure without disagreement; half against half is the largest spread."""
    half = np.array([0.5, 0.5])
    sure = np.ones(2)
    assert combine(np.array([2, 2]), half, sure) == Target(
        exposure=1.0, disagreement=0.0, confidence=1.0
    )
    assert combine(np.array([0, 2]), half, sure) == Target(
        exposure=0.0, disagreement=1.0, confidence=1.0
    )


def test_an_invalid_vote_without_weight_is_ignored_and_with_weight_refused() -> None:
    """An unhealthy agent's action is -1: harmless at weight zero, an error otherwise."""
    action, own = np.array([-1, 2]), np.array([np.nan, 0.5])
    assert combine(action, np.array([0.0, 1.0]), own).exposure == 1.0
    with pytest.raises(ValueError, match="without a valid vote"):
        combine(action, np.array([0.5, 0.5]), own)


@given(VOTES, st.sampled_from([-1, 1]), st.floats(-1.0, 1.0))
@settings(max_examples=150, deadline=None)
def test_attribution_sums_to_one_over_those_who_wanted_it(
    votes: list[tuple[int, float]], side: int, exposure: float
) -> None:
    """Shares sum to one, and nobody is credited for a move away from its vote."""
    action = np.array([a for a, _ in votes])
    weights = np.full(len(votes), 1.0 / len(votes))
    shares = attribute(action, weights, side, exposure)
    wanted = [side * (a - 1 - exposure) > 0 for a in action]
    assert bool(shares) == any(wanted)
    if shares:
        assert sum(shares) == pytest.approx(1.0, abs=1e-12)
        assert all((share > 0) == want for share, want in zip(shares, wanted, strict=True))


def test_warm_up_compiles_for_any_number_of_agents() -> None:
    """It runs without a market."""
    for count in (1, 5):
        warm_up(count)
