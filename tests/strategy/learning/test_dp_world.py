"""The exactly solved world: its solution against the published figures and against brute force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from strategy.learning.dp_world import (
    STRONG,
    WEAK,
    draw_path,
    draw_signal,
    grid,
    score,
    solve,
)


def follow_the_sign(x_T: np.ndarray) -> np.ndarray:
    """Return the policy that holds the sign of the signal, whatever it holds."""
    return np.repeat(np.where(x_T > 0.0, 2, 0)[:, None], 3, axis=1).astype(np.int64)


def test_the_grid_is_a_chain() -> None:
    """Rows sum to 1, and the chain's own mean and persistence are those of the signal."""
    x_N, move_NN = grid(STRONG)
    np.testing.assert_allclose(move_NN.sum(axis=1), 1.0, atol=1e-12)
    centre = len(x_N) // 2
    assert x_N[centre] == pytest.approx(0.0, abs=1e-12)
    following = move_NN @ x_N
    np.testing.assert_allclose(following[10:31], 0.97 * x_N[10:31], atol=0.02)


def test_no_policy_beats_the_solution() -> None:
    """One changed entry of the table, wherever it is, never earns more by the Bellman equation."""
    world = replace(STRONG, discount=0.9)
    best_NP = solve(world)
    x_N, move_NN = grid(world)

    def value(policy_NP: np.ndarray) -> np.ndarray:
        states, size = len(x_N), len(x_N) * 3
        move, reward = np.zeros((size, size)), np.zeros(size)
        for n in range(states):
            for held in range(3):
                action = policy_NP[n, held]
                reward[n * 3 + held] = (action - 1) * world.signal * x_N[n] - world.cost * abs(
                    action - held
                )
                move[n * 3 + held, action::3] = move_NN[n]
        return np.linalg.solve(np.eye(size) - world.discount * move, reward)

    best = value(best_NP)
    generator = np.random.default_rng(5)
    for _ in range(30):
        other_NP = best_NP.copy()
        place = generator.integers(0, len(x_N)), generator.integers(0, 3)
        other_NP[place] = (other_NP[place] + generator.integers(1, 3)) % 3
        assert (value(other_NP) <= best + 1e-12).all()


def test_published_figures_come_out() -> None:
    """At 0.97, 5 bp, 5 bp the optimum earns 3.74 bp a bar, the sign 3.31; free costs make it 1."""
    x_T = draw_signal(STRONG, 200_000, np.random.default_rng(3))
    x_N, _ = grid(STRONG)
    nearest_T = np.abs(x_T[:, None] - x_N[None, :]).argmin(axis=1)
    assert score(STRONG, solve(STRONG)[nearest_T], x_T) == pytest.approx(1.0)
    assert score(STRONG, follow_the_sign(x_T), x_T) == pytest.approx(3.31 / 3.74, abs=0.03)
    free = replace(STRONG, cost=0.0)
    assert score(free, follow_the_sign(x_T), x_T) == pytest.approx(1.0, abs=0.01)


def test_staying_flat_earns_nothing() -> None:
    """Zero is the score of doing nothing."""
    x_T = draw_signal(WEAK, 1_000, np.random.default_rng(1))
    assert score(WEAK, np.ones((1_000, 3), np.int64), x_T) == 0.0


def test_a_path_is_what_it_says() -> None:
    """The signal has its persistence and its information coefficient; rows hold it first."""
    path = draw_path(STRONG, 100_000, np.random.default_rng(7))
    x_T = path.rows_TF[:, 0].astype(np.float64)
    assert float(np.corrcoef(x_T[1:], x_T[:-1])[0, 1]) == pytest.approx(0.97, abs=0.01)
    found = float(np.corrcoef(x_T, path.return_T)[0, 1])
    assert found == pytest.approx(STRONG.information_coefficient, abs=0.015)
    assert path.rows_TF.shape == (100_000, 5)
    assert path.cost_T[0] == pytest.approx(5e-4 / 6e-3)
