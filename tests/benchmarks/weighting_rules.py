"""Rules that the meta-learner is held against, as weights (T, N) known before each bar."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.jit import borrow, njit
from strategy.chain import ChainShape, MetaChain
from strategy.chain_memory import ADAHEDGE, KALMAN, open_memory
from strategy.chain_steps import learn_step, weigh_step
from strategy.ensemble import project_box_simplex
from strategy.evaluation.optimistic_mixture import mixture_weights
from strategy.kalman import SkillPrior
from strategy.mixture import mix_weights

Floats = NDArray[np.float64]

ROLL_BARS, ROLL_BARS_MIN, TEMPERATURE = 50, 20, 0.5
"""The specification's rule: softmax at this temperature of the Sharpe ratio of so many bars."""


def specified(return_TN: Floats, year_bars: float) -> Floats:
    """Return the specification's own rule: softmax of each agent's rolling annual Sharpe ratio."""
    bars, count = return_TN.shape
    sum_TN = np.vstack((np.zeros(count), np.cumsum(return_TN, axis=0)))
    square_TN = np.vstack((np.zeros(count), np.cumsum(return_TN**2, axis=0)))
    end_T = np.arange(bars)
    begin_T = np.maximum(end_T - ROLL_BARS, 0)
    seen_T1 = np.maximum(end_T - begin_T, 1)[:, None]
    mean_TN = (sum_TN[end_T] - sum_TN[begin_T]) / seen_T1
    spread_TN = (square_TN[end_T] - square_TN[begin_T]) / seen_T1 - mean_TN**2
    sharpe_TN = mean_TN / np.sqrt(np.maximum(spread_TN, 1e-12)) * np.sqrt(year_bars)
    power_TN = np.exp((sharpe_TN - sharpe_TN.max(axis=1, keepdims=True)) / TEMPERATURE)
    weight_TN = power_TN / power_TN.sum(axis=1, keepdims=True)
    weight_TN[:ROLL_BARS_MIN] = 1.0 / count
    return np.asarray(weight_TN)


def optimistic(return_TN: Floats) -> Floats:
    """Return OAMP's weights."""
    return mixture_weights(return_TN)


@njit
def capped(weight_TN: Floats, cap: float) -> Floats:
    """Return every row projected under a cap."""
    out_TN = np.empty_like(weight_TN)
    floor_N = np.zeros(weight_TN.shape[1])
    for t in range(weight_TN.shape[0]):
        project_box_simplex(weight_TN[t], floor_N, cap, out_TN[t])
    return out_TN


def chain_weights(
    posterior_TK: Floats, return_TN: Floats, year_bars: float, cap: float
) -> dict[str, Floats]:
    """Play the whole chain; return its own weights, its Kalman's and its AdaHedge's, under a cap.

    Nobody predicts here: the ``scores`` candidate is equal weight.
    """
    bars, count = return_TN.shape
    chain = MetaChain(
        ChainShape(
            agent_names=tuple(f"agent_{i}" for i in range(count)),
            regime_count=posterior_TK.shape[1],
            year_bars=year_bars,
            weight_cap=cap,
            active_min=0,
        ),
        SkillPrior(year_bars=year_bars),
    )
    safe_TN, kalman_TN, adahedge_TN = (np.empty((bars, count)) for _ in range(3))
    _play(chain.row, np.ascontiguousarray(posterior_TK), return_TN, safe_TN, kalman_TN, adahedge_TN)
    return {"safe": safe_TN, "kalman": kalman_TN, "adahedge": adahedge_TN}


@njit
def _play(
    row: Floats,
    posterior_TK: Floats,
    return_TN: Floats,
    safe_TN: Floats,
    kalman_TN: Floats,
    adahedge_TN: Floats,
) -> None:
    """Weigh and learn bar by bar; a cap of 1 / N or more always leaves weights."""
    count, memory = return_TN.shape[1], open_memory(borrow(row))
    score_N, awake_N, skill_N = np.zeros(count), np.ones(count, np.bool_), np.empty(count)
    for t in range(return_TN.shape[0]):
        weigh_step(memory, posterior_TK[t], score_N, awake_N, skill_N)
        mix_weights(memory.share_J, memory.played_JN, safe_TN[t])
        kalman_TN[t], adahedge_TN[t] = memory.played_JN[KALMAN], memory.played_JN[ADAHEDGE]
        learn_step(memory, return_TN[t])
