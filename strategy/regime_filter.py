"""The regime filter: a tempered Student-t hidden semi-Markov filter with effects per episode.

Every hidden state lasts P phases (Erlang durations: with P = 1 geometric, as a hidden Markov chain
has), and every episode draws a volatility factor out of M levels and a volume offset out of O; the
filter carries the probability of each (state, phase, level, offset). One step per closed bar:

    pi_t ∝ (pi_{t-1} A) * f(y_t | y_{t-1})^tau
    return      r_t = mu_k + phi_k r_{t-1} + sigma_k m sqrt(h) e,  e Student-t of variance 1
    variance    h <- base + shock min((r - mean)^2 / (sigma_k m)^2, 9) + memory h, per (k, m)
    log volume  v_t - c ~ N(rho (v_{t-1} - c'), s^2), c = vm_k + offset (c' that of the bar before)
    log range   g_t ~ N(ln(sigma_k m sqrt(h)) + centre, s_g^2)

A bar that leaves one state for another is priced with what the state it left knew (interacting
multiple models): volume's memory and the variance h come from there. Everything is one flat
float64 state, so it can be stored, hashed and restored; a bar costs the same for ever. It reads
nothing but this bar and its state: deleting the future cannot change it.

Source: Yu, Hidden semi-Markov models, Artificial Intelligence 174 (2010); Bollerslev, Journal of
Econometrics 31 (1986) for h; Blom and Bar-Shalom, IEEE TAC 33 (1988) for the mixing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import lgamma

import numpy as np
from numpy.typing import NDArray

from kernels.events import REGIMES
from strategy.regime_steps import (
    ADVANCE,
    DEGREES,
    HEAD,
    LOG_NORM,
    NUMBERS,
    PHASES,
    RANGE_SD,
    REGIME,
    SCALE,
    SIGMA,
    STATE_COLUMNS,
    TAU,
    VARIANCE_BASE,
    VOLUME_SD,
    filter_series,
    filter_step,
)

Floats = NDArray[np.float64]

PREFIX = "regime_filter."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RegimeFilter:
    """A fitted filter; arrays as the columns and slots above name them, all float64.

    ``state_KP`` one row per hidden state, ``next_KK`` the probabilities of the next state,
    ``level_M2`` volatility factors and their prior, ``offset_O2`` volume offsets and theirs.
    """

    numbers_N: Floats
    state_KP: Floats
    next_KK: Floats
    level_M2: Floats
    offset_O2: Floats

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit and numbers that cannot be; ValueError says which."""
        count = self.state_KP.shape[0]
        if self.numbers_N.shape != (NUMBERS,) or self.state_KP.shape != (count, STATE_COLUMNS):
            raise ValueError(f"{self.numbers_N.shape} numbers, states {self.state_KP.shape}")
        if self.next_KK.shape != (count, count):
            raise ValueError(f"transitions {self.next_KK.shape} of {count} states")
        for name, table in (("levels", self.level_M2), ("offsets", self.offset_O2)):
            if table.ndim != 2 or table.shape[1] != 2 or not np.isclose(table[:, 1].sum(), 1.0):
                raise ValueError(f"{name} {table.shape} are no values with a prior")
        if not (self.state_KP[:, SIGMA] > 0.0).all() or not (self.level_M2[:, 0] > 0.0).all():
            raise ValueError("a volatility is not positive")
        regime_K = self.state_KP[:, REGIME]
        if not ((regime_K >= 0) & (regime_K == np.floor(regime_K))).all():
            raise ValueError("a state belongs to no regime")
        if not np.allclose(self.next_KK.sum(axis=1), 1.0) or not (self.next_KK >= 0.0).all():
            raise ValueError("a row of the transitions is no distribution")

    @property
    def arrays(self) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """All five, in the order in which the kernels take them."""
        return self.numbers_N, self.state_KP, self.next_KK, self.level_M2, self.offset_O2

    @property
    def regime_count(self) -> int:
        """How many regimes the states are named after; ``REGIMES`` by default."""
        return int(self.state_KP[:, REGIME].max()) + 1

    @property
    def sub_states(self) -> int:
        """How many probabilities are carried."""
        return int(
            len(self.state_KP) * self.numbers_N[PHASES] * len(self.level_M2) * len(self.offset_O2)
        )

    def opening_state(self) -> Floats:
        """Return the flat state before the first bar: every state alike, each at its start."""
        count, levels = len(self.state_KP), len(self.level_M2)
        state = np.zeros(HEAD + count * levels + self.sub_states)
        state[HEAD : HEAD + count * levels] = 1.0
        prior = np.zeros((count, int(self.numbers_N[PHASES]), levels, len(self.offset_O2)))
        prior[:, 0] = self.level_M2[:, 1][:, None] * self.offset_O2[:, 1] / count
        state[HEAD + count * levels :] = prior.ravel()
        return state

    def step(self, state: Floats, bar_3: Floats, posterior_R: Floats) -> None:
        """Take one closed bar (return, log volume, log range; NaN: unknown); write the posterior.

        ``state`` changes in place; ``posterior_R`` (R,) is known before the next bar begins.
        """
        filter_step(*self.arrays, state, bar_3, posterior_R)

    def run(self, bars_T3: Floats, state: Floats | None = None) -> Floats:
        """Filter a whole series (T, 3) with the same kernel; return the posteriors (T, R)."""
        posterior_TR = np.empty((len(bars_T3), self.regime_count))
        filter_series(
            *self.arrays,
            self.opening_state() if state is None else state,
            np.ascontiguousarray(bars_T3[:, :3]),
            posterior_TR,
        )
        return posterior_TR

    def merged(self, groups: Mapping[str, Sequence[str]], names: Sequence[str]) -> RegimeFilter:
        """Return a filter over these groups of its regimes, in their order.

        ``names`` are its own; ValueError unless each of them is in exactly one group.
        """
        members = [name for group in groups.values() for name in group]
        if sorted(members) != sorted(names) or len(names) != self.regime_count:
            raise ValueError(f"groups of {members} are not made of {tuple(names)}, each once")
        place = {name: at for at, group in enumerate(groups.values()) for name in group}
        state_KP = self.state_KP.copy()
        state_KP[:, REGIME] = [place[names[int(regime)]] for regime in self.state_KP[:, REGIME]]
        return replace(self, state_KP=state_KP)

    def to_tables(self) -> dict[str, Floats]:
        """Return the tables of a bundle that hold this filter."""
        return {
            f"{PREFIX}numbers": self.numbers_N,
            f"{PREFIX}states": self.state_KP,
            f"{PREFIX}next": self.next_KK,
            f"{PREFIX}levels": self.level_M2,
            f"{PREFIX}offsets": self.offset_O2,
        }

    @classmethod
    def from_tables(cls, tables: Mapping[str, Floats]) -> RegimeFilter:
        """Read a bundle's tables; without any a filter that knows nothing. ValueError: broken."""
        if f"{PREFIX}numbers" not in tables:
            return uninformed_filter()
        missing = [
            name
            for name in ("states", "next", "levels", "offsets")
            if f"{PREFIX}{name}" not in tables
        ]
        if missing:
            raise ValueError(f"table {PREFIX}{missing[0]} is missing")
        return cls(
            numbers_N=tables[f"{PREFIX}numbers"],
            state_KP=tables[f"{PREFIX}states"],
            next_KK=tables[f"{PREFIX}next"],
            level_M2=tables[f"{PREFIX}levels"],
            offset_O2=tables[f"{PREFIX}offsets"],
        )


def uninformed_filter(regime_count: int = len(REGIMES)) -> RegimeFilter:
    """Return a filter whose posterior stays uniform: all states look alike."""
    numbers_N = np.zeros(NUMBERS)
    numbers_N[[PHASES, TAU, VARIANCE_BASE, VOLUME_SD, RANGE_SD, SCALE]] = 1.0
    numbers_N[DEGREES] = 5.0
    numbers_N[LOG_NORM] = student_log_norm(5.0)
    state_KP = np.zeros((regime_count, STATE_COLUMNS))
    state_KP[:, SIGMA], state_KP[:, ADVANCE] = 1.0, 0.01
    state_KP[:, REGIME] = np.arange(regime_count)
    return RegimeFilter(
        numbers_N=numbers_N,
        state_KP=state_KP,
        next_KK=np.full((regime_count, regime_count), 1.0 / regime_count),
        level_M2=np.ones((1, 2)),
        offset_O2=np.array([[0.0, 1.0]]),
    )


def student_log_norm(degrees: float) -> float:
    """Return the log of the density's constant of a Student-t scaled to variance 1."""
    spread = np.pi * (degrees - 2.0)
    return float(lgamma((degrees + 1) / 2) - lgamma(degrees / 2) - 0.5 * np.log(spread))
