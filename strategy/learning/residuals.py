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

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from strategy.controllers import noise_scale

Floats = NDArray[np.float64]

HIDDEN, CODE, MEMBERS, FOLDS = 8, 4, 5, 4
BLOCK_BARS = 168
WEIGHT_DECAY, LEARNING_RATE = 1e-2, 3e-3
INPUT_CLIP = 5.0
PREFIX = "residual."
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


class Histories:
    """Every expert's exponential means (N, H), a bar at a time."""

    def __init__(self, experts: int, half_life_H: Floats) -> None:
        """Start with nothing seen."""
        self._decay_H = 0.5 ** (1.0 / half_life_H)
        self._mean_NH = np.zeros((experts, len(half_life_H)))
        self._bars = 0

    def step(self, return_N: Floats) -> Floats:
        """Take one bar's returns; return the means in units of what noise gives, copied."""
        self._bars += 1
        kept_H = self._decay_H
        self._mean_NH *= kept_H
        self._mean_NH += (1.0 - kept_H) * return_N[:, None]
        noise_H = np.array([noise_scale(float(decay), float(self._bars)) for decay in kept_H])
        return np.asarray(np.clip(self._mean_NH / noise_H, -INPUT_CLIP, INPUT_CLIP))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ResidualModel:
    """The fitted members as arrays; ``slope`` in [0, 1], the rest as the module names them."""

    into_MHF: Floats
    code_MNH: Floats
    out_MH: Floats
    bias_M: Floats
    half_life_H: Floats
    window_bars: int
    slope: float
    oof_correlation: float

    def predict(self, input_NF: Floats, year_bars: float) -> Floats:
        """Return what to add to every expert's belief (N,), as annual Sharpe ratios."""
        if self.slope == 0.0:
            return np.zeros(len(input_NF))
        hidden_MNH = np.tanh(np.einsum("nf,mhf->mnh", input_NF, self.into_MHF) + self.code_MNH)
        unit_N = (np.einsum("mnh,mh->mn", hidden_MNH, self.out_MH) + self.bias_M[:, None]).mean(0)
        return np.asarray(self.slope * unit_N * np.sqrt(year_bars / self.window_bars))

    def to_tables(self) -> dict[str, Floats]:
        """Return the tables that hold this model."""
        numbers = np.array([self.window_bars, self.slope, self.oof_correlation], np.float64)
        return {
            f"{PREFIX}into": self.into_MHF,
            f"{PREFIX}code": self.code_MNH,
            f"{PREFIX}out": self.out_MH,
            f"{PREFIX}bias": self.bias_M,
            f"{PREFIX}half_lives": self.half_life_H,
            f"{PREFIX}numbers": numbers,
        }

    @classmethod
    def from_tables(cls, tables: Mapping[str, Floats]) -> ResidualModel | None:
        """Read tables; None where they hold no model; ValueError for broken ones."""
        if f"{PREFIX}into" not in tables:
            return None
        try:
            parts = {name: tables[f"{PREFIX}{name}"] for name in ("into", "code", "out", "bias")}
            window, slope, correlation = tables[f"{PREFIX}numbers"].tolist()
            half_life_H = tables[f"{PREFIX}half_lives"]
        except KeyError as error:
            raise ValueError(f"table {error} is missing") from error
        if not 0.0 <= slope <= 1.0 or not window >= 1.0:
            raise ValueError(f"residual numbers out of range: {window}, {slope}")
        return cls(
            into_MHF=parts["into"],
            code_MNH=parts["code"],
            out_MH=parts["out"],
            bias_M=parts["bias"],
            half_life_H=half_life_H,
            window_bars=int(window),
            slope=slope,
            oof_correlation=correlation,
        )


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
    """Return the rows (T, N, F) that are known when each bar has closed."""
    bars, experts = log.return_TN.shape
    histories = Histories(experts, half_life_H)
    rows_TNF = np.empty((bars, experts, len(half_life_H) + log.posterior_TK.shape[1] + 1))
    for t in range(bars):
        rows_TNF[t] = input_row(
            histories.step(log.return_TN[t]), log.posterior_TK[t], log.belief_TN[t]
        )
    return rows_TNF


def input_row(history_NH: Floats, posterior_K: Floats, belief_N: Floats) -> Floats:
    """Return one row (N, F): histories, posterior, belief over three Sharpe units."""
    experts = len(belief_N)
    return np.column_stack(
        (
            history_NH,
            np.broadcast_to(posterior_K, (experts, len(posterior_K))),
            np.clip(belief_N / 3.0, -INPUT_CLIP, INPUT_CLIP),
        )
    )


def targets_of(log: ShadowLog, window_bars: int, year_bars: float) -> Floats:
    """Return residuals (T - window, N) in units of the window's noise."""
    ahead_TN = np.cumsum(np.vstack((np.zeros(log.return_TN.shape[1]), log.return_TN)), axis=0)
    mean_TN = (ahead_TN[window_bars + 1 :] - ahead_TN[1:-window_bars]) / window_bars
    believed_TN = log.belief_TN[: len(mean_TN)] / np.sqrt(year_bars)
    return np.asarray((mean_TN - believed_TN) * np.sqrt(window_bars))


def fit_residuals(
    log: ShadowLog,
    *,
    year_bars: float,
    window_bars: int,
    history_count: int,
    batch_size: int,
    epochs: int,
    seed: int,
) -> ResidualModel:
    """Fit on the log; ValueError for too few bars. A pure function of its arguments."""
    half_life_H = half_lives(history_count, window_bars)
    target_TN = targets_of(log, window_bars, year_bars)
    if len(target_TN) < ROWS_MIN:
        raise ValueError(f"{len(target_TN)} rows to learn from, wanted {ROWS_MIN}")
    row_TNF = inputs_of(log, half_life_H)[: len(target_TN)]
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
