"""A trading problem small enough to be solved exactly, so that a score has a known 1.

A signal x (AR(1), standard normal) drives returns; positions are short, flat, long; a change costs.

    x' = rho x + sqrt(1 - rho^2) e      r = s x + v n      reward = (a - 1) r - c |a - p|

The exact policy comes from value iteration on a Tauchen grid of x (Tauchen 1986). Agents see x and
d columns of pure noise, and their own position.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit
from strategy.learning.transitions import MarketPath

Floats = NDArray[np.float64]

GRID_COUNT = 41
GRID_MAX = 3.5
ITERATIONS_MAX = 100_000
CONVERGED = 1e-12
POSITIONS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class DpWorld:
    """The constants of one world: persistence, signal, noise, cost of one unit, discount.

    ``signal`` and ``noise`` are returns per bar for one standard deviation, ``cost`` is a return
    for each unit of position changed; ``noise_columns`` are seen beside x and mean nothing.
    """

    persistence: float
    signal: float
    noise: float
    cost: float
    discount: float
    noise_columns: int

    @property
    def information_coefficient(self) -> float:
        """Correlation of signal and return."""
        return self.signal / math.hypot(self.signal, self.noise)


STRONG = DpWorld(
    persistence=0.97, signal=5e-4, noise=6e-3, cost=5e-4, discount=0.99, noise_columns=4
)
WEAK = DpWorld(
    persistence=0.97, signal=1.5e-4, noise=6e-3, cost=2e-4, discount=0.99, noise_columns=16
)


def grid(world: DpWorld) -> tuple[Floats, Floats]:
    """Return the grid of x (N,) and its transition matrix (N, N); the ends take the tails."""
    x_N = np.linspace(-GRID_MAX, GRID_MAX, GRID_COUNT)
    half = 0.5 * (x_N[1] - x_N[0])
    spread = math.sqrt(1.0 - world.persistence**2)
    centre_N = world.persistence * x_N
    upper_NN = _normal_cdf((x_N + half - centre_N[:, None]) / spread)
    upper_NN[:, -1] = 1.0
    lower_NN = np.zeros_like(upper_NN)
    lower_NN[:, 1:] = upper_NN[:, :-1]
    move_NN = upper_NN - lower_NN
    return x_N, move_NN / move_NN.sum(axis=1, keepdims=True)


def solve(world: DpWorld) -> NDArray[np.int64]:
    """Return the best action (N, 3) for every grid point and position, by value iteration."""
    x_N, move_NN = grid(world)
    change_PA = np.abs(np.arange(POSITIONS)[:, None] - np.arange(POSITIONS)[None, :])
    earned_NA = (np.arange(POSITIONS) - 1)[None, :] * (world.signal * x_N)[:, None]
    reward_NPA = earned_NA[:, None, :] - world.cost * change_PA[None, :, :]
    value_NP = np.zeros((GRID_COUNT, POSITIONS))
    for _ in range(ITERATIONS_MAX):
        quality_NPA = reward_NPA + world.discount * (move_NN @ value_NP)[:, None, :]
        best_NP = quality_NPA.max(axis=2)
        moved = float(np.abs(best_NP - value_NP).max())
        value_NP = best_NP
        if moved < CONVERGED:
            return np.asarray(quality_NPA.argmax(axis=2), np.int64)
    raise ArithmeticError(f"value iteration still moves by {moved:.3g}")


def draw_signal(world: DpWorld, bars: int, generator: np.random.Generator) -> Floats:
    """Return a stationary path of x (T,)."""
    noise_T = generator.normal(size=bars)
    return _autoregress(noise_T, world.persistence, math.sqrt(1.0 - world.persistence**2))


def draw_path(world: DpWorld, bars: int, generator: np.random.Generator) -> MarketPath:
    """Return a path to learn from: x and noise columns as seen, returns and costs over v."""
    x_T = draw_signal(world, bars, generator)
    return_T = world.signal * x_T + world.noise * generator.normal(size=bars)
    noise_TD = generator.normal(size=(bars, world.noise_columns))
    rows_TF = np.column_stack((x_T, noise_TD)).astype(np.float32)
    return MarketPath(
        rows_TF=rows_TF,
        return_T=return_T / world.noise,
        cost_T=np.full(bars, world.cost / world.noise),
    )


def score(world: DpWorld, action_TP: NDArray[np.int64], x_T: Floats) -> float:
    """Return a policy's expected reward over that of the exact policy on the same path.

    ``action_TP`` holds the action for every bar and own position; the walk starts flat. No return
    noise enters: the reward is its expectation given the true x.
    """
    table_NP = solve(world)
    x_N, _ = grid(world)
    nearest_T = np.abs(x_T[:, None] - x_N[None, :]).argmin(axis=1)
    best = _walk(table_NP[nearest_T], world.signal * x_T, world.cost)
    return float(_walk(action_TP, world.signal * x_T, world.cost) / best)


@njit
def _walk(action_TP: NDArray[np.int64], mean_T: Floats, cost: float) -> float:
    total = 0.0
    held = 1
    for t in range(mean_T.shape[0]):
        action = action_TP[t, held]
        total += (action - 1) * mean_T[t] - cost * abs(action - held)
        held = action
    return total


@njit
def _autoregress(noise_T: Floats, persistence: float, spread: float) -> Floats:
    x_T = np.empty(noise_T.shape[0])
    x = noise_T[0]
    for t in range(noise_T.shape[0]):
        x = persistence * x + spread * noise_T[t] if t else noise_T[0]
        x_T[t] = x
    return x_T


def _normal_cdf(z: Floats) -> Floats:
    cdf = np.vectorize(lambda value: 0.5 * math.erfc(-value / math.sqrt(2.0)))
    return np.asarray(cdf(z), np.float64)
