"""The meta-learner over a whole history as one compiled loop: what it would have followed, and why.

Bar by bar the same kernels as ``strategy.meta_learner.MetaLearner`` in the same order: accounts are
marked, the chain learns from the bar that closed, the scale moves on, weights are formed, and what
everybody wants is booked. A test holds both to the same bits. Row t of every array belongs to the
decision at the close of bar t.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from config.settings import MetaLearningSettings
from kernels.events import REGIMES
from kernels.jit import borrow, njit
from strategy.chain import ChainShape, MetaChain
from strategy.chain_memory import (
    ACTIVE_MIN,
    KAPPA,
    LOG_WEALTH,
    ChainMemory,
    open_memory,
    yearly_root,
)
from strategy.chain_steps import weigh_step
from strategy.controllers import CONTROLLER_NAMES
from strategy.ensemble import combine_step
from strategy.experts import RETURN_CLIP
from strategy.learner_steps import close_step, gather_step
from strategy.meta_learner import NO_SCORE, YEAR_NS
from strategy.mixture import mix_weights
from strategy.quality import calibration_factor
from strategy.residual_model import (
    ResidualModel,
    ResidualNet,
    no_net,
    remember_step,
    residual_step,
)
from strategy.shadow_accounts import INTERVAL, NUMBERS, book_step, mark_step, scale_of

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Heard:
    """What market and models say at every close, T rows.

    ``posterior_TK`` is the filter's, ``regime_TK`` what the model made of it; ``predicted_TA`` in
    Sharpe units; ``action_TA`` in {0, 1, 2}, -1 where an agent is not healthy; ``may_ask_TA``
    False: neither weight nor position for that agent. ``gain_T`` is the forecast's promise in
    deviations of a bar. Bars as in ``strategy.learning.bar_history.History``.
    """

    close_T: Floats
    bars_M3: Floats
    bar_end_T: Ints
    posterior_TK: Floats
    regime_TK: NDArray[np.float32]
    predicted_TA: NDArray[np.float32]
    action_TA: Ints
    confidence_TA: NDArray[np.float32]
    may_ask_TA: Flags
    gain_T: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Followed:
    """Weights (T, N) and their reasons; experts N are the agents, then the controllers.

    ``exposure_T`` in [-1, 1] is the sum of weighted votes, before trust and size. ``share_TJ`` is
    each candidate's share of wealth, ``skill_TN`` what an expert is believed to earn in the coming
    bar, ``paid_TN`` what it did earn in the bar that closed, clipped, both in deviations of a bar;
    ``scale_T`` that deviation as known at the close, ``calibration_T`` what is left of the size by
    how well it foretells returns. ``is_learned_T``: ``paid_TN`` was learned from. ``log_wealth_T``
    is the mixture's own, ``log_wealth_J`` the candidates' at the end, prior included;
    ``beyond_clip`` what was cut, in deviations.
    """

    names: tuple[str, ...]
    candidate_names: tuple[str, ...]
    weight_TN: Floats
    action_TN: Ints
    share_TJ: Floats
    skill_TN: Floats
    paid_TN: Floats
    is_learned_T: Flags
    exposure_T: Floats
    disagreement_T: Floats
    confidence_T: Floats
    calibration_T: Floats
    scale_T: Floats
    log_wealth_T: Floats
    log_wealth_J: Floats
    beyond_clip: float
    kappa: float


class Rows(NamedTuple):
    """What a walk writes, T rows each; the seven numbers are as ``Followed`` takes them apart."""

    weight_TN: Floats
    action_TN: Ints
    share_TJ: Floats
    skill_TN: Floats
    paid_TN: Floats
    numbers_T7: Floats


def follow_experts(
    heard: Heard,
    agent_names: tuple[str, ...],
    meta: MetaLearningSettings,
    *,
    bar_ns: int,
    cost_frac_T: Floats,
    residual: ResidualModel | None = None,
) -> Followed:
    """Walk a fresh meta-learner through all rows; ``cost_frac_T`` is paid per unit that changes.

    Raises ValueError for bars too long and caps that leave no weights, as the live one does.
    """
    names = (*agent_names, *CONTROLLER_NAMES)
    if residual is not None:
        residual.check(len(names), len(REGIMES))
    chain = MetaChain(
        ChainShape(
            agent_names=names,
            regime_count=len(REGIMES),
            year_bars=YEAR_NS / bar_ns,
            weight_cap=meta.max_agent_weight,
            active_min=meta.min_diversification_agents,
            temperature=meta.weight_temperature,
        )
    )
    bars, experts, memory = len(heard.close_T), len(names), chain.memory
    weight_TN, skill_TN, paid_TN = (np.zeros((bars, experts)) for _ in range(3))
    action_TN = np.empty((bars, experts), np.int64)
    share_TJ = np.zeros((bars, len(memory.log_wealth_J)))
    numbers_T7 = np.zeros((bars, 7))
    _walk(
        chain.row,
        no_net() if residual is None else residual.net(YEAR_NS / bar_ns),
        heard.close_T,
        heard.bars_M3,
        heard.bar_end_T,
        heard.posterior_TK,
        heard.regime_TK,
        heard.predicted_TA,
        heard.action_TA,
        heard.confidence_TA,
        heard.may_ask_TA,
        heard.gain_T,
        meta.performance_prediction_enabled,
        cost_frac_T,
        Rows(weight_TN, action_TN, share_TJ, skill_TN, paid_TN, numbers_T7),
    )
    return Followed(
        names=names,
        candidate_names=chain.shape.candidate_names,
        weight_TN=weight_TN,
        action_TN=action_TN,
        share_TJ=share_TJ,
        skill_TN=skill_TN,
        paid_TN=paid_TN,
        is_learned_T=numbers_T7[:, 5] > 0.0,
        exposure_T=numbers_T7[:, 0],
        disagreement_T=numbers_T7[:, 1],
        confidence_T=numbers_T7[:, 2],
        calibration_T=numbers_T7[:, 6],
        scale_T=numbers_T7[:, 3],
        log_wealth_T=numbers_T7[:, 4],
        log_wealth_J=memory.log_wealth_J,
        beyond_clip=chain.beyond_clip,
        kappa=float(memory.constants[KAPPA]),
    )


@njit
def _walk(
    row: Floats,
    net: ResidualNet,
    close_T: Floats,
    bars_M3: Floats,
    bar_end_T: Ints,
    posterior_TK: Floats,
    regime_TK: NDArray[np.float32],
    predicted_TA: NDArray[np.float32],
    action_TA: Ints,
    confidence_TA: NDArray[np.float32],
    may_ask_TA: Flags,
    gain_T: Floats,
    is_scored: bool,
    cost_frac_T: Floats,
    out: Rows,
) -> None:
    weight_TN, action_TN, share_TJ = borrow(out.weight_TN), borrow(out.action_TN), out.share_TJ
    skill_TN, paid_TN, numbers_T7 = borrow(out.skill_TN), borrow(out.paid_TN), out.numbers_T7
    count, agents, regimes = weight_TN.shape[1], action_TA.shape[1], posterior_TK.shape[1]
    numbers, earned_N, position_N = np.zeros(NUMBERS), np.zeros(count), np.zeros(count, np.int64)
    score_N, awake_N, seen_K = np.full(count, NO_SCORE), np.zeros(count, np.bool_), np.ones(regimes)
    confidence_N, begin, is_feasible = np.ones(count, np.float32), 0, False
    memory = open_memory(borrow(row))
    active_min, yearly = int(memory.constants[ACTIVE_MIN]), yearly_root(memory.constants)
    history = np.zeros(1 + count * (net.decay_L.shape[0] + 1))
    residual_A, asked_A = np.zeros(agents), np.empty(agents)
    for t in range(close_T.shape[0]):
        mark_step(numbers, earned_N, position_N, close_T[t])
        closed_M, begin = bars_M3[begin : bar_end_T[t], 0], bar_end_T[t]
        is_new = len(closed_M) > 0
        is_followed = memory.followed_J.max() > 0.0
        if close_step(memory, numbers, earned_N, position_N, closed_M, paid_TN[t]):
            numbers_T7[t, 5] = is_followed
            remember_step(net, history, paid_TN[t])
            paid_TN[t] = np.minimum(np.maximum(paid_TN[t], -RETURN_CLIP), RETURN_CLIP)
        if is_new or t == 0:
            residual_step(net, history, posterior_TK[t], residual_A)
        asked_A[:] = predicted_TA[t] + residual_A
        is_changed, awake_agents = gather_step(
            regime_TK[t],
            asked_A,
            may_ask_TA[t],
            is_scored,
            posterior_TK[t],
            seen_K,
            score_N,
            awake_N,
        )
        if is_new or is_changed:
            is_feasible = weigh_step(memory, seen_K, score_N, awake_N, skill_TN[t])
            history[history.shape[0] - count :] = skill_TN[t] * yearly
        elif t > 0:
            skill_TN[t] = skill_TN[t - 1]
        book_step(
            numbers,
            earned_N,
            position_N,
            action_TA[t],
            may_ask_TA[t],
            gain_T[t],
            cost_frac_T[t],
            action_TN[t],
        )
        numbers_T7[t, 1] = 1.0
        if is_feasible and awake_agents >= active_min:
            confidence_N[:agents] = confidence_TA[t]
            _vote(memory, action_TN[t], confidence_N, agents, weight_TN[t], numbers_T7[t])
            share_TJ[t] = memory.share_J
        _tell(memory, numbers, numbers_T7[t])


@njit
def _tell(memory: ChainMemory, numbers: Floats, told_7: Floats) -> None:
    """Write the scale, the mixture's wealth and what is left of the size."""
    told_7[3], told_7[4] = scale_of(numbers), memory.numbers_5[LOG_WEALTH]
    told_7[6] = calibration_factor(numbers[INTERVAL:])


@njit
def _vote(
    memory: ChainMemory,
    action_N: Ints,
    confidence_N: NDArray[np.float32],
    agents: int,
    weight_N: Floats,
    told_7: Floats,
) -> None:
    """Write the weights in force and what the votes add up to under them."""
    mix_weights(memory.share_J, memory.played_JN, weight_N)
    _, mean, spread, sure = combine_step(action_N, weight_N, confidence_N, agents)
    told_7[0], told_7[1], told_7[2] = mean, min(spread, 1.0), sure
