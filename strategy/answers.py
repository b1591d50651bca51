"""The whole of one question to the compiled networks in one call: looked at, answered, judged.

Each crossing into compiled code costs 0.3 to 1 us, and looking at positions, the networks and the
health of their answer were three of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit, njit_contracted
from strategy.compiled_kernel import Widths, judge_rows

UNHEALTHY_ACTION = -1
"""The action of an agent whose numbers are not finite: no vote, and none that looks like HOLD."""


@njit
def are_positions(held_BA: NDArray[np.int64]) -> bool:
    """Say whether every entry is 0, 1 or 2: the compiled form uses it as an address."""
    for b in range(held_BA.shape[0]):
        for a in range(held_BA.shape[1]):
            if not 0 <= held_BA[b, a] <= 2:
                return False
    return True


@njit
def write_health(
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


@njit_contracted
def answer_rows(
    flat: NDArray[np.float32],
    width_n: NDArray[np.int64],
    obs_BF: NDArray[np.float32],
    held_BA: NDArray[np.int64],
    scratch: NDArray[np.float32],
    preference_BA3: NDArray[np.float32],
    action_BA: NDArray[np.int64],
    confidence_BA: NDArray[np.float32],
    regime_BK: NDArray[np.float32],
    predicted_BA: NDArray[np.float32],
    healthy_BA: NDArray[np.bool_],
    regime_healthy_B: NDArray[np.bool_],
) -> bool:
    """Judge a batch and its health; False, with nothing written, for positions that are none.

    ``width_n`` are the fields of ``Widths``, as an array: eight numbers of a tuple are unpacked one
    by one on the way in.
    """
    if not are_positions(held_BA):
        return False
    widths = Widths(
        width_n[0],
        width_n[1],
        width_n[2],
        width_n[3],
        width_n[4],
        width_n[5],
        width_n[6],
        width_n[7],
    )
    judge_rows(
        flat,
        widths,
        obs_BF,
        held_BA,
        scratch,
        preference_BA3,
        confidence_BA,
        regime_BK,
        predicted_BA,
        action_BA,
        False,
    )
    write_health(
        preference_BA3,
        action_BA,
        confidence_BA,
        regime_BK,
        predicted_BA,
        healthy_BA,
        regime_healthy_B,
    )
    return True
