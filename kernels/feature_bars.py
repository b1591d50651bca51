"""The close of one bar: averages over bars and the inputs of the sliding windows.

Formulas and sources stand with each feature in ``kernels.feature_catalogue``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels import feature_slots as at
from kernels import feature_windows as win
from kernels.bars import next_bar
from kernels.feature_statistics import bars_in, bound_all, put, write_long, write_short
from kernels.jit import njit
from kernels.rings import ring_back, ring_put, ring_slot
from kernels.rolling import ewma, ratio
from kernels.units import BPS_PER_UNIT

WEIGHT_VARIANCE = 0.06
WEIGHT_WILDER = 1.0 / 14.0
WEIGHT_12 = 2.0 / 13.0
WEIGHT_26 = 2.0 / 27.0
WEIGHT_9 = 2.0 / 10.0
WEIGHT_3 = 2.0 / 4.0
WEIGHT_SLOW = 1.0 / at.SLOW_BARS

BARS_VARIANCE = 20
BARS_WILDER = 15
BARS_ADX = 29
BARS_MACD = 35


@njit
def log_return(state: NDArray[np.float64], newest: int, back: int) -> float:
    """Return ln(close / close ``back`` bars earlier), 0 where there is none so early."""
    if newest < back:
        return 0.0
    before = ring_back(state, at.CLOSES, at.CLOSES_CAPACITY, newest, back)
    return math.log(ring_back(state, at.CLOSES, at.CLOSES_CAPACITY, newest, 0) / before)


@njit
def _write_inputs(state: NDArray[np.float64], index: int, close: float) -> int:
    """Store what this bar contributes to the windows; return where."""
    window_index = index - at.LAG_BARS
    bar = ring_slot(int(state[at.INPUTS_AT]), int(state[at.LONG_BARS]), win.IN_WIDTH, window_index)
    anchor = state[at.ANCHOR_TICKS]
    state[bar + win.IN_PRICE] = math.log(close / anchor)
    state[bar + win.IN_RETURN] = log_return(state, index, 1)
    state[bar + win.IN_RETURN_BEFORE] = state[at.RETURN_BEFORE]
    state[bar + win.IN_RETURN_5] = log_return(state, index, 5)
    state[bar + win.IN_RETURN_20] = log_return(state, index, 20)
    state[bar + win.IN_RANGE] = math.log(state[at.BAR_HIGH] / state[at.BAR_LOW])
    state[bar + win.IN_BODY] = math.log(close / state[at.BAR_OPEN])
    state[bar + win.IN_HIGH] = math.log(state[at.BAR_HIGH] / anchor)
    state[bar + win.IN_LOW] = math.log(state[at.BAR_LOW] / anchor)
    state[bar + win.IN_VOLUME] = state[at.BAR_VOLUME_LOTS]
    state[bar + win.IN_SIGNED] = state[at.BAR_SIGNED_LOTS]
    state[bar + win.IN_NOTIONAL] = state[at.BAR_NOTIONAL]
    state[bar + win.IN_ORDER_FLOW] = state[at.BAR_ORDER_FLOW_LOTS]
    spread_bps = state[at.SPREAD_BPS]
    if state[at.BAR_QUOTES] > 0.0:
        spread_bps = state[at.BAR_SPREAD_SUM_BPS] / state[at.BAR_QUOTES]
    state[bar + win.IN_SPREAD] = spread_bps
    state[bar + win.IN_INDEX] = index
    win.derive_inputs(state[bar : bar + win.IN_WIDTH])
    return bar


@njit
def _write_returns(state: NDArray[np.float64], bar: int, index: int) -> None:
    if index >= 1:
        put(state, at.RETURN_1_BPS, BPS_PER_UNIT * state[bar + win.IN_RETURN])
    if index >= 5:
        put(state, at.RETURN_5_BPS, BPS_PER_UNIT * state[bar + win.IN_RETURN_5])
    if index >= 10:
        newest = state[bar + win.IN_RETURN_5]
        before = log_return(state, index, 10) - newest
        put(state, at.ACCELERATION_5_BPS, BPS_PER_UNIT * (newest - before))
    if index >= 20:
        put(state, at.RETURN_20_BPS, BPS_PER_UNIT * state[bar + win.IN_RETURN_20])


@njit
def _average_prices(state: NDArray[np.float64], bar: int, bars: int) -> None:
    """Update MACD, RSI and the exponential variance."""
    price = state[bar + win.IN_PRICE]
    state[at.EMA_12] = ewma(state[at.EMA_12], price, bars, WEIGHT_12)
    state[at.EMA_26] = ewma(state[at.EMA_26], price, bars, WEIGHT_26)
    macd = state[at.EMA_12] - state[at.EMA_26]
    state[at.EMA_SIGNAL_9] = ewma(state[at.EMA_SIGNAL_9], macd, bars, WEIGHT_9)
    returns = bars - 1
    if returns < 1:
        return
    change = state[bar + win.IN_RETURN]
    state[at.VARIANCE_EWMA] = ewma(
        state[at.VARIANCE_EWMA], change * change, returns, WEIGHT_VARIANCE
    )
    state[at.GAIN_14] = ewma(state[at.GAIN_14], max(change, 0.0), returns, WEIGHT_WILDER)
    state[at.LOSS_14] = ewma(state[at.LOSS_14], max(-change, 0.0), returns, WEIGHT_WILDER)
    volatility = math.sqrt(state[at.VARIANCE_EWMA])
    if bars >= BARS_VARIANCE:
        put(state, at.VOLATILITY_EWMA_BPS, BPS_PER_UNIT * volatility)
    if bars >= BARS_WILDER:
        gain = state[at.GAIN_14]
        move = gain + state[at.LOSS_14]
        put(state, at.RSI_14, 2.0 * gain / move - 1.0 if move > 0.0 else 0.0)
    if bars >= BARS_MACD:
        put(state, at.MACD_12_26, ratio(macd, volatility))
        put(state, at.MACD_HISTOGRAM_9, ratio(macd - state[at.EMA_SIGNAL_9], volatility))


@njit
def _average_ranges(state: NDArray[np.float64], bar: int, bars: int) -> None:
    """Update true range, directional movement and money flow."""
    high = state[bar + win.IN_HIGH]
    low = state[bar + win.IN_LOW]
    close = state[bar + win.IN_PRICE]
    typical = (high + low + close) / 3.0
    pairs = bars - 1
    if pairs >= 1:
        before = close - state[bar + win.IN_RETURN]
        true_range = max(high, before) - min(low, before)
        up = high - state[at.HIGH_BEFORE]
        down = state[at.LOW_BEFORE] - low
        plus = up if up > down and up > 0.0 else 0.0
        minus = down if down > up and down > 0.0 else 0.0
        state[at.TRUE_RANGE_14] = ewma(state[at.TRUE_RANGE_14], true_range, pairs, WEIGHT_WILDER)
        state[at.PLUS_MOVE_14] = ewma(state[at.PLUS_MOVE_14], plus, pairs, WEIGHT_WILDER)
        state[at.MINUS_MOVE_14] = ewma(state[at.MINUS_MOVE_14], minus, pairs, WEIGHT_WILDER)
        money = math.exp(typical) * state[bar + win.IN_VOLUME]
        rises = typical > state[at.TYPICAL_BEFORE]
        falls = typical < state[at.TYPICAL_BEFORE]
        state[at.MONEY_UP_14] = ewma(
            state[at.MONEY_UP_14], money if rises else 0.0, pairs, WEIGHT_WILDER
        )
        state[at.MONEY_DOWN_14] = ewma(
            state[at.MONEY_DOWN_14], money if falls else 0.0, pairs, WEIGHT_WILDER
        )
    state[at.HIGH_BEFORE] = high
    state[at.LOW_BEFORE] = low
    state[at.TYPICAL_BEFORE] = typical
    difference = state[at.PLUS_MOVE_14] - state[at.MINUS_MOVE_14]
    direction = ratio(difference, state[at.PLUS_MOVE_14] + state[at.MINUS_MOVE_14])
    if bars >= BARS_WILDER:
        state[at.DIRECTION_14] = ewma(
            state[at.DIRECTION_14], abs(direction), bars - BARS_WILDER + 1, WEIGHT_WILDER
        )
        put(state, at.DIRECTIONAL_14, ratio(difference, state[at.TRUE_RANGE_14]))
        put(state, at.ATR_14_BPS, BPS_PER_UNIT * state[at.TRUE_RANGE_14])
        money_up = state[at.MONEY_UP_14]
        money_both = money_up + state[at.MONEY_DOWN_14]
        put(state, at.MONEY_FLOW_14, 2.0 * money_up / money_both - 1.0 if money_both > 0.0 else 0.0)
    if bars >= BARS_ADX:
        put(state, at.ADX_14, state[at.DIRECTION_14])


@njit
def _average_references(state: NDArray[np.float64]) -> None:
    """Take one sample a bar of depth and basis into their slow averages."""
    if state[at.HAS_BOOK] > 0.0:
        state[at.DEPTH_COUNT] += 1.0
        state[at.DEPTH_EWMA_LOTS] = ewma(
            state[at.DEPTH_EWMA_LOTS], state[at.DEPTH_NOW_LOTS], state[at.DEPTH_COUNT], WEIGHT_SLOW
        )
    if state[at.HAS_MARK] > 0.0:
        state[at.BASIS_COUNT] += 1.0
        state[at.BASIS_EWMA_BPS] = ewma(
            state[at.BASIS_EWMA_BPS], state[at.BASIS_BPS], state[at.BASIS_COUNT], WEIGHT_SLOW
        )


@njit
def close_bar(state: NDArray[np.float64]) -> None:
    """Close the open bar and open the next; without any price yet it only goes by."""
    close = state[at.MID_TICKS]
    if close <= 0.0:
        next_bar(state)
        return
    index = int(state[at.BARS])
    bars = index + 1
    if state[at.BAR_QUOTES] == 0.0:
        state[at.BAR_OPEN] = close
        state[at.BAR_HIGH] = close
        state[at.BAR_LOW] = close
    if index == 0:
        state[at.ANCHOR_TICKS] = close
    ring_put(state, at.CLOSES, at.CLOSES_CAPACITY, index, close)
    bar = _write_inputs(state, index, close)
    window_index = index - at.LAG_BARS
    if window_index >= 0:
        win.slide_window(state, int(state[at.SHORT_AT]), window_index, bar)
        win.slide_window(state, int(state[at.LONG_AT]), window_index, bar)
    _write_returns(state, bar, index)
    _average_prices(state, bar, bars)
    _average_ranges(state, bar, bars)
    _average_references(state)
    write_short(state, bar, bars)
    write_long(state, bar, bars)
    if bars_in(state, at.SHORT_BARS, bars) > 0.0:
        state[at.STOCHASTIC_COUNT] += 1.0
        state[at.STOCHASTIC_EMA] = ewma(
            state[at.STOCHASTIC_EMA],
            state[at.STOCHASTIC_SHORT],
            state[at.STOCHASTIC_COUNT],
            WEIGHT_3,
        )
    if state[at.STOCHASTIC_COUNT] >= 3.0:
        put(state, at.STOCHASTIC_SIGNAL_3, state[at.STOCHASTIC_EMA])
    bound_all(state)
    state[at.RETURN_BEFORE] = state[bar + win.IN_RETURN]
    state[at.CLOSE_TICKS] = close
    state[at.BARS] = bars
    next_bar(state)


@njit
def read_closed_bar(state: NDArray[np.float64], back: int, out_3: NDArray[np.float64]) -> None:
    """Write log return, log volume (lots) and log range of the bar closed ``back`` bars ago.

    0 is the bar closed last; ``back`` must be below the long window and the number of closed bars.
    A bar without a trade has no volume, one without a move no range: both read NaN, unknown.
    """
    index = int(state[at.BARS]) - 1 - back - at.LAG_BARS
    bar = ring_slot(int(state[at.INPUTS_AT]), int(state[at.LONG_BARS]), win.IN_WIDTH, index)
    volume, span = state[bar + win.IN_VOLUME], state[bar + win.IN_RANGE]
    out_3[0] = state[bar + win.IN_RETURN]
    out_3[1] = math.log(volume) if volume > 0.0 else np.nan
    out_3[2] = math.log(span) if span > 0.0 else np.nan


@njit
def read_closed_since(
    state: NDArray[np.float64], seen: int, out_M3: NDArray[np.float64]
) -> tuple[int, int]:
    """Write the bars closed since there were ``seen``, oldest first; of too many the newest.

    Returns how many closed and how many are written.
    """
    closed = int(state[at.BARS]) - seen
    written = max(0, min(closed, int(state[at.LONG_BARS]), out_M3.shape[0]))
    for m in range(written):
        read_closed_bar(state, written - 1 - m, out_M3[m])
    return closed, written
