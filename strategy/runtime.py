"""The hot path of inference: one preallocated observation in, one judgement out.

The seam behind which the interchange form may change: everything else sees ``Runtime.decide``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.jit import njit
from strategy.bundle import SCRIPT_ERRORS, Bundle, last_line

WARM_UP_CALLS = 64
"""Calls per batch size before the first decision: the script executor specialises on the first."""

UNHEALTHY_ACTION = -1
"""The action of an agent whose numbers are not finite: no vote, and none that looks like HOLD."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judgement:
    """What the models say of a batch of observations; axis A as in the bundle's manifest.

    ``preference_BA3`` action values or logits, ``action_BA`` int64 in {0, 1, 2} or -1 where the
    agent is not healthy, ``confidence_BA`` in [0, 1], ``regime_BK`` posteriors that sum to 1,
    ``predicted_BA`` risk-adjusted return. ``healthy_BA`` False: some number of that agent was not
    finite; ``regime_healthy_B`` the same for the posterior. ``error`` is empty unless the module
    itself failed: then it says why, every number is NaN and nobody is healthy.
    """

    preference_BA3: NDArray[np.float32]
    action_BA: NDArray[np.int64]
    confidence_BA: NDArray[np.float32]
    regime_BK: NDArray[np.float32]
    predicted_BA: NDArray[np.float32]
    healthy_BA: NDArray[np.bool_]
    regime_healthy_B: NDArray[np.bool_]
    error: str = ""


class Runtime:
    """Run one loaded bundle; not thread-safe, one per thread."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        """Set torch's thread count for this process and keep one input tensor per batch size."""
        torch.set_num_threads(threads)
        self.bundle = bundle
        self._forward = bundle.module.forward  # the call operator adds hooks that no script has
        self._width = bundle.observation_count
        self._inputs: dict[int, tuple[NDArray[np.float32], torch.Tensor]] = {}

    def warm_up(self, rows_max: int = 2) -> None:
        """Specialise the script for batches of 1 to ``rows_max`` observations."""
        for rows in range(1, rows_max + 1):
            obs_BF = np.zeros((rows, self._width), np.float32)
            for _ in range(WARM_UP_CALLS):
                self.decide(obs_BF)

    def decide(self, obs_BF: NDArray[np.float32]) -> Judgement:
        """Judge a batch of observations, float32 (B, F); the result owns its arrays.

        Raises ValueError for another shape or type: that is a fault of the caller, not of a model.
        """
        if obs_BF.ndim != 2 or obs_BF.shape[1] != self._width or obs_BF.dtype != np.float32:
            raise ValueError(
                f"observation {obs_BF.dtype} {obs_BF.shape}, wanted float32 (B, {self._width})"
            )
        rows = obs_BF.shape[0]
        if rows not in self._inputs:
            held_BF = np.empty((rows, self._width), np.float32)
            self._inputs[rows] = (held_BF, torch.from_numpy(held_BF))
        held_BF, input_BF = self._inputs[rows]
        np.copyto(held_BF, obs_BF)
        try:
            with torch.inference_mode():
                preference, action, confidence, regime, predicted = self._forward(input_BF)
        except SCRIPT_ERRORS as error:
            return self._failed(rows, last_line(error))
        return _judgement(
            preference.numpy(),
            action.numpy(),
            confidence.numpy(),
            regime.numpy(),
            predicted.numpy(),
        )

    def _failed(self, rows: int, error: str) -> Judgement:
        agents, regimes = len(self.bundle.agents), len(self.bundle.regimes)
        return Judgement(
            preference_BA3=np.full((rows, agents, 3), np.nan, np.float32),
            action_BA=np.full((rows, agents), UNHEALTHY_ACTION, np.int64),
            confidence_BA=np.full((rows, agents), np.nan, np.float32),
            regime_BK=np.full((rows, regimes), np.nan, np.float32),
            predicted_BA=np.full((rows, agents), np.nan, np.float32),
            healthy_BA=np.zeros((rows, agents), np.bool_),
            regime_healthy_B=np.zeros(rows, np.bool_),
            error=error or "the module failed without a reason",
        )


def _judgement(
    preference_BA3: NDArray[np.float32],
    action_BA: NDArray[np.int64],
    confidence_BA: NDArray[np.float32],
    regime_BK: NDArray[np.float32],
    predicted_BA: NDArray[np.float32],
) -> Judgement:
    healthy_BA = np.empty(action_BA.shape, np.bool_)
    regime_healthy_B = np.empty(len(action_BA), np.bool_)
    _write_health(
        preference_BA3,
        action_BA,
        confidence_BA,
        regime_BK,
        predicted_BA,
        healthy_BA,
        regime_healthy_B,
    )
    return Judgement(
        preference_BA3=preference_BA3,
        action_BA=action_BA,
        confidence_BA=confidence_BA,
        regime_BK=regime_BK,
        predicted_BA=predicted_BA,
        healthy_BA=healthy_BA,
        regime_healthy_B=regime_healthy_B,
    )


@njit
def _write_health(
    preference_BA3: NDArray[np.float32],
    action_BA: NDArray[np.int64],
    confidence_BA: NDArray[np.float32],
    regime_BK: NDArray[np.float32],
    predicted_BA: NDArray[np.float32],
    healthy_BA: NDArray[np.bool_],
    regime_healthy_B: NDArray[np.bool_],
) -> None:
    """Write who is healthy, and take the vote of who is not."""
    rows, agents = action_BA.shape
    for b in range(rows):
        for a in range(agents):
            finite = np.isfinite(confidence_BA[b, a]) and np.isfinite(predicted_BA[b, a])
            for c in range(preference_BA3.shape[2]):
                finite = finite and np.isfinite(preference_BA3[b, a, c])
            healthy_BA[b, a] = finite
            if not finite:
                action_BA[b, a] = UNHEALTHY_ACTION
        finite = True
        for k in range(regime_BK.shape[1]):
            finite = finite and np.isfinite(regime_BK[b, k])
        regime_healthy_B[b] = finite
