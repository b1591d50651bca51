"""Make untrained networks use their whole range: every action, every regime now and then.

An untrained network prefers one output almost always. Shifting the output biases until each output
is the top one equally often over a sample of observations removes that, so that a demonstration
exercises every path. It teaches the networks nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from strategy.agents.d3qn import D3qn
from strategy.agents.double_dqn import DoubleDqn
from strategy.agents.dueling import ACTION_COUNT
from strategy.agents.ppo import Ppo
from strategy.agents.rainbow import ATOM_COUNT, RETURN_MAX, Rainbow
from strategy.agents.twin_d3qn import TwinD3qn
from strategy.predictor import PerformancePredictor
from strategy.regimes import MarketRegimeClassifier

STEPS = 200
SHARE_TOLERANCE = 0.01
BIAS_DECIMALS = 4
"""Calibrated numbers are rounded, so that the last bits of one processor stay out of the hash."""

PREDICTION_SPREAD = 0.3
"""Standard deviation given to the predictions, in Sharpe units: weights differ, few at the cap."""

TEMPERATURE_MIN = 1e-3


@torch.no_grad()
def calibrate_agents(agents: Sequence[nn.Module], inputs: Sequence[Tensor]) -> Tensor:
    """Balance the actions of standard agents in place; return a temperature for every agent.

    ``inputs`` holds what each agent sees, (B, F + 3). The temperature is the spread of an agent's
    preferences over the sample, so that confidences are comparable. Agents of other
    classes keep their biases.
    """
    temperatures = []
    for agent, input_BF in zip(agents, inputs, strict=True):
        shift = _shifter(agent)
        if shift is not None:
            _balance(partial(agent, input_BF), shift)
        temperatures.append(max(_spread(agent(input_BF)), TEMPERATURE_MIN))
    return torch.tensor(temperatures).round(decimals=BIAS_DECIMALS)


@torch.no_grad()
def silence_regimes(regimes: MarketRegimeClassifier) -> None:
    """Let the classifier repeat the filter's posterior: its correction is zero, in place."""
    regimes.out.weight.zero_()
    regimes.out.bias.zero_()


@torch.no_grad()
def calibrate_predictor(predictor: PerformancePredictor, obs_BF: Tensor, regime_BK: Tensor) -> None:
    """Give the predictions mean zero and a modest spread, in place."""
    predictor.out.weight.mul_(
        round(PREDICTION_SPREAD / float(predictor(obs_BF, regime_BK).std()), BIAS_DECIMALS)
    )
    predictor.out.bias.sub_(predictor(obs_BF, regime_BK).mean())
    predictor.out.bias.copy_(predictor.out.bias.round(decimals=BIAS_DECIMALS))


def top_shares(preference_BN: Tensor) -> NDArray[np.float64]:
    """Return how often each column is the largest of its row; sums to 1."""
    count = preference_BN.size(1)
    tops = np.bincount(preference_BN.argmax(dim=1).numpy(), minlength=count)
    return np.asarray(tops / len(preference_BN), dtype=np.float64)


def _spread(preference_BN: Tensor) -> float:
    """Standard deviation of the preferences around their row's mean."""
    return float((preference_BN - preference_BN.mean(dim=1, keepdim=True)).std())


def _balance(preferences: Callable[[], Tensor], shift: Callable[[Tensor], None]) -> None:
    """Shift the outputs until each is on top equally often, within SHARE_TOLERANCE if reachable."""
    rate = 2.0
    for _ in range(STEPS):
        preference_BN = preferences()
        excess_N = top_shares(preference_BN) - 1.0 / preference_BN.size(1)
        if float(np.abs(excess_N).max()) <= SHARE_TOLERANCE:
            return
        step_N = torch.from_numpy(-rate * _spread(preference_BN) * excess_N).float()
        shift(step_N - step_N.mean())
        rate *= 0.98


def _shifter(agent: nn.Module) -> Callable[[Tensor], None] | None:
    """Return what moves an agent's preferences by about the given amounts, or None."""
    if isinstance(agent, D3qn):
        return _adder(agent.critic.advantage_out.bias)
    if isinstance(agent, TwinD3qn):
        return _adder(agent.critic_a.advantage_out.bias, agent.critic_b.advantage_out.bias)
    if isinstance(agent, DoubleDqn):
        return _adder(agent.out.bias)
    if isinstance(agent, Ppo):
        return _adder(agent.actor.out.bias)
    if isinstance(agent, Rainbow):
        return _tilter(agent)
    return None


def _adder(*biases: Tensor) -> Callable[[Tensor], None]:
    def shift(step_N: Tensor) -> None:
        for bias in biases:
            bias.copy_((bias + step_N).round(decimals=BIAS_DECIMALS))

    return shift


def _tilter(rainbow: Rainbow) -> Callable[[Tensor], None]:
    """Tilt the atoms of each action: more weight on high returns raises its expectation."""
    bias = rainbow.advantage_out.bias_mean

    def shift(step_3: Tensor) -> None:
        tilt_3Z = step_3.unsqueeze(1) * (rainbow.support_Z / RETURN_MAX)
        tilted_3Z = bias.view(ACTION_COUNT, ATOM_COUNT) + tilt_3Z
        bias.copy_(tilted_3Z.reshape(-1).round(decimals=BIAS_DECIMALS))

    return shift
