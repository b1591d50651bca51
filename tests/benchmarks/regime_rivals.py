"""Two public regime models on our labelled bars, causal, tuned and named on the training bars.

hmmlearn fits nine Gaussian states and is filtered forward by hand: its own ``predict`` looks ahead.
jumpmodels predicts online; penalty and number of states are chosen by the training labels.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from hmmlearn.hmm import GaussianHMM
from jumpmodels.jump import JumpModel
from numpy.typing import NDArray
from scipy.special import logsumexp

from kernels.labelled_bars import RETURN, VOLUME
from tests.benchmarks.regime_scores import f1_by_class

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
CLASSES = 7
STATES = 9
TUNING_BARS = 12_000
PENALTIES = (3.0, 10.0, 30.0, 100.0)
SIZES = (7, 12)


def causal_features(path_T4: Floats) -> Floats:
    """Return eight features (T, 8) of the bars up to each one."""
    moved, volume = pd.Series(path_T4[:, RETURN]), pd.Series(path_T4[:, VOLUME])
    columns = [moved, moved.abs(), volume]
    for half_life in (6, 24, 96):
        columns.append(np.log(np.sqrt((moved**2).ewm(halflife=half_life).mean()) + 1e-6))
    slow = np.sqrt((moved**2).ewm(halflife=168).mean()) + 1e-6
    columns.append(moved.ewm(halflife=24).mean() / slow)
    columns.append(volume.ewm(halflife=12).mean())
    return np.column_stack([np.asarray(column, float) for column in columns])


def standardised(train_TF: Floats, path_TF: Floats) -> tuple[Floats, Floats]:
    """Return both in the training bars' own mean and deviation."""
    mean_F, sd_F = train_TF.mean(axis=0), train_TF.std(axis=0)
    return (train_TF - mean_F) / sd_F, (path_TF - mean_F) / sd_F


def majority(state_T: Ints, true_T: Ints, states: int) -> Ints:
    """Return the regime that each state most often is in training."""
    names = np.zeros(states, np.int64)
    for state in range(states):
        mine_T = true_T[state_T == state]
        names[state] = np.bincount(mine_T, minlength=CLASSES).argmax() if len(mine_T) else 0
    return names


def hmmlearn_names(train_T4: Floats, true_T: Ints, path_T4: Floats, seed: int) -> Ints:
    """Return the regimes (T,) that hmmlearn sees, filtered forward."""
    train_TF, path_TF = standardised(causal_features(train_T4), causal_features(path_T4))
    model = GaussianHMM(STATES, covariance_type="diag", n_iter=30, random_state=seed % 2**32)
    model.fit(train_TF)
    names = majority(_forward(model, train_TF).argmax(axis=1), true_T, STATES)
    return np.asarray(names[_forward(model, path_TF).argmax(axis=1)], np.int64)


def _forward(model: GaussianHMM, rows_TF: Floats) -> Floats:
    """Return filtered log probabilities: no row knows a later one."""
    logged_TS = model._compute_log_likelihood(rows_TF)
    log_next_SS = np.log(model.transmat_ + 1e-300)
    out_TS: Floats = np.empty(logged_TS.shape)
    row_S = np.log(model.startprob_ + 1e-300)
    for t in range(len(logged_TS)):
        if t:
            row_S = logsumexp(row_S[:, None] + log_next_SS, axis=0)
        row_S = row_S + logged_TS[t]
        row_S -= logsumexp(row_S)
        out_TS[t] = row_S
    return out_TS


def jump_names(train_T4: Floats, true_T: Ints, path_T4: Floats) -> Ints:
    """Return the regimes (T,) that a jump model sees online, tuned on training labels."""
    train_TF, path_TF = standardised(causal_features(train_T4), causal_features(path_T4))
    fit_TF, fit_true_T = train_TF[:TUNING_BARS], true_T[:TUNING_BARS]
    check_TF = train_TF[TUNING_BARS : 2 * TUNING_BARS]
    check_true_T = true_T[TUNING_BARS : 2 * TUNING_BARS]
    best, chosen, named = -1.0, None, np.zeros(0, np.int64)
    for size in SIZES:
        for penalty in PENALTIES:
            model = JumpModel(n_components=size, jump_penalty=penalty, n_init=3, max_iter=50)
            model.fit(fit_TF)
            names = majority(np.asarray(model.labels_, np.int64), fit_true_T, size)
            seen_T = names[np.asarray(model.predict_online(check_TF), np.int64)]
            score = float(f1_by_class(seen_T, check_true_T, CLASSES).mean())
            if score > best:
                best, chosen, named = score, model, names
    assert chosen is not None
    return np.asarray(named[np.asarray(chosen.predict_online(path_TF), np.int64)], np.int64)
