"""Markets in which agents have planted skill: the truth that the meta-learner is judged by.

A draw holds T bars: the regime posterior known before each bar (T, 7), the agents' returns in
deviations of a bar (T, N), and the agents' true annual Sharpe ratio then (T, N). Worlds: labels
that are right four times in five (A); the whole chain on the misspecified market, seen through our
own filter (W); A with skills that turn into others within three years; agents that are all the
same; rough volatility with self-exciting jumps, a second market that shares nothing with the
first; and real hourly bars. On the last two the skill depends on conditions that no filter is
told: volatility and trend around the bar, known in hindsight only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit
from kernels.labelled_bars import STATE, draw_labelled
from kernels.market_worlds import STATE_REGIMES
from strategy.experts import RETURN_CLIP
from strategy.regime_filter import RegimeFilter
from strategy.regime_fit import fit_path
from strategy.shipped_filter import shipped_filter

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

YEAR_BARS = 8_760
YEARS = 3
COUNT, REGIMES = 5, 7
BASE_SHARPE, BASE_SD, REGIME_SD = 0.3, 0.3, 1.5
MEAN_HOURS = (240.0, 180.0, 120.0, 200.0, 24.0, 36.0, 24.0)
NEXT_REGIME = (
    (0.0, 0.05, 0.25, 0.35, 0.05, 0.25, 0.05),
    (0.05, 0.0, 0.30, 0.25, 0.05, 0.25, 0.10),
    (0.20, 0.20, 0.0, 0.25, 0.15, 0.10, 0.10),
    (0.15, 0.10, 0.20, 0.0, 0.50, 0.03, 0.02),
    (0.50, 0.25, 0.10, 0.05, 0.0, 0.05, 0.05),
    (0.40, 0.40, 0.10, 0.05, 0.05, 0.0, 0.0),
    (0.05, 0.30, 0.40, 0.05, 0.0, 0.20, 0.0),
)
LATE_BARS, BLOCK_BARS, WRONG_FRAC = 3, 12, 0.2
CONDITION_BARS = 24
"""Half the span around a bar whose volatility and trend decide which agent works."""

REVERSION_PER_BAR = (0.3, 0.05, 0.008, 0.0012)
"""Four speeds of mean reversion: their sum stands in for a fractional kernel of roughness 0.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One path; axes as the module names them."""

    posterior_TK: Floats
    return_TN: Floats
    skill_TN: Floats


def regime_path(draws: np.random.Generator, bars: int) -> Ints:
    """Return regimes (T,) of a chain whose episodes last 1 + floor(exponential)."""
    next_RR = np.array(NEXT_REGIME)
    out_T, at, regime = np.empty(bars, np.int64), 0, int(draws.integers(REGIMES))
    while at < bars:
        length = 1 + int(draws.exponential(MEAN_HOURS[regime]))
        out_T[at : at + length] = regime
        at += length
        regime = int(draws.choice(REGIMES, p=next_RR[regime]))
    return out_T


def skills(draws: np.random.Generator, conditions: int) -> Floats:
    """Return each agent's annual Sharpe ratio in each condition (N, R)."""
    base_N1 = BASE_SHARPE + BASE_SD * draws.standard_normal((COUNT, 1))
    return np.asarray(base_N1 + REGIME_SD * draws.standard_normal((COUNT, conditions)))


def noise(draws: np.random.Generator, bars: int, degrees: float = 5.0) -> Floats:
    """Return correlated fat-tailed noise (T, N): pairs at .5, tails together; 0: Gaussian."""
    shared_T1 = np.sqrt(0.5) * draws.standard_normal((bars, 1))
    own_TN = np.sqrt(0.5) * draws.standard_normal((bars, COUNT))
    if degrees == 0.0:
        return np.asarray(shared_T1 + own_TN)
    wild_T1 = np.sqrt(draws.chisquare(degrees, (bars, 1)) / (degrees - 2.0))
    return np.asarray(np.clip((shared_T1 + own_TN) / wild_T1, -RETURN_CLIP, RETURN_CLIP))


def _with_skill(draws: np.random.Generator, posterior_TK: Floats, skill_TN: Floats) -> Draw:
    return_TN = noise(draws, len(skill_TN)) + skill_TN / np.sqrt(YEAR_BARS)
    return Draw(
        posterior_TK=np.ascontiguousarray(posterior_TK),
        return_TN=np.clip(return_TN, -RETURN_CLIP, RETURN_CLIP),
        skill_TN=skill_TN,
    )


def late_labels(draws: np.random.Generator, regime_T: Ints) -> Floats:
    """Return posteriors of labels three bars late, a fifth of the blocks replaced by chance."""
    bars = len(regime_T)
    label_T = np.r_[np.repeat(regime_T[0], LATE_BARS), regime_T[:-LATE_BARS]]
    for begin in range(0, bars, BLOCK_BARS):
        if draws.random() < WRONG_FRAC:
            label_T[begin : begin + BLOCK_BARS] = draws.integers(REGIMES)
    posterior_TK = np.full((bars, REGIMES), 0.2 / REGIMES)
    posterior_TK[np.arange(bars), label_T] += 0.8
    return posterior_TK


def world_a(draws: np.random.Generator) -> Draw:
    """Skill by regime, labels right four times in five."""
    regime_T = regime_path(draws, YEARS * YEAR_BARS)
    skill_TN = skills(draws, REGIMES)[:, regime_T].T
    return _with_skill(draws, late_labels(draws, regime_T), skill_TN)


def drifting(draws: np.random.Generator) -> Draw:
    """Return world A whose table of skills turns into another one within three years."""
    bars = YEARS * YEAR_BARS
    regime_T = regime_path(draws, bars)
    first_TN, second_TN = (skills(draws, REGIMES)[:, regime_T].T - BASE_SHARPE for _ in range(2))
    angle_T1 = (np.pi / 2.0 * np.minimum(1.0, np.arange(bars) / (YEARS * YEAR_BARS)))[:, None]
    skill_TN = BASE_SHARPE + np.cos(angle_T1) * first_TN + np.sin(angle_T1) * second_TN
    return _with_skill(draws, late_labels(draws, regime_T), skill_TN)


@cache
def fitted_filter(seed: int) -> RegimeFilter:
    """Return a filter fitted to a labelled path of its own."""
    return fit_path(draw_labelled("misspecified", 60_000, np.random.default_rng(seed)))[0]


def world_w(draws: np.random.Generator, filter_seed: int = 11) -> Draw:
    """Skill by the true regime of the misspecified market, seen through our own filter."""
    path_T4 = draw_labelled("misspecified", YEARS * YEAR_BARS + 1, draws)
    posterior_TK = fitted_filter(filter_seed).run(path_T4)[:-1]
    regime_T = np.array(STATE_REGIMES)[path_T4[1:, STATE].astype(np.int64)]
    return _with_skill(draws, posterior_TK, skills(draws, REGIMES)[:, regime_T].T)


def identical(draws: np.random.Generator) -> Draw:
    """All agents alike, labels of chance: there is nothing to learn."""
    bars = YEARS * YEAR_BARS
    label_T = np.repeat(draws.integers(REGIMES, size=bars // 48 + 1), 48)[:bars]
    posterior_TK = np.zeros((bars, REGIMES))
    posterior_TK[np.arange(bars), label_T] = 1.0
    skill_TN = np.full((bars, COUNT), 0.5)
    return_TN = noise(draws, bars, degrees=0.0) + skill_TN / np.sqrt(YEAR_BARS)
    return Draw(
        posterior_TK=posterior_TK,
        return_TN=np.clip(return_TN, -RETURN_CLIP, RETURN_CLIP),
        skill_TN=skill_TN,
    )


def seen_conditions(return_T: Floats) -> Ints:
    """Return one of six conditions (T,) in hindsight: volatility's tercile and trend's sign."""
    kernel = np.ones(2 * CONDITION_BARS + 1)
    square_T = np.convolve(return_T**2, kernel, "same")
    trend_T = np.convolve(return_T, kernel, "same")
    edges = np.quantile(square_T, (1 / 3, 2 / 3))
    return np.asarray(2 * np.searchsorted(edges, square_T) + (trend_T > 0.0), np.int64)


def _by_conditions(draws: np.random.Generator, bars_T3: Floats) -> Draw:
    posterior_TK = shipped_filter().run(bars_T3)[:-1]
    condition_T = seen_conditions(bars_T3[1:, 0])
    return _with_skill(draws, posterior_TK, skills(draws, 6)[:, condition_T].T)


def rough(draws: np.random.Generator) -> Draw:
    """Rough volatility, jumps that beget jumps, volume that follows both; skill by conditions."""
    bars_T3 = np.empty((YEARS * YEAR_BARS + 1, 3))
    _draw_rough(draws, np.array(REVERSION_PER_BAR), bars_T3)
    return _by_conditions(draws, bars_T3)


@njit
def _draw_rough(rng: np.random.Generator, speed_n: Floats, bars_T3: Floats) -> None:
    """Write return, log volume, log range: log volatility is a sum of four mean reversions.

    Rough volatility: Gatheral, Jaisson and Rosenbaum (2018); its sum of exponentials: Abi Jaber and
    El Euch (2019). Jumps: a Hawkes process (Hawkes 1971) with a branching ratio of 0.6.
    """
    factor_n = np.zeros(speed_n.shape[0])
    intensity, drift = 0.01, 0.0
    for t in range(bars_T3.shape[0]):
        log_volatility = 0.0
        for n in range(speed_n.shape[0]):
            shock = np.sqrt(2.0 * speed_n[n]) * rng.standard_normal()
            factor_n[n] += -speed_n[n] * factor_n[n] + shock
            log_volatility += 0.25 * factor_n[n]
        sigma = 0.006 * np.exp(log_volatility - 0.125)
        drift += -0.01 * drift + 0.02 * rng.standard_normal()
        jumped = 0.0
        if rng.random() < min(intensity, 0.5):
            jumped = 0.02 * rng.standard_normal() - 0.004
            intensity += 0.06
        intensity += 0.1 * (0.004 - intensity) + 0.0
        unit = rng.standard_normal()
        bars_T3[t, 0] = 0.3 * sigma * drift + sigma * unit + jumped
        busy = log_volatility + 20.0 * abs(jumped)
        bars_T3[t, 1] = 0.8 * busy + 0.5 * rng.standard_normal()
        bars_T3[t, 2] = np.nan


def real(draws: np.random.Generator, bars_T3: Floats) -> Draw:
    """Planted skill on real bars (T, 3); a random stretch of three years is drawn."""
    whole, wanted = len(bars_T3), YEARS * YEAR_BARS + 1
    begin = int(draws.integers(0, max(1, whole - wanted)))
    return _by_conditions(draws, np.ascontiguousarray(bars_T3[begin : begin + wanted]))


WORLDS: dict[str, Callable[[np.random.Generator], Draw]] = {
    "a": world_a,
    "drifting": drifting,
    "w": world_w,
    "identical": identical,
    "rough": rough,
}
