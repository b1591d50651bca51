"""A dense forward pass over states and phases, as a textbook writes it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strategy import regime_steps as rf
from strategy.regime_filter import RegimeFilter

Floats = NDArray[np.float64]


def forward_probabilities(fitted: RegimeFilter, path_T4: Floats) -> Floats:
    """Return the posterior over regimes (T, R) of a filter without effects per episode."""
    states, phases = len(fitted.state_KP), int(fitted.numbers_N[rf.PHASES])
    size = states * phases
    step_SS = np.zeros((size, size))
    for k in range(states):
        advance = fitted.state_KP[k, rf.ADVANCE]
        for p in range(phases):
            step_SS[k * phases + p, k * phases + p] += 1.0 - advance
            if p + 1 < phases:
                step_SS[k * phases + p, k * phases + p + 1] += advance
            else:
                step_SS[k * phases + p, ::phases] += advance * fitted.next_KK[k]
    degrees, tau = fitted.numbers_N[rf.DEGREES], fitted.numbers_N[rf.TAU]
    chance_S = np.zeros(size)
    chance_S[::phases] = 1.0 / states
    out_TR = np.zeros((len(path_T4), fitted.regime_count))
    before = 0.0
    for t, (moved, volume, _, _) in enumerate(path_T4):
        sigma_K = fitted.state_KP[:, rf.SIGMA] * np.sqrt((degrees - 2.0) / degrees)
        mean_K = fitted.state_KP[:, rf.MEAN] + fitted.state_KP[:, rf.ECHO] * before
        z_K = (moved - mean_K) / sigma_K
        density_K = (1.0 + z_K**2 / degrees) ** (-(degrees + 1.0) / 2.0) / sigma_K
        z_K = (volume - fitted.state_KP[:, rf.VOLUME_MEAN]) / fitted.numbers_N[rf.VOLUME_SD]
        density_K = density_K * np.exp(-0.5 * np.minimum(z_K**2, 25.0))
        chance_S = (chance_S @ step_SS) * np.repeat(density_K**tau, phases)
        chance_S /= chance_S.sum()
        np.add.at(
            out_TR[t],
            fitted.state_KP[:, rf.REGIME].astype(int),
            chance_S.reshape(states, phases).sum(axis=1),
        )
        before = moved
    return out_TR
