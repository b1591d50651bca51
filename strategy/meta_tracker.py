"""What a run's decisions look like in sum: how many, how regimes moved, how spread the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.events import REGIMES, Action

Floats = NDArray[np.float64]


class MetaLearningTracker:
    """Counts decisions as they are taken; constant time and memory, whatever the run's length.

    The daemon fills one with every instrument's decisions, ``MetaLearningEnsembleManager`` its own.
    """

    def __init__(self, regimes: Sequence[str] = REGIMES) -> None:
        """Start with nothing seen; ValueError without regimes."""
        if not regimes:
            raise ValueError("no regimes")
        self._regimes = tuple(regimes)
        self._regime_count_K = [0] * len(self._regimes)
        self._action_count_3 = [0] * len(Action)
        self._last_regime: dict[int, int] = {}
        self._steps = self._transitions = 0
        self._weighed, self._effective_sum = 0, 0.0

    def track(
        self, *, regime: int, weights_N: Sequence[float] | Floats, action: int, instrument: int = 0
    ) -> None:
        """Count one decision.

        ``regime`` is the index of the one reported, ``weights_N`` the experts' (all 0: abstained),
        ``action`` the wanted position as 0 SELL, 1 HOLD, 2 BUY. ValueError for others.
        """
        if not 0 <= regime < len(self._regimes) or not 0 <= action < len(Action):
            raise ValueError(f"regime {regime} or action {action} does not exist")
        self._regime_count_K[regime] += 1
        self._action_count_3[action] += 1
        before = self._last_regime.get(instrument)
        if before is not None:
            self._steps += 1
            self._transitions += before != regime
        self._last_regime[instrument] = regime
        square = sum(weight * weight for weight in weights_N)
        if square > 0.0:
            self._weighed += 1
            self._effective_sum += 1.0 / square

    @property
    def decision_count(self) -> int:
        """Decisions so far."""
        return sum(self._action_count_3)

    @property
    def regime_transition_rate(self) -> float | None:
        """Share of decisions whose regime differs from the instrument's last; None before two."""
        return self._transitions / self._steps if self._steps else None

    @property
    def weight_diversity(self) -> float | None:
        """Mean of 1 / sum w^2: how many experts carried weight; None before any was weighed.

        Source: Herfindahl's index, inverted; 1 for one expert alone, N for equal weights.
        """
        return self._effective_sum / self._weighed if self._weighed else None

    @property
    def decision_distribution(self) -> dict[str, float]:
        """Share of each wanted position: SELL, HOLD, BUY; zeros before the first decision."""
        total = max(self.decision_count, 1)
        counts = self._action_count_3
        return {action.name: counts[action] / total for action in Action}

    @property
    def regime_distribution(self) -> dict[str, float]:
        """Share of decisions in each regime; zeros before the first decision."""
        total = max(self.decision_count, 1)
        counts = zip(self._regimes, self._regime_count_K, strict=True)
        return {name: count / total for name, count in counts}

    def summary(self) -> dict[str, Any]:
        """Return all five by their names."""
        return {
            "decision_count": self.decision_count,
            "regime_transition_rate": self.regime_transition_rate,
            "weight_diversity": self.weight_diversity,
            "decision_distribution": self.decision_distribution,
            "regime_distribution": self.regime_distribution,
        }
