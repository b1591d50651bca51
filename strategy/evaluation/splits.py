"""Which bars may teach and which may judge: walk-forward and combinatorial splits, purged.

Purge: a training bar whose label reaches into a test span is left out (label horizon and delay).
Embargo: neither may one follow a test span closely. PBO: how often the best of several variants in
one half of the bars is below the median in the other (CSCV, Bailey et al. 2017).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split:
    """Bars that teach and bars that judge, in order of time; they never touch."""

    train_T: Indices
    test_T: Indices


def walk_forward(
    bars: int, folds: int, *, purge_bars: int, embargo_bars: int = 0, first_frac: float = 0.5
) -> Iterator[Split]:
    """Yield expanding splits: the first trains on ``first_frac``, each tests the next piece.

    Raises ValueError when a piece would be empty.
    """
    first = int(bars * first_frac)
    edges = np.linspace(first, bars, folds + 1).astype(np.int64)
    if folds < 1 or first <= purge_bars + embargo_bars or (np.diff(edges) < 1).any():
        raise ValueError(f"{bars} bars do not give {folds} folds behind a gap of {purge_bars}")
    for begin, end in pairwise(edges.tolist()):
        yield Split(
            train_T=np.arange(0, begin - purge_bars - embargo_bars),
            test_T=np.arange(begin, end),
        )


def combinatorial(
    bars: int, groups: int = 10, in_test: int = 2, *, purge_bars: int = 0, embargo_bars: int = 0
) -> Iterator[Split]:
    """Yield the purged splits of CPCV: every choice of ``in_test`` of ``groups`` is judged once."""
    if not 1 <= in_test < groups <= bars:
        raise ValueError(f"{in_test} of {groups} groups of {bars} bars")
    group_GT = np.array_split(np.arange(bars), groups)
    for chosen in combinations(range(groups), in_test):
        is_train = np.ones(bars, np.bool_)
        for group in chosen:
            begin, end = int(group_GT[group][0]), int(group_GT[group][-1]) + 1
            is_train[max(begin - purge_bars, 0) : begin] = False
            is_train[begin : end + max(embargo_bars, purge_bars)] = False
        yield Split(
            train_T=np.flatnonzero(is_train),
            test_T=np.concatenate([group_GT[group] for group in chosen]),
        )


def combinatorial_paths(groups: int, in_test: int) -> int:
    """Return how many whole back-test paths the splits of CPCV can be joined to."""
    return math.comb(groups, in_test) * in_test // groups


def overfitting_probability(return_TN: Floats, slices: int = 16) -> float | None:
    """Return PBO in [0, 1] of choosing the best Sharpe among N variants; None below two.

    CSCV: for every half of the slices, the rank of its best variant in the other half; PBO is the
    share of halves in which that rank is at or below the middle (logit <= 0).
    """
    bars, variants = return_TN.shape
    if variants < 2 or slices < 2 or slices % 2 or bars < 2 * slices:
        return None
    piece = bars // slices
    pieces_SBN = return_TN[: piece * slices].reshape(slices, piece, variants)
    sum_SN, square_SN = pieces_SBN.sum(axis=1), (pieces_SBN**2).sum(axis=1)
    halves_HS = np.array(list(combinations(range(slices), slices // 2)), np.int64)
    return _below_middle(sum_SN, square_SN, halves_HS, piece * slices // 2) / len(halves_HS)


@njit
def _below_middle(sum_SN: Floats, square_SN: Floats, halves_HS: Indices, count: int) -> float:
    """Count the halves whose best variant is below the middle in the other half; at it: half."""
    slices, variants = sum_SN.shape
    is_in, below = np.empty(slices, np.bool_), 0.0
    inside_N, outside_N = np.empty(variants), np.empty(variants)
    for h in range(halves_HS.shape[0]):
        is_in[:] = False
        for place in range(halves_HS.shape[1]):
            is_in[halves_HS[h, place]] = True
        _sharpes(sum_SN, square_SN, is_in, True, count, inside_N)
        _sharpes(sum_SN, square_SN, is_in, False, count, outside_N)
        own = outside_N[np.argmax(inside_N)]
        worse, equal = 0, 0
        for n in range(variants):
            worse += outside_N[n] < own
            equal += outside_N[n] == own
        relative = (worse + 0.5 * (equal + 1)) / (variants + 1)
        below += 1.0 if relative < 0.5 else 0.5 if relative == 0.5 else 0.0
    return below


@njit
def _sharpes(
    sum_SN: Floats,
    square_SN: Floats,
    is_in: NDArray[np.bool_],
    wanted: bool,
    count: int,
    out_N: Floats,
) -> None:
    """Write each variant's Sharpe per bar over the slices that are wanted; 0 without deviation.

    Slices are added in order, so equal variants have equal bits.
    """
    for n in range(out_N.shape[0]):
        total, square = 0.0, 0.0
        for s in range(is_in.shape[0]):
            if is_in[s] == wanted:
                total += sum_SN[s, n]
                square += square_SN[s, n]
        mean = total / count
        variance = max(square / count - mean * mean, 0.0)
        out_N[n] = mean / np.sqrt(variance) if variance > 1e-28 else 0.0
