"""The hierarchical filter in matrices: Joseph's form, nothing saved, nothing clever."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strategy.kalman import (
    ASLEEP_VARIANCE,
    CORRELATION_SHRINKAGE,
    NOISE_VARIANCE_MIN,
    TAIL_DEGREES,
)

Floats = NDArray[np.float64]


def design(posterior_K: Floats, count: int) -> Floats:
    """Return A (N, D): row i takes the posterior's mean of s_ir."""
    out_ND: Floats = np.kron(np.eye(count), posterior_K).astype(np.float64)
    return out_ND


def shrunk(noise_NN: Floats, awake_N: NDArray[np.bool_]) -> Floats:
    """Return the noise as the filter takes it: toward equal correlation, sleepers apart."""
    count = len(noise_NN)
    sd_N = np.sqrt(np.diag(noise_NN))
    correlation_NN = noise_NN / np.outer(sd_N, sd_N)
    shared = correlation_NN[np.tril_indices(count, -1)].mean()
    equal_NN = np.full((count, count), shared)
    np.fill_diagonal(equal_NN, 1.0)
    mixed_NN = (1 - CORRELATION_SHRINKAGE) * correlation_NN + CORRELATION_SHRINKAGE * equal_NN
    out_NN: Floats = mixed_NN * np.outer(sd_N, sd_N)
    for i in np.flatnonzero(~awake_N):
        out_NN[i, :] = out_NN[:, i] = 0.0
        out_NN[i, i] = ASLEEP_VARIANCE
    return out_NN


def learn(
    mean_D: Floats,
    cov_DD: Floats,
    prior_DD: Floats,
    noise_NN: Floats,
    posterior_K: Floats,
    return_N: Floats,
    awake_N: NDArray[np.bool_],
    forget_frac: float,
    noise_decay: float,
) -> tuple[Floats, Floats, Floats]:
    """Return mean, covariance and noise after one bar."""
    design_ND = design(posterior_K, len(return_N)) * awake_N[:, None]
    noisy_NN = shrunk(noise_NN, awake_N)
    surprise_N = np.where(awake_N, return_N - design_ND @ mean_D, 0.0)
    total_NN = design_ND @ cov_DD @ design_ND.T + noisy_NN
    square = surprise_N @ np.linalg.inv(total_NN) @ surprise_N
    wild = (TAIL_DEGREES - 2.0 + square) / (TAIL_DEGREES + awake_N.sum())
    total_NN = noisy_NN * np.where(np.outer(awake_N, awake_N), wild, 1.0)
    gain_DN = cov_DD @ design_ND.T @ np.linalg.inv(design_ND @ cov_DD @ design_ND.T + total_NN)
    left_DD = np.eye(len(mean_D)) - gain_DN @ design_ND
    mean_D = mean_D + gain_DN @ surprise_N
    cov_DD = left_DD @ cov_DD @ left_DD.T + gain_DN @ total_NN @ gain_DN.T
    kept = 1.0 - forget_frac
    mean_D = kept * mean_D
    cov_DD = kept**2 * cov_DD + (1.0 - kept**2) * prior_DD
    seen_NN = np.outer(awake_N, awake_N)
    moved_NN = noise_NN + (1.0 - noise_decay) * (np.outer(return_N, return_N) / wild - noise_NN)
    noise_NN = np.where(seen_NN, moved_NN, noise_NN)
    floor_N = np.maximum(np.diag(noise_NN), NOISE_VARIANCE_MIN)
    np.fill_diagonal(noise_NN, floor_N)
    return mean_D, cov_DD, noise_NN
