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
    half = piece * slices // 2
    below = total = 0.0
    for chosen in combinations(range(slices), slices // 2):
        is_in = np.zeros(slices, np.bool_)
        is_in[list(chosen)] = True
        inside_N = _sharpes(sum_SN[is_in].sum(axis=0), square_SN[is_in].sum(axis=0), half)
        outside_N = _sharpes(sum_SN[~is_in].sum(axis=0), square_SN[~is_in].sum(axis=0), half)
        best = int(np.argmax(inside_N))
        equal = outside_N == outside_N[best]
        rank = float(np.sum(outside_N < outside_N[best]) + 0.5 * (equal.sum() + 1))
        relative = rank / (variants + 1)
        below += 1.0 if relative < 0.5 else 0.5 if relative == 0.5 else 0.0
        total += 1.0
    return below / total


def _sharpes(sum_N: Floats, square_N: Floats, count: int) -> Floats:
    mean_N = sum_N / count
    variance_N = np.maximum(square_N / count - mean_N**2, 0.0)
    return np.where(variance_N > 1e-28, mean_N / np.sqrt(np.maximum(variance_N, 1e-28)), 0.0)
