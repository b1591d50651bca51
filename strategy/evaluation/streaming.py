"""The same bars one at a time through the live classes: does the batch decide as the daemon would?

The daemon asks ``Runtime.decide`` and ``MetaLearner`` at every bar; the back-test walks compiled
loops. Both must say the same, or the figures are those of another program.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config.settings import MetaLearningSettings
from strategy.learning.bar_history import History
from strategy.learning.forecasts import Forecast, step_forecast
from strategy.meta_learner import MetaLearner, Outlook
from strategy.observation import (
    CLIP,
    EXTRA_COUNT,
    FLAT,
    FORECAST_NAMES,
    neutral_extras,
    write_observation,
)
from strategy.regime_filter import RegimeFilter
from strategy.residual_model import ResidualModel
from strategy.runtime import Runtime

Floats = NDArray[np.float64]

WEIGHT_TOLERANCE = 1e-9
"""Weights may differ by the rounding of one compiled loop; actions may not differ at all."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Streamed:
    """What was decided bar by bar: weights (T, N), zeros where abstained, and actions (T, N)."""

    weight_TN: Floats
    action_TN: NDArray[np.int64]


class _Closed:
    """The closed bars of a history, as far as the meta-learner asks a feature engine for them."""

    def __init__(self, history: History) -> None:
        self._bars_M3 = history.bars_M3
        self.bar_count = 0

    def read_closed_since(self, seen: int, out_M3: Floats) -> tuple[int, int]:
        kept = min(self.bar_count - seen, len(out_M3))
        out_M3[:kept] = self._bars_M3[self.bar_count - kept : self.bar_count]
        return self.bar_count - seen, kept


def stream(
    runtime: Runtime, history: History, meta: MetaLearningSettings, cost_frac_T: Floats, rows: int
) -> Streamed:
    """Decide at the first ``rows`` closes as the daemon does, one after the other."""
    bundle = runtime.bundle
    features = len(history.feature_names)
    forecast = Forecast.from_tables(bundle.tables, features)
    learner = MetaLearner(
        bundle.agents,
        RegimeFilter.from_tables(bundle.tables),
        meta,
        history.interval_ns,
        residual=ResidualModel.from_tables(bundle.tables),
    )
    closed: Any = _Closed(history)
    held_BA = np.full((1, len(bundle.agents)), FLAT, np.int64)
    obs_BF = np.empty((1, features + EXTRA_COUNT), np.float32)
    extras_E, seen_2, slow = neutral_extras(), np.zeros(len(FORECAST_NAMES)), 0.0
    weights, actions = [], []
    for t in range(rows):
        closed.bar_count = int(history.bar_end_T[t])
        posterior_K = learner.watch(closed, float(history.close_T[t]))
        extras_E[: len(posterior_K)] = posterior_K
        write_observation(bundle.normalisation, history.features_TF[t], extras_E, obs_BF[0])
        slow = step_forecast(
            forecast.weight_F,
            forecast.scale,
            forecast.slow_scale,
            forecast.decay,
            obs_BF[0, :features].astype(np.float64),
            slow,
            seen_2,
        )
        obs_BF[0, -len(FORECAST_NAMES) :] = np.clip(seen_2, -CLIP, CLIP)
        judged = runtime.decide(obs_BF, held_BA)
        healthy_A = judged.healthy_BA[0]
        weight_N = learner.weigh(judged.regime_BK[0], judged.predicted_BA[0], healthy_A)
        outlook = Outlook(gain=forecast.gain(obs_BF[0, -2:]), cost_frac=float(cost_frac_T[t]))
        actions.append(learner.book(judged.action_BA[0], healthy_A, outlook))
        weights.append(np.zeros(len(learner.names)) if weight_N is None else weight_N.copy())
        held_BA = np.where(judged.healthy_BA, judged.action_BA, FLAT)
    return Streamed(weight_TN=np.array(weights), action_TN=np.array(actions))


def differing_rows(streamed: Streamed, weight_TN: Floats, action_TN: NDArray[np.int64]) -> int:
    """Return in how many rows the batch decided otherwise."""
    rows = len(streamed.weight_TN)
    is_apart_T = (np.abs(streamed.weight_TN - weight_TN[:rows]) > WEIGHT_TOLERANCE).any(axis=1)
    return int((is_apart_T | (streamed.action_TN != action_TN[:rows]).any(axis=1)).sum())
