"""What a small network knows of the agents' coming returns beyond the Kalman filter.

It learns the residual: the mean return of an agent over the coming window less what the filter
believed. One trunk is shared by all agents, told apart by a learned code; several members are
trained on blocks drawn with replacement, and their mean is shrunk by the slope that out-of-fold
predictions had. No skill out of fold: slope 0, and nothing is added to the filter's word.

Inputs of a row, known when its bar has closed: exponential means of the agent's own returns at
``history_count`` half-lives in units of what noise gives, the regime posterior, and the filter's
belief. Nothing that an agent's target is made of is among them: targets lie after the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from strategy.residual_model import (
    ResidualModel,
    ResidualNet,
    history_size,
    no_net,
    remember_step,
    write_inputs,
)

Floats = NDArray[np.float64]

HIDDEN, CODE, MEMBERS, FOLDS = 8, 4, 5, 4
BLOCK_BARS = 168
WEIGHT_DECAY, LEARNING_RATE = 1e-2, 3e-3
ROWS_MIN = 400


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShadowLog:
    """What was learned from, T bars: the posterior after each (T, K), the experts' returns in
    deviations of a bar (T, N), and the annual Sharpe ratio that was believed before it (T, N).
    """

    posterior_TK: Floats
    return_TN: Floats
    belief_TN: Floats

    def __post_init__(self) -> None:
        """Refuse rows that do not match and numbers that are not finite; ValueError."""
        bars = len(self.return_TN)
        if len(self.posterior_TK) != bars or self.belief_TN.shape != self.return_TN.shape:
            raise ValueError("posteriors, returns and beliefs are not of the same bars")
        for rows in (self.posterior_TK, self.return_TN, self.belief_TN):
            if not bool(np.isfinite(rows).all()):
                raise ValueError("the shadow log holds a number that is not finite")


def half_lives(history_count: int, window_bars: int) -> Floats:
    """Return so many half-lives from 2 bars to twice the window."""
    return np.geomspace(2.0, max(2.0 * window_bars, 4.0), history_count)


class _Members(nn.Module):
    """All members at once: they share nothing but the code that runs them."""

    def __init__(self, inputs: int, experts: int, generator: torch.Generator) -> None:
        super().__init__()
        scale = inputs**-0.5
        self.into = nn.Parameter(scale * torch.randn(MEMBERS, HIDDEN, inputs, generator=generator))
        self.code = nn.Parameter(0.1 * torch.randn(MEMBERS, experts, CODE, generator=generator))
        self.lift = nn.Parameter(0.5 * torch.randn(MEMBERS, HIDDEN, CODE, generator=generator))
        self.out = nn.Parameter(torch.zeros(MEMBERS, HIDDEN))
        self.bias = nn.Parameter(torch.zeros(MEMBERS))

    def forward(self, input_BNF: Tensor) -> Tensor:
        """Map (B, N, F) to (B, N) of every member, (M, B, N)."""
        code_MNH = torch.einsum("mnc,mhc->mnh", self.code, self.lift)
        hidden = torch.tanh(
            torch.einsum("bnf,mhf->mbnh", input_BNF, self.into) + code_MNH.unsqueeze(1)
        )
        return torch.einsum("mbnh,mh->mbn", hidden, self.out) + self.bias[:, None, None]


def inputs_of(log: ShadowLog, half_life_H: Floats) -> Floats:
    """Return the rows (T, N, F) that are known when each bar has closed, as live ones are made."""
    bars, experts = log.return_TN.shape
    net: ResidualNet = no_net()._replace(decay_L=0.5 ** (1.0 / half_life_H))
    history = np.zeros(history_size(net, experts))
    rows_TNF = np.empty((bars, experts, len(half_life_H) + log.posterior_TK.shape[1] + 1))
    posterior_TK = np.ascontiguousarray(log.posterior_TK, np.float64)
    for t in range(bars):
        remember_step(net, history, log.return_TN[t])
        history[-experts:] = log.belief_TN[t]
        for n in range(experts):
            write_inputs(net, history, posterior_TK[t], n, rows_TNF[t, n])
    return rows_TNF


def targets_of(log: ShadowLog, window_bars: int, year_bars: float) -> Floats:
    """Return residuals (T - window, N) in units of the window's noise."""
    ahead_TN = np.cumsum(np.vstack((np.zeros(log.return_TN.shape[1]), log.return_TN)), axis=0)
    mean_TN = (ahead_TN[window_bars + 1 :] - ahead_TN[1:-window_bars]) / window_bars
    believed_TN = log.belief_TN[: len(mean_TN)] / np.sqrt(year_bars)
    return np.asarray((mean_TN - believed_TN) * np.sqrt(window_bars))


def fit_residuals(
    logs: ShadowLog | Sequence[ShadowLog],
    *,
    year_bars: float,
    window_bars: int,
    history_count: int,
    batch_size: int,
    epochs: int,
    seed: int,
    rows_min: int = ROWS_MIN,
) -> ResidualModel:
    """Fit on one log or several that follow each other; ValueError for too few bars.

    A pure function of its arguments. No row's target reaches into another log.
    """
    half_life_H = half_lives(history_count, window_bars)
    targets, inputs = [], []
    for log in [logs] if isinstance(logs, ShadowLog) else logs:
        if len(log.return_TN) > window_bars:
            targets.append(targets_of(log, window_bars, year_bars))
            inputs.append(inputs_of(log, half_life_H)[: len(targets[-1])])
    rows = sum(map(len, targets))
    if rows < rows_min:
        raise ValueError(f"{rows} rows to learn from, wanted {rows_min}")
    target_TN, row_TNF = np.concatenate(targets), np.concatenate(inputs)
    guess_TN = np.zeros_like(target_TN)
    for fold, held_out in enumerate(np.array_split(np.arange(len(target_TN)), FOLDS)):
        far = np.ones(len(target_TN), np.bool_)
        far[max(held_out[0] - window_bars, 0) : held_out[-1] + window_bars + 1] = False
        net = _train(row_TNF[far], target_TN[far], batch_size, epochs, seed + fold + 1)
        guess_TN[held_out] = _answers(net, row_TNF[held_out])
    square = float((guess_TN**2).sum())
    slope = min(max(float((guess_TN * target_TN).sum()) / square, 0.0), 1.0) if square else 0.0
    spread = float(guess_TN.std() * target_TN.std())
    correlation = float(np.corrcoef(guess_TN.ravel(), target_TN.ravel())[0, 1]) if spread else 0.0
    net = _train(row_TNF, target_TN, batch_size, epochs, seed)
    with torch.no_grad():
        code_MNH = torch.einsum("mnc,mhc->mnh", net.code, net.lift)
    return ResidualModel(
        into_MHF=_array(net.into),
        code_MNH=_array(code_MNH),
        out_MH=_array(net.out),
        bias_M=_array(net.bias),
        half_life_H=half_life_H,
        window_bars=window_bars,
        slope=slope,
        oof_correlation=correlation,
    )


def _train(row_TNF: Floats, target_TN: Floats, batch_size: int, epochs: int, seed: int) -> _Members:
    """Train all members, each on blocks of a week drawn with replacement."""
    generator = torch.Generator().manual_seed(seed)
    draws = np.random.default_rng(seed)
    net = _Members(row_TNF.shape[2], row_TNF.shape[1], generator)
    rows, targets = (torch.from_numpy(each.astype(np.float32)) for each in (row_TNF, target_TN))
    blocks = np.array_split(np.arange(len(rows)), max(1, len(rows) // BLOCK_BARS))
    weight_MT = torch.zeros(MEMBERS, len(rows))
    for member in range(MEMBERS):
        for chosen in draws.integers(0, len(blocks), len(blocks)):
            weight_MT[member, blocks[int(chosen)]] += 1.0
    optimiser = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for _ in range(epochs):
        order = torch.randperm(len(rows), generator=generator)
        for picked in torch.split(order, batch_size):
            error_MBN = (net(rows[picked]) - targets[picked]) ** 2
            loss = (error_MBN.mean(dim=2) * weight_MT[:, picked]).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return net


def _answers(net: _Members, row_TNF: Floats) -> Floats:
    with torch.no_grad():
        answer_MTN = net(torch.from_numpy(row_TNF.astype(np.float32)))
    return np.asarray(answer_MTN.mean(dim=0).numpy(), np.float64)


def _array(parameter: Tensor) -> Floats:
    return np.asarray(parameter.detach().numpy(), np.float64)
