"""Scores of a posterior over regimes against the truth, and of the names reported from it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

ECE_BINS = 10
LOG_FLOOR = 1e-4


def f1_by_class(named_T: Ints, true_T: Ints, classes: int) -> Floats:
    """Return the F1 of every class; 0 for one that neither is named nor occurs."""
    out_K = np.zeros(classes)
    for k in range(classes):
        both = np.count_nonzero((named_T == k) & (true_T == k))
        either = np.count_nonzero(named_T == k) + np.count_nonzero(true_T == k)
        out_K[k] = 2.0 * both / either if either else 0.0
    return out_K


def calibration_error(posterior_TK: Floats, true_T: Ints) -> float:
    """Return the expected calibration error of the top probability in ten equal bins."""
    top_T, right_T = posterior_TK.max(axis=1), posterior_TK.argmax(axis=1) == true_T
    bin_T = np.minimum((top_T * ECE_BINS).astype(int), ECE_BINS - 1)
    error = 0.0
    for chosen in range(ECE_BINS):
        mine_T = bin_T == chosen
        if mine_T.any():
            error += mine_T.mean() * abs(right_T[mine_T].mean() - top_T[mine_T].mean())
    return float(error)


def log_loss(posterior_TK: Floats, true_T: Ints) -> float:
    """Return the mean of minus the log probability of the truth, in nats."""
    return float(-np.log(posterior_TK[np.arange(len(true_T)), true_T] + LOG_FLOOR).mean())


def volatility_names(regime_T: Ints, low_vol: int, crisis: int) -> Ints:
    """Collapse regimes to low volatility 0, crisis 1, the rest 2."""
    return np.where(regime_T == low_vol, 0, np.where(regime_T == crisis, 1, 2)).astype(np.int64)


def episodes(label_T: Ints) -> list[tuple[int, int, int]]:
    """Return (first bar, bar after the last, label) of every run of equal labels."""
    starts = np.flatnonzero(np.r_[True, label_T[1:] != label_T[:-1]])
    ends = np.r_[starts[1:], len(label_T)]
    return [(int(a), int(b), int(label_T[a])) for a, b in zip(starts, ends, strict=True)]


def delays(named_T: Ints, true_T: Ints) -> tuple[Floats, float]:
    """Return bars until each recognised episode was named, and the share never named."""
    found, missed, whole = [], 0, episodes(true_T)[1:]
    for first, last, label in whole:
        hits = np.flatnonzero(named_T[first:last] == label)
        if len(hits):
            found.append(float(hits[0]))
        else:
            missed += 1
    return np.array(found), missed / max(1, len(whole))


def switch_ratio(named_T: Ints, true_T: Ints) -> float:
    """Return reported switches for each true one."""
    true_count = np.count_nonzero(np.diff(true_T))
    return float(np.count_nonzero(np.diff(named_T))) / max(1.0, float(true_count))
