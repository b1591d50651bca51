"""How sure one can be of a Sharpe ratio: PSR, DSR, MinTRL, bootstrap intervals. Seeds are given.

Sharpe ratios are *per bar* in this file unless a name says annual. Sources: Lo 2002; Bailey and
Lopez de Prado 2012 (PSR, MinTRL) and 2014 (DSR); Politis and Romano 1994 (stationary bootstrap);
Politis and White 2004 with the correction of Patton, Politis and White 2009 (block length).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit
from strategy.evaluation.autocovariance import autocovariances

Floats = NDArray[np.float64]

EULER_GAMMA = 0.5772156649015329
DRAWS = 1_000
NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with its 95 % interval and how it was made; no figure is printed without."""

    estimate: float
    low: float
    high: float
    bars: int
    draws: int
    block_bars: float

    def __str__(self) -> str:
        """Write estimate, interval, sample and method."""
        return (
            f"{self.estimate:+.2f} [{self.low:+.2f}, {self.high:+.2f}] "
            f"(n {self.bars:,} bars, stationary bootstrap, {self.draws:,} draws)"
        )


def probabilistic_sharpe(
    sharpe: float, benchmark: float, bars: int, skew: float = 0.0, kurtosis: float = 3.0
) -> float | None:
    """Return P(true Sharpe > benchmark) for an estimate per bar; None below two bars.

    PSR = Phi((SR - SR*) sqrt(n - 1) / sqrt(1 - g3 SR + (g4 - 1)/4 SR^2)).
    """
    spread = 1.0 - skew * sharpe + 0.25 * (kurtosis - 1.0) * sharpe**2
    if bars < 2 or not spread > 0.0:
        return None
    return NORMAL.cdf((sharpe - benchmark) * math.sqrt(bars - 1) / math.sqrt(spread))


def expected_best_sharpe(trials: float, variance: float) -> float:
    """Return the mean of the best of so many skill-less trials: SR0; 0 for a single one."""
    if trials <= 1.0 or variance <= 0.0:
        return 0.0
    far = NORMAL.inv_cdf(1.0 - 1.0 / trials)
    farther = NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance) * ((1.0 - EULER_GAMMA) * far + EULER_GAMMA * farther)


def deflated_sharpe(
    sharpe: float, bars: int, skew: float, kurtosis: float, *, trials: float, variance: float
) -> float | None:
    """Return the PSR against the best of ``trials``, whose Sharpes have this variance per bar."""
    benchmark = expected_best_sharpe(trials, variance)
    return probabilistic_sharpe(sharpe, benchmark, bars, skew, kurtosis)


def track_record_bars_min(
    sharpe: float,
    benchmark: float = 0.0,
    skew: float = 0.0,
    kurtosis: float = 3.0,
    alpha: float = 0.05,
) -> float | None:
    """Return the bars needed to show SR > SR* at level alpha (MinTRL); None when it is not."""
    if sharpe <= benchmark:
        return None
    spread = 1.0 - skew * sharpe + 0.25 * (kurtosis - 1.0) * sharpe**2
    return 1.0 + spread * (NORMAL.inv_cdf(1.0 - alpha) / (sharpe - benchmark)) ** 2


def moments(return_T: Floats) -> tuple[float, float, float] | None:
    """Return Sharpe per bar, skew and kurtosis, None without deviation."""
    deviation = float(return_T.std(ddof=1)) if len(return_T) > 1 else 0.0
    if not deviation > 1e-14:
        return None
    scaled = (return_T - return_T.mean()) / return_T.std()
    return float(return_T.mean()) / deviation, float(np.mean(scaled**3)), float(np.mean(scaled**4))


def effective_trials(return_TN: Floats) -> float:
    """Return how many independent trials these correlated ones amount to: (tr S)^2 / tr(S^2)."""
    if return_TN.shape[1] < 2:
        return float(return_TN.shape[1])
    kept_TN = return_TN[:, return_TN.std(axis=0) > 0.0]
    if kept_TN.shape[1] < 2:
        return float(max(kept_TN.shape[1], 1))
    correlation_NN = np.corrcoef(kept_TN.T)
    return float(np.trace(correlation_NN) ** 2 / np.sum(correlation_NN**2))


def block_length(value_T: Floats) -> float:
    """Return the mean block of the stationary bootstrap for a path (Politis and White), >= 1."""
    count = len(value_T)
    if count < 10 or float(value_T.std()) == 0.0:
        return 1.0
    quiet = max(5, int(math.sqrt(math.log10(count))))
    lags_max = min(math.ceil(math.sqrt(count)) + quiet, count - 1)
    centred = value_T - value_T.mean()
    covariance_L = autocovariances(centred, lags_max)
    correlation_L = covariance_L / covariance_L[0]
    limit = 2.0 * math.sqrt(math.log10(count) / count)
    significant = 1
    for first in range(1, lags_max - quiet + 2):
        if (np.abs(correlation_L[first : first + quiet]) < limit).all():
            significant = max(first - 1, 1)
            break
    else:
        loud = np.flatnonzero(np.abs(correlation_L[1:]) > limit)
        significant = int(loud[-1]) + 1 if len(loud) else 1
    width = min(2 * significant, lags_max)
    lag_L = np.arange(1, width + 1)
    window_L = np.minimum(1.0, 2.0 * (1.0 - lag_L / width))
    g_hat = 2.0 * float(np.sum(window_L * lag_L * covariance_L[1 : width + 1]))
    spectrum = float(covariance_L[0] + 2.0 * np.sum(window_L * covariance_L[1 : width + 1]))
    if spectrum <= 0.0:
        return 1.0
    length = (2.0 * g_hat**2 / (2.0 * spectrum**2)) ** (1 / 3) * count ** (1 / 3)
    return float(min(max(length, 1.0), math.ceil(min(3.0 * math.sqrt(count), count / 3.0))))


def drawer(seed: int, *words: str) -> np.random.Generator:
    """Return the generator of one figure: it depends on nothing but the seed and its name."""
    return np.random.default_rng([seed, zlib.crc32(" ".join(words).encode())])


def sharpe_interval(
    return_T: Floats, year_bars: float, generator: np.random.Generator, draws: int = DRAWS
) -> Interval | None:
    """Return the annual Sharpe with its interval; None without deviation."""
    return difference_interval(return_T, None, year_bars, generator, draws)


def difference_interval(
    return_T: Floats,
    other_T: Floats | None,
    year_bars: float,
    generator: np.random.Generator,
    draws: int = DRAWS,
) -> Interval | None:
    """Return annual Sharpe minus the other's on the same bars, paired in every draw.

    Long paths are first summed to at most 20,000 equal pieces: a Sharpe does not change by that,
    and blocks of a bootstrap are longer than a piece. None where a Sharpe is undefined.
    """
    bars = len(return_T)
    paths = [return_T] if other_T is None else [return_T, other_T]
    piece = max(1, bars // 20_000)
    kept = bars // piece * piece
    path_TN = np.column_stack([np.add.reduceat(p[:kept], np.arange(0, kept, piece)) for p in paths])
    if len(path_TN) < 2 or any(not deviation > 1e-14 for deviation in path_TN.std(axis=0)):
        return None
    root = math.sqrt(year_bars / piece)
    block = max(block_length(path_TN[:, n]) for n in range(path_TN.shape[1]))
    drawn_DN = _bootstrap_sharpes(path_TN, 1.0 / block, draws, generator)
    point_N = path_TN.mean(axis=0) / path_TN.std(axis=0, ddof=1)
    drawn = drawn_DN[:, 0] - (drawn_DN[:, 1] if other_T is not None else 0.0)
    point = point_N[0] - (point_N[1] if other_T is not None else 0.0)
    low, high = np.quantile(drawn[np.isfinite(drawn)], [0.025, 0.975]) * root
    return Interval(
        estimate=float(point * root),
        low=float(low),
        high=float(high),
        bars=bars,
        draws=draws,
        block_bars=block * piece,
    )


def mean_interval(
    value_T: Floats, generator: np.random.Generator, draws: int = DRAWS
) -> tuple[float, float, float] | None:
    """Return mean and 95 % interval of dependent values, None below two."""
    if len(value_T) < 2:
        return None
    restart = 1.0 / block_length(value_T)
    means_D = np.array(
        [
            value_T[draw_T].mean()
            for draw_T in stationary_draws(len(value_T), restart, draws, generator)
        ]
    )
    low, high = np.quantile(means_D, [0.025, 0.975])
    return float(value_T.mean()), float(low), float(high)


def stationary_draws(
    count: int, restart: float, draws: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Return resampled indices (draws, count): blocks of geometric length, wrapped around."""
    return _stationary_indices(count, restart, draws, generator)


def stationary_statistic(
    path_TN: Floats,
    statistic: Callable[[Floats], float],
    generator: np.random.Generator,
    draws: int = DRAWS,
) -> Floats:
    """Return the statistic (draws,) of resampled rows; rows stay together."""
    block = max(block_length(path_TN[:, n]) for n in range(path_TN.shape[1]))
    indices_DT = stationary_draws(len(path_TN), 1.0 / block, draws, generator)
    return np.array([statistic(path_TN[index_T]) for index_T in indices_DT])


@njit
def _stationary_indices(
    count: int, restart: float, draws: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    index_DT = np.empty((draws, count), np.int64)
    for d in range(draws):
        at = int(generator.integers(0, count))
        for t in range(count):
            index_DT[d, t] = at
            at = _next_index(generator.random(), restart, at, count)
    return index_DT


@njit
def _next_index(uniform: float, restart: float, at: int, count: int) -> int:
    """Go on by one, wrapped around, or begin a block anywhere; one uniform decides both."""
    if uniform < restart:
        return min(int(uniform / restart * count), count - 1)
    return at + 1 if at + 1 < count else 0


@njit
def _bootstrap_sharpes(
    path_TN: Floats, restart: float, draws: int, generator: np.random.Generator
) -> Floats:
    """Return Sharpe per row (draws, N) of jointly resampled rows; NaN without deviation."""
    count, paths = path_TN.shape
    sharpe_DN = np.empty((draws, paths))
    total_N = np.empty(paths)
    square_N = np.empty(paths)
    for d in range(draws):
        total_N[:] = 0.0
        square_N[:] = 0.0
        at = int(generator.integers(0, count))
        for _ in range(count):
            for n in range(paths):
                total_N[n] += path_TN[at, n]
                square_N[n] += path_TN[at, n] ** 2
            at = _next_index(generator.random(), restart, at, count)
        for n in range(paths):
            mean = total_N[n] / count
            variance = (square_N[n] - count * mean * mean) / (count - 1)
            sharpe_DN[d, n] = mean / np.sqrt(variance) if variance > 0.0 else np.nan
    return sharpe_DN
