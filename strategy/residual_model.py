"""What a small network adds to the Kalman filter's belief about the agents; it runs here.

``strategy.learning.residuals`` fits it. A bundle carries it as tables; without them, or with a
slope of 0, nothing is added. Inputs of a row, known when its bar has closed: exponential means of
the agent's own returns at several half-lives in units of what noise gives, the regime posterior,
and what the filter believed before the bar.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit
from strategy.controllers import noise_scale

Floats = NDArray[np.float64]

INPUT_CLIP = 5.0
BELIEF_SCALE = 3.0
"""Annual Sharpe ratios are shown to the network in units of so many."""

PREFIX = "residual."


class ResidualNet(NamedTuple):
    """The numbers of the network as its kernels take them; ``scale_1`` 0 means: there is none.

    M members, N experts, H hidden units, F inputs, L half-lives. ``scale_1`` turns the network's
    unit into annual Sharpe ratios, shrunk by the out-of-fold slope.
    """

    into_MHF: Floats
    code_MNH: Floats
    out_MH: Floats
    bias_M: Floats
    decay_L: Floats
    scale_1: Floats


def no_net() -> ResidualNet:
    """Return the network that adds nothing."""
    return ResidualNet(
        np.zeros((0, 0, 0)),
        np.zeros((0, 0, 0)),
        np.zeros((0, 0)),
        np.zeros(0),
        np.zeros(0),
        np.zeros(1),
    )


def history_size(net: ResidualNet, experts: int) -> int:
    """Return the length of the row that a network remembers: bars, means (N, L), beliefs (N,)."""
    return 1 + experts * len(net.decay_L) + experts


@njit
def remember_step(net: ResidualNet, history: Floats, return_N: Floats) -> None:
    """Take one bar's returns into the exponential means; what is no number showed nothing."""
    history[0] += 1.0
    count, lengths = return_N.shape[0], net.decay_L.shape[0]
    for n in range(count):
        shown = return_N[n] if np.isfinite(return_N[n]) else 0.0
        for h in range(lengths):
            at = 1 + n * lengths + h
            history[at] = net.decay_L[h] * history[at] + (1.0 - net.decay_L[h]) * shown


@njit
def write_inputs(
    net: ResidualNet, history: Floats, posterior_K: Floats, expert: int, out_F: Floats
) -> None:
    """Write one expert's inputs (F,): histories in units of noise, posterior, belief."""
    lengths, regimes = net.decay_L.shape[0], posterior_K.shape[0]
    experts = (history.shape[0] - 1) // (lengths + 1)
    for h in range(lengths):
        unit = history[1 + expert * lengths + h]
        if history[0] > 0.0:
            unit /= noise_scale(net.decay_L[h], history[0])
        out_F[h] = min(max(unit, -INPUT_CLIP), INPUT_CLIP)
    for k in range(regimes):
        out_F[lengths + k] = posterior_K[k]
    belief = history[1 + experts * lengths + expert] / BELIEF_SCALE
    out_F[lengths + regimes] = min(max(belief, -INPUT_CLIP), INPUT_CLIP)


@njit
def residual_step(net: ResidualNet, history: Floats, posterior_K: Floats, out_A: Floats) -> None:
    """Write what to add to the belief in each of the first experts, as annual Sharpe ratios."""
    out_A[:] = 0.0
    if net.scale_1[0] == 0.0:
        return
    members, hidden, inputs = net.into_MHF.shape
    input_F = np.empty(inputs)
    for a in range(out_A.shape[0]):
        write_inputs(net, history, posterior_K, a, input_F)
        total = 0.0
        for m in range(members):
            total += net.bias_M[m]
            for h in range(hidden):
                drive = net.code_MNH[m, a, h]
                for f in range(inputs):
                    drive += net.into_MHF[m, h, f] * input_F[f]
                total += net.out_MH[m, h] * np.tanh(drive)
        out_A[a] = net.scale_1[0] * total / members


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ResidualModel:
    """The fitted members as arrays; ``slope`` in [0, 1], the rest as ``ResidualNet`` has it."""

    into_MHF: Floats
    code_MNH: Floats
    out_MH: Floats
    bias_M: Floats
    half_life_H: Floats
    window_bars: int
    slope: float
    oof_correlation: float

    def net(self, year_bars: float) -> ResidualNet:
        """Return the network for bars of that many a year."""
        return ResidualNet(
            np.ascontiguousarray(self.into_MHF),
            np.ascontiguousarray(self.code_MNH),
            np.ascontiguousarray(self.out_MH),
            np.ascontiguousarray(self.bias_M),
            0.5 ** (1.0 / self.half_life_H),
            np.array([self.slope * np.sqrt(year_bars / self.window_bars)]),
        )

    def check(self, experts: int, regimes: int) -> None:
        """Refuse a network of other experts or regimes; ValueError."""
        wanted = len(self.half_life_H) + regimes + 1
        if self.code_MNH.shape[1] != experts or self.into_MHF.shape[2] != wanted:
            raise ValueError(
                f"residual of {self.code_MNH.shape[1]} experts and {self.into_MHF.shape[2]} "
                f"inputs, wanted {experts} and {wanted}"
            )

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
        (members, hidden, _), code = parts["into"].shape, parts["code"].shape
        shapes = parts["out"].shape, parts["bias"].shape
        if (code[0], code[2]) != (members, hidden) or shapes != ((members, hidden), (members,)):
            raise ValueError("the residual's tables are not of one network")
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


class Residual:
    """One learner's network with what it remembers: a row of numbers, ``row``."""

    def __init__(self, model: ResidualModel, experts: int, agents: int, year_bars: float) -> None:
        """Start with nothing seen; predictions are for the first ``agents`` of the experts."""
        self.model = model
        self.net = model.net(year_bars)
        self.row = np.zeros(history_size(self.net, experts))
        self.score_A = np.zeros(agents)
        self._experts = experts

    def remember(self, return_N: Floats) -> None:
        """Take in what every expert earned in the bar that closed."""
        remember_step(self.net, self.row, return_N)

    def foretell(self, posterior_K: Floats) -> None:
        """Write ``score_A``, what to add to the belief in every agent, for a new bar."""
        residual_step(self.net, self.row, posterior_K, self.score_A)

    def believe(self, skill_N: Floats, yearly: float) -> None:
        """Keep what the filter believes now, in deviations of a bar, for the next bar's row."""
        self.row[-self._experts :] = skill_N * yearly
