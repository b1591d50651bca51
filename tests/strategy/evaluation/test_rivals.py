"""Rivals pay what the ensemble pays, know no more than it knew, and the labels on them are true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from strategy.evaluation.optimistic_mixture import mixture_weights
from strategy.evaluation.rivals import (
    RivalPath,
    Stage,
    StageError,
    agent_returns,
    follow,
    majority_target,
    momentum_target,
    random_paths,
    rivals,
)

DAY_S = 86_400.0
COST = 0.001


def _stage(seed: int = 1, bars: int = 300, agents: int = 4) -> Stage:
    chance = np.random.default_rng(seed)
    return Stage(
        names=tuple(f"agent {n}" for n in range(agents)),
        return_T=0.02 * chance.standard_normal(bars).clip(-4.0, 4.0),
        target_TN=chance.integers(-1, 2, (bars, agents)).astype(float),
        size_T=chance.uniform(0.2, 0.9, bars),
        deviation_T=np.full(bars, 0.02),
        cost_frac_T=np.full(bars, COST),
        bar_s=DAY_S,
        training_bars=100,
    )


def _named(stage: Stage) -> dict[str, RivalPath]:
    return {path.name: path for path in rivals(stage)}


def test_paths_of_the_simple_ones() -> None:
    """Cash earns nothing; buy and hold earns the market less one entry; sized holding its size."""
    stage = _stage()
    found = _named(stage)
    market_T = stage.return_T[100:]
    assert not found["cash"].net_T.any()
    held_T = market_T.copy()
    held_T[0] -= COST
    np.testing.assert_allclose(found["buy and hold"].net_T, held_T, atol=1e-15)
    sized = found["vol-targeted buy and hold"]
    np.testing.assert_array_equal(sized.position_T, stage.size_T[100:])


def test_every_rival_pays_for_all_it_trades() -> None:
    """Doubled costs take exactly the turnover once more: a rival with a cost dropped is caught."""
    stage = _stage()
    doubled = replace(stage, cost_frac_T=2.0 * stage.cost_frac_T)
    for name in ("buy and hold", "equal weight", "majority vote", "vol-targeted momentum"):
        once, twice = _named(stage)[name], _named(doubled)[name]
        turnover = float(np.abs(np.diff(once.position_T, prepend=0.0)).sum())
        lost = float((once.net_T - twice.net_T).sum())
        assert turnover > 0.0
        assert lost == pytest.approx(COST * turnover)


def test_majority_by_hand() -> None:
    """Three of five decide, flat is a side too, and a tie holds nothing."""
    votes = np.array(
        [[1, 1, 1, -1, 0], [-1, -1, -1, 1, 0], [1, 1, -1, -1, 0], [1, 0, 0, 0, 1], [1, 1, 0, 0, -1]]
    ).astype(float)
    assert majority_target(votes).tolist() == [1.0, -1.0, 0.0, 0.0, 0.0]


def test_momentum_waits_and_looks_back_only() -> None:
    """After 28 rising days it is long; a crash turns it only from the bar after."""
    stage = _stage(bars=120)
    return_T = np.full(120, 0.01)
    return_T[60] = -0.9
    target_T = momentum_target(replace(stage, return_T=return_T))
    assert not target_T[:28].any()
    assert (target_T[28:61] == 1.0).all()
    assert (target_T[61:89] == -1.0).all()
    assert target_T[89] == 1.0


def test_best_is_best() -> None:
    """The label "best in training" sits on the agent that was, "in hindsight" on the test's."""
    stage = _stage()
    target_TN = stage.target_TN.copy()
    target_TN[:100, 2] = np.sign(stage.return_T[:100])  # agent 2 knew the training bars
    target_TN[100:, 2] = -np.sign(stage.return_T[100:])
    target_TN[100:, 1] = np.sign(stage.return_T[100:])  # agent 1 knows the test bars
    found = _named(replace(stage, target_TN=target_TN))
    trained, hindsight = found["best in training"], found["best in hindsight"]
    np.testing.assert_array_equal(trained.position_T, (stage.size_T * target_TN[:, 2])[100:])
    np.testing.assert_array_equal(hindsight.position_T, (stage.size_T * target_TN[:, 1])[100:])
    assert [path.name for path in found.values() if not path.tradable] == ["best in hindsight"]


@pytest.mark.parametrize("seed", range(5))
def test_no_tradable_rival_knows_the_future(seed: int) -> None:
    """Another future changes no position held before it, save of the one marked untradable."""
    stage, cut = _stage(seed), 180
    return_T, target_TN = stage.return_T.copy(), stage.target_TN.copy()
    return_T[cut:] *= -3.0
    target_TN[cut + 1 :] *= -1.0
    other = _named(replace(stage, return_T=return_T, target_TN=target_TN))
    for name, path in _named(stage).items():
        if path.tradable:  # bar `cut` itself is decided before its return is known
            upto = cut + 1 - stage.training_bars
            np.testing.assert_array_equal(
                path.position_T[:upto], other[name].position_T[:upto], err_msg=name
            )


def test_random_paths_trade_alike() -> None:
    """At a constant size a draw differs from its model in timing, not in turnover or exposure."""
    stage = replace(_stage(), size_T=np.full(300, 0.5))
    model_T = majority_target(stage.target_TN)[100:]
    model = follow("model", 0.5 * model_T, stage)
    draws = list(random_paths(model_T, stage, 50, np.random.default_rng(7)))
    assert len({draw.net_T.sum() for draw in draws}) > 20
    for draw in draws:
        assert draw.position_T.sum() == pytest.approx(model.position_T.sum())
        # the seam and the entry from flat: two changes of at most two halves
        assert abs(draw.cost_T.sum() - model.cost_T.sum()) <= 2.0 * COST + 1e-12
    again = list(random_paths(model_T, stage, 50, np.random.default_rng(7)))
    np.testing.assert_array_equal(draws[3].position_T, again[3].position_T)


def _mixture_as_published(score_TN: NDArray[np.float64]) -> NDArray[np.float64]:
    bars, agents = score_TN.shape
    w, eta, s = np.full(agents, 1 / agents), np.full(agents, 0.25), np.zeros(agents)
    p, last, rows = np.full(agents, 1 / agents), np.zeros(agents), []
    for t in range(bars):
        m = p @ last - last
        p = eta * w * np.exp(eta * m)
        p = p / p.sum()
        rows.append(p)
        loss = -score_TN[t] / 24
        r = p @ loss - loss
        s = s + (r - m) ** 2
        new = np.minimum(0.25, np.sqrt(np.log(agents) / (1 + s)))
        w = (w * np.exp(eta * r - eta**2 * (r - m) ** 2)) ** (new / eta)
        eta, last = new, loss
    return np.array(rows)


def test_mixture_equals_the_published_steps() -> None:
    """Log weights give what the published recursion in plain weights gives."""
    scores = np.random.default_rng(3).standard_normal((400, 5))
    np.testing.assert_allclose(mixture_weights(scores), _mixture_as_published(scores), rtol=1e-9)


def test_mixture_finds_the_good_agent() -> None:
    """Weights stay on the simplex for 20,000 bars and go to an agent that always earns more."""
    scores = np.random.default_rng(4).standard_normal((20_000, 5))
    scores[:, 3] += 0.5
    weight_TN = mixture_weights(scores)
    np.testing.assert_allclose(weight_TN.sum(axis=1), 1.0, atol=1e-12)
    assert weight_TN[0].tolist() == pytest.approx([0.2] * 5)
    assert weight_TN[-1, 3] > 0.99
    assert (mixture_weights(scores[:10, :1]) == 1.0).all()


def test_agents_own_returns() -> None:
    """An agent's own account pays for each change of its target."""
    stage = replace(_stage(), target_TN=np.tile([[1.0, 0.0, -1.0, 0.5]], (300, 1)))
    own_TN = agent_returns(stage)
    assert own_TN[0, 2] == pytest.approx(-stage.return_T[0] - COST)
    np.testing.assert_allclose(own_TN[1:, 3], 0.5 * stage.return_T[1:])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"training_bars": 299}, "training bars"),
        ({"return_T": np.full(300, -1.0)}, "above -1"),
        ({"target_TN": np.full((300, 4), 1.5)}, "targets must lie"),
        ({"target_TN": np.zeros((300, 3))}, "targets"),
        ({"size_T": np.full(300, np.nan)}, "sizes must be"),
        ({"size_T": np.ones(299)}, "one value a bar"),
        ({"deviation_T": np.zeros(300)}, "deviations must"),
        ({"cost_frac_T": np.full(300, 1.0)}, "costs must"),
    ],
)
def test_bad_stage_is_refused(change: dict[str, object], reason: str) -> None:
    """A stage whose arrays do not fit says which."""
    with pytest.raises(StageError, match=reason):
        replace(_stage(), **change)  # type: ignore[arg-type]  # the point is the wrong values


def test_bad_scores_are_refused() -> None:
    """A score that is no number would silently own all later weights."""
    with pytest.raises(ValueError, match="finite"):
        mixture_weights(np.array([[0.0, np.nan]]))
    with pytest.raises(StageError, match="positions for"):
        follow("short", np.zeros(3), _stage())
    with pytest.raises(StageError, match="targets for"):
        next(random_paths(np.zeros(3), _stage(), 1, np.random.default_rng(0)))
