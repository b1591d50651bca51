"""What every expert earns on its own account, net of costs, in standard deviations of a bar.

Each holds -1, 0 or +1 of the instrument, whatever the ensemble holds; a change of position costs
fee and half the spread at once, against the bar that begins. At the bar's close the sums are handed
to the meta-learner over one scale for all, known before the bar: the root of an exponential mean of
squared returns. All steps are O(1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit
from strategy.controllers import MOMENTUM_DECAY, controller_positions, noise_scale
from strategy.observation import FLAT
from strategy.quality import (
    FIRST_MULTIPLE,
    MISS_FRAC,
    NORMAL_BOUND,
    calibration_factor,
    interval_step,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

VARIANCE_DECAY = 0.5 ** (1.0 / 200.0)
"""Memory of the scale per bar: a half-life of 200 bars."""

SCALE_BARS_MIN = 20
"""Bars before the scale counts as known; until then nothing is learned."""

SCALE_MIN = 1e-7
"""Smallest scale of a bar's return: a market that stood still must not make a tick infinite."""

MID, SQUARE, BARS, TREND, INTERVAL = range(5)
NUMBERS = 6
"""``INTERVAL`` holds the two numbers of the interval around a bar's return in units of the scale
foretold for it; zeros until the scale is known."""


class ShadowAccounts:
    """Accounts of N experts on one instrument: ``position_N`` in {-1, 0, 1}, sums since the bar."""

    def __init__(self, count: int) -> None:
        """Start flat, with nothing seen."""
        self.position_N = np.zeros(count, np.int64)
        self.earned_N = np.zeros(count)
        self._numbers = np.zeros(NUMBERS)
        calibration_factor(self._numbers[INTERVAL:NUMBERS])  # compile now: no decision waits for it

    @property
    def arrays(self) -> tuple[Floats, Floats, Ints]:
        """Numbers, sums since the bar and positions, live, as the kernels take them."""
        return self._numbers, self.earned_N, self.position_N

    @property
    def scale(self) -> float:
        """Standard deviation of a bar's return as known now; 0 while unknown."""
        return scale_of(self._numbers)

    @property
    def calibration_frac(self) -> float:
        """What is left of the size by how well the scale foretells returns, in [0, 1]."""
        return float(calibration_factor(self._numbers[INTERVAL:NUMBERS]))

    def mark(self, mid: float) -> None:
        """Move every account by the change of the middle price since it was last told."""
        mark_step(self._numbers, self.earned_N, self.position_N, mid)

    def trade(self, position_N: Ints, cost_frac: float) -> None:
        """Take new positions (N,) in {-1, 0, 1} at a cost for each unit that changes hands."""
        _trade(self.earned_N, self.position_N, position_N, cost_frac)

    def book(self, action_A: Ints, healthy_A: Flags, gain: float, cost_frac: float) -> Ints:
        """Take what agents and controllers want now as their positions; return all actions (N,).

        The last experts are the controllers, who see the expected ``gain`` of being long in
        deviations of a bar. An agent that is not healthy goes flat and keeps its invalid action.
        """
        action_N = np.empty(len(self.position_N), np.int64)
        book_step(
            self._numbers,
            self.earned_N,
            self.position_N,
            action_A,
            healthy_A,
            gain,
            cost_frac,
            action_N,
        )
        return action_N

    def settle(self) -> Floats | None:
        """Hand out what was earned since the last settlement; None while the scale is unknown."""
        earned_N = np.empty(len(self.earned_N))
        return earned_N if settle_step(self._numbers, self.earned_N, earned_N) else None

    def rest(self) -> None:
        """Go flat for nothing and forget the open bar: nobody was asked for a while."""
        rest_step(self.earned_N, self.position_N)

    def scale_by(self, return_frac: float) -> None:
        """Take a closed bar's return into scale and trend: from now on they are known."""
        scale_step(self._numbers, return_frac)

    @property
    def state(self) -> Floats:
        """All that is remembered, as one row of numbers."""
        return np.concatenate((self.position_N.astype(np.float64), self.earned_N, self._numbers))

    def restore(self, state: Floats) -> None:
        """Take over what ``state`` gave; ValueError for another number of experts."""
        count = len(self.position_N)
        if state.shape != (2 * count + NUMBERS,):
            raise ValueError("shadow accounts of another number of experts")
        self.position_N[:] = state[:count].astype(np.int64)
        self.earned_N[:] = state[count : 2 * count]
        self._numbers[:] = state[2 * count :]


@njit
def scale_of(numbers: Floats) -> float:
    """Return the standard deviation of a bar's return as known; 0 while unknown."""
    if numbers[BARS] < SCALE_BARS_MIN:
        return 0.0
    return float(max(np.sqrt(numbers[SQUARE]), SCALE_MIN))


@njit
def _trend(numbers: Floats) -> float:
    scale = scale_of(numbers)
    if scale == 0.0:
        return 0.0
    return float(numbers[TREND] / (scale * noise_scale(MOMENTUM_DECAY, numbers[BARS])))


@njit
def mark_step(numbers: Floats, earned_N: Floats, position_N: Ints, mid: float) -> None:
    """Move every account by the change of the middle price."""
    before = numbers[MID]
    if before > 0.0:
        for i in range(earned_N.shape[0]):
            earned_N[i] += position_N[i] * (mid / before - 1.0)
    numbers[MID] = mid


@njit
def rest_step(earned_N: Floats, position_N: Ints) -> None:
    """Go flat for nothing and forget the open bar."""
    position_N[:] = 0
    earned_N[:] = 0.0


@njit
def settle_step(numbers: Floats, earned_N: Floats, out_N: Floats) -> bool:
    """Write what was earned, in deviations of a bar, and begin anew; False: scale unknown."""
    scale = scale_of(numbers)
    for i in range(earned_N.shape[0]):
        out_N[i] = earned_N[i] / scale if scale > 0.0 else 0.0
        earned_N[i] = 0.0
    return bool(scale > 0.0)


@njit
def _trade(earned_N: Floats, position_N: Ints, wanted_N: Ints, cost_frac: float) -> None:
    for i in range(earned_N.shape[0]):
        earned_N[i] -= cost_frac * abs(wanted_N[i] - position_N[i])
        position_N[i] = wanted_N[i]


@njit
def book_step(
    numbers: Floats,
    earned_N: Floats,
    position_N: Ints,
    action_A: Ints,
    healthy_A: Flags,
    gain: float,
    cost_frac: float,
    action_N: Ints,
) -> None:
    """Let the controllers choose, then everybody trade; who is not healthy goes flat."""
    count, agents = position_N.shape[0], action_A.shape[0]
    scale = scale_of(numbers)
    cost = cost_frac / scale if scale > 0.0 else np.inf
    controller_positions(position_N[agents:] + FLAT, gain, cost, _trend(numbers), action_N[agents:])
    wanted_N = np.zeros(count, np.int64)
    for i in range(count):
        if i < agents:
            action_N[i] = action_A[i]
        if i >= agents or healthy_A[i]:
            wanted_N[i] = action_N[i] - FLAT
    _trade(earned_N, position_N, wanted_N, cost_frac)


@njit
def scale_step(numbers: Floats, return_frac: float) -> None:
    """Both means are corrected for their start: the first bar counts whole.

    The interval is moved by this bar first, in units of the scale that was known before it.
    """
    scale, interval_2 = scale_of(numbers), numbers[INTERVAL:NUMBERS]
    if scale > 0.0:
        if interval_2[1] == 0.0:
            interval_2[0], interval_2[1] = FIRST_MULTIPLE, NORMAL_BOUND / FIRST_MULTIPLE
        interval_step(interval_2, abs(return_frac) / scale, MISS_FRAC)
    numbers[BARS] += 1.0
    gain = (1.0 - VARIANCE_DECAY) / (1.0 - VARIANCE_DECAY ** numbers[BARS])
    numbers[SQUARE] += gain * (return_frac * return_frac - numbers[SQUARE])
    numbers[TREND] = MOMENTUM_DECAY * numbers[TREND] + (1.0 - MOMENTUM_DECAY) * return_frac
