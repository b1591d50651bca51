"""What asking a block of rows at once saves in a back-test; run by make bench."""

from __future__ import annotations

import time

import numpy as np
import pytest

from kernels.features import DEFAULT_FEATURE_NAMES
from strategy.bundle import UNTRAINED_BUNDLE_PATH, load
from strategy.compiled import CompiledEnsemble

ROWS, ROUNDS = 4_000, 5
SAVED_FRAC_MIN = 0.1
"""36 % of the time of single rows is saved on the machine that this was written on."""


@pytest.mark.bench
def test_a_walk_is_faster_than_single_rows() -> None:
    """The same rows both ways, alternately, in one process; bits are compared elsewhere."""
    bundle = load(UNTRAINED_BUNDLE_PATH, DEFAULT_FEATURE_NAMES, now_ns=0)
    ensemble = CompiledEnsemble(bundle.weights)
    draws = np.random.default_rng(3)
    obs_TF = draws.normal(size=(ROWS, bundle.observation_count)).astype(np.float32)
    held_A = np.ones(len(bundle.agents), np.int64)
    held_TA = np.vstack((held_A[None], ensemble.walk(obs_TF, held_A)[1][:-1]))
    ensemble.judge(obs_TF, held_TA)
    took_s = np.empty((ROUNDS, 2))
    for n in range(ROUNDS):
        began = time.perf_counter()
        ensemble.walk(obs_TF, held_A)
        between = time.perf_counter()
        ensemble.judge(obs_TF, held_TA)
        took_s[n] = between - began, time.perf_counter() - between
    walked_us, single_us = np.median(took_s, axis=0) / ROWS * 1e6
    print(f"\nus a row: walked {walked_us:.1f}, one by one {single_us:.1f}")
    assert walked_us < (1.0 - SAVED_FRAC_MIN) * single_us
