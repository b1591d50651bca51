"""Bars out of labelled worlds: what an evaluation plays where no recorded bars are given.

A martingale world has no drift and no memory: nothing can be earned in it, and a report that calls
somebody better there is wrong.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kernels.labelled_bars import RETURN, VOLUME, WORLDS, LabelledWorld, draw_labelled

Floats = NDArray[np.float64]

HOUR_NS = 3_600_000_000_000
FIRST_HOUR = 438_288
"""Bars begin with the year 2020."""

FIRST_PRICE = 20_000.0
REACH_FRAC = 0.3
"""How far high and low reach beyond open and close, in shares of the bar's move and its usual."""

MARTINGALE = replace(WORLDS["misspecified"], drift_sigmas=0.0, echo=0.0, episode_drift_sd=0.0)


def drawn_bars(
    world: str | LabelledWorld, bars: int, seed: int
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return open times (T,), prices open high low close (T, 4) and volumes (T,) of drawn hours.

    KeyError for an unknown name of a world.
    """
    generator = np.random.default_rng(seed)
    path_T4 = draw_labelled(world, bars, generator)
    return_T = np.clip(path_T4[:, RETURN], -0.5, 0.5)
    close_T = FIRST_PRICE * np.cumprod(1.0 + return_T)
    open_T = np.append(FIRST_PRICE, close_T[:-1])
    usual = float(np.abs(return_T).mean())
    reach_2T = REACH_FRAC * (np.abs(return_T) + usual) * generator.random((2, bars))
    high_T = np.maximum(open_T, close_T) * (1.0 + reach_2T[0])
    low_T = np.minimum(open_T, close_T) * (1.0 - np.minimum(reach_2T[1], 0.5))
    open_ns_T = (FIRST_HOUR + np.arange(bars, dtype=np.int64)) * HOUR_NS
    prices_T4 = np.column_stack((open_T, high_T, low_T, close_T))
    return open_ns_T, prices_T4, 100.0 * np.exp(path_T4[:, VOLUME])
