"""From the record of a window to the features read off it.

Formulas and sources stand with each feature in ``kernels.feature_catalogue``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels import feature_slots as at
from kernels import feature_windows as win
from kernels.jit import njit
from kernels.rolling import correlation, ratio
from kernels.units import BPS_PER_UNIT

LN_2 = 0.6931471805599453
LN_4 = 1.3862943611198906
HALF_PI = 1.5707963267948966
T_STATISTIC_MAX = 100.0


@njit
def bars_in(state: NDArray[np.float64], length_at: int, bars: int) -> float:
    """Return how many bars a window holds, 0 while they are too few to be read.

    ``length_at`` is SHORT_BARS or LONG_BARS, ``bars`` the bars closed.
    """
    length = state[length_at]
    held = min(float(bars - at.LAG_BARS), length)
    if held < min(length, float(at.WINDOW_START_BARS)):
        return 0.0
    return float(held)


@njit
def bounded(value: float, low: float, high: float) -> float:
    """Return the value moved into [low, high]; a value that is not a number becomes low."""
    return min(high, max(low, value))


@njit
def log_ratio(numerator: float, denominator: float) -> float:
    """Return ln(numerator / denominator), 0 unless both are positive."""
    if numerator > 0.0 and denominator > 0.0:
        return math.log(numerator / denominator)
    return 0.0


@njit
def deviation(value: float, mean: float, second: float, count: float) -> float:
    """Return (value - mean) / standard deviation, from a sum of squares; 0 where that is 0."""
    if second > 0.0:
        return (value - mean) / math.sqrt(second / count)
    return 0.0


@njit
def squares(state: NDArray[np.float64], record: int, bars: float) -> float:
    """Return the sum of squared returns of a window: its realised variance."""
    mean = state[record + win.MEAN_RETURN]
    return float(state[record + win.SECOND_RETURN] + bars * mean * mean)


@njit
def realised(state: NDArray[np.float64], record: int, bars: float) -> float:
    """Return the root mean square return of a window."""
    return math.sqrt(squares(state, record, bars) / bars)


@njit
def momentum(state: NDArray[np.float64], record: int, bars: float) -> float:
    """Return the t statistic of the mean return, within ±100."""
    score = deviation(state[record + win.MEAN_RETURN], 0.0, state[record + win.SECOND_RETURN], bars)
    return bounded(score * math.sqrt(bars), -T_STATISTIC_MAX, T_STATISTIC_MAX)


@njit
def slope(state: NDArray[np.float64], record: int, bars: float) -> float:
    """Return the least-squares slope of log price per bar."""
    return float(state[record + win.CROSS_TIME_PRICE] / time_second(bars))


@njit
def time_second(bars: float) -> float:
    """Return the sum of squared deviations of 0, 1, .. bars - 1 from their mean."""
    return bars * (bars * bars - 1.0) / 12.0


@njit
def efficiency(state: NDArray[np.float64], record: int) -> float:
    """Return |net move| / path length of a window, in [0, 1]."""
    return min(1.0, ratio(abs(state[record + win.MEAN_RETURN]), state[record + win.MEAN_SIZE]))


@njit
def channel(state: NDArray[np.float64], record: int, price: float) -> float:
    """Return where the close stands between lowest low (-1) and highest high (+1)."""
    width = state[record + win.HIGHEST] - state[record + win.LOWEST]
    if width > 0.0:
        return bounded(2.0 * (price - state[record + win.LOWEST]) / width - 1.0, -1.0, 1.0)
    return 0.0


@njit
def variance_ratio(second_long: float, second: float, horizon: float) -> float:
    """Return Var(return over horizon) / (horizon Var(return)) - 1; 0 where there is no variance."""
    if second > 0.0:
        return second_long / (horizon * second) - 1.0
    return 0.0


@njit
def hurst(second_20: float, second_5: float) -> float:
    """Return ln(Var(20) / Var(5)) / (2 ln 4) - 1/2: above 0 persistent, within ±1/2."""
    if second_20 > 0.0 and second_5 > 0.0:
        return bounded(0.5 * math.log(second_20 / second_5) / LN_4 - 0.5, -0.5, 0.5)
    return 0.0


@njit
def write_short(state: NDArray[np.float64], bar: int, bars: int) -> None:
    """Write the features of the short window, once it holds enough bars."""
    n = bars_in(state, at.SHORT_BARS, bars)
    if n == 0.0:
        return
    record = win.result_of(int(state[at.SHORT_AT]))
    price = state[bar + win.IN_PRICE]
    state[at.MOMENTUM_SHORT] = momentum(state, record, n)
    state[at.VOLATILITY_REALISED_SHORT_BPS] = BPS_PER_UNIT * realised(state, record, n)
    state[at.VOLATILITY_PARKINSON_SHORT_BPS] = BPS_PER_UNIT * math.sqrt(
        state[record + win.SUM_RANGE_SQUARES] / (4.0 * LN_2 * n)
    )
    state[at.SLOPE_SHORT_BPS] = BPS_PER_UNIT * slope(state, record, n)
    state[at.EFFICIENCY_RATIO_SHORT] = efficiency(state, record)
    state[at.BOLLINGER_SHORT] = 0.5 + 0.25 * deviation(
        price, state[record + win.MEAN_PRICE], state[record + win.SECOND_PRICE], n
    )
    state[at.BOLLINGER_WIDTH_SHORT_BPS] = (
        4.0 * BPS_PER_UNIT * math.sqrt(state[record + win.SECOND_PRICE] / n)
    )
    state[at.STOCHASTIC_SHORT] = channel(state, record, price)


@njit
def _write_long_volatility(
    state: NDArray[np.float64], record: int, n: float, short_bars: float
) -> None:
    short = win.result_of(int(state[at.SHORT_AT]))
    variance = squares(state, record, n)
    bipower = HALF_PI * state[record + win.SUM_BIPOWER]
    second = state[record + win.SECOND_RETURN]
    state[at.VOLATILITY_REALISED_LONG_BPS] = BPS_PER_UNIT * math.sqrt(variance / n)
    state[at.VOLATILITY_BIPOWER_LONG_BPS] = BPS_PER_UNIT * math.sqrt(bipower / n)
    state[at.VOLATILITY_GARMAN_KLASS_LONG_BPS] = BPS_PER_UNIT * math.sqrt(
        max(0.0, state[record + win.SUM_GARMAN_KLASS]) / n
    )
    state[at.VOLATILITY_RATIO] = log_ratio(
        realised(state, short, short_bars), math.sqrt(variance / n)
    )
    state[at.VOLATILITY_OF_VOLATILITY_LONG] = ratio(
        math.sqrt(state[record + win.SECOND_SIZE] / n), state[record + win.MEAN_SIZE]
    )
    state[at.VOLATILITY_CLUSTERING_LONG] = correlation(
        state[record + win.CROSS_SIZE_SIZE],
        state[record + win.SECOND_SIZE_BEFORE],
        state[record + win.SECOND_SIZE],
    )
    state[at.DOWNSIDE_SHARE_LONG] = ratio(state[record + win.SUM_DOWN_SQUARES], variance)
    state[at.JUMP_SHARE_LONG] = bounded(ratio(variance - bipower, variance), 0.0, 1.0)
    state[at.JUMP_LARGEST_LONG] = ratio(state[record + win.SIZE_LARGEST], math.sqrt(variance / n))
    state[at.SKEWNESS_LONG] = 0.0
    state[at.KURTOSIS_LONG] = 0.0
    if second * second > 0.0:
        spread = second / n
        state[at.SKEWNESS_LONG] = (
            state[record + win.THIRD_RETURN] / n / (spread * math.sqrt(spread))
        )
        state[at.KURTOSIS_LONG] = state[record + win.FOURTH_RETURN] * n / (second * second) - 3.0


@njit
def _write_long_price(state: NDArray[np.float64], record: int, n: float, price: float) -> None:
    second = state[record + win.SECOND_RETURN]
    cross = state[record + win.CROSS_TIME_PRICE]
    fit = correlation(cross, time_second(n), state[record + win.SECOND_PRICE])
    state[at.RETURN_LONG_BPS] = BPS_PER_UNIT * n * state[record + win.MEAN_RETURN]
    state[at.MOMENTUM_LONG] = momentum(state, record, n)
    state[at.UP_SHARE_LONG] = state[record + win.SUM_UP] / n
    state[at.SLOPE_LONG_BPS] = BPS_PER_UNIT * slope(state, record, n)
    state[at.TREND_FIT_LONG] = fit * abs(fit)
    state[at.EFFICIENCY_RATIO_LONG] = efficiency(state, record)
    state[at.AROON_LONG] = (
        state[record + win.HIGHEST_INDEX] - state[record + win.LOWEST_INDEX]
    ) / n
    state[at.CHANNEL_POSITION_LONG] = channel(state, record, price)
    state[at.ZSCORE_LONG] = deviation(
        price, state[record + win.MEAN_PRICE], state[record + win.SECOND_PRICE], n
    )
    state[at.VARIANCE_RATIO_5_LONG] = variance_ratio(
        state[record + win.SECOND_RETURN_5], second, 5.0
    )
    state[at.VARIANCE_RATIO_20_LONG] = variance_ratio(
        state[record + win.SECOND_RETURN_20], second, 20.0
    )
    state[at.AUTOCORRELATION_LONG] = correlation(
        state[record + win.CROSS_BEFORE_RETURN], state[record + win.SECOND_BEFORE], second
    )
    state[at.HURST_LONG] = hurst(
        state[record + win.SECOND_RETURN_20], state[record + win.SECOND_RETURN_5]
    )
    state[at.DRAWDOWN_LONG_FRAC] = 1.0 - math.exp(price - state[record + win.CLOSE_HIGHEST])
    state[at.MAX_DRAWDOWN_LONG_FRAC] = 1.0 - math.exp(-state[record + win.FALL_LARGEST])


@njit
def _write_long_flow(state: NDArray[np.float64], record: int, n: float, bar: int) -> None:
    second = state[record + win.SECOND_RETURN]
    volume = state[record + win.MEAN_VOLUME]
    state[at.VWAP_DEVIATION_LONG_BPS] = 0.0
    if volume > 0.0:
        vwap_ticks = state[record + win.SUM_NOTIONAL] / (n * volume)
        state[at.VWAP_DEVIATION_LONG_BPS] = BPS_PER_UNIT * (state[at.MID_TICKS] / vwap_ticks - 1.0)
    signed_second = state[record + win.SECOND_SIGNED]
    state[at.KYLE_LAMBDA_LONG_BPS] = BPS_PER_UNIT * ratio(
        state[record + win.CROSS_SIGNED_RETURN] * volume, signed_second
    )
    state[at.FLOW_CORRELATION_LONG] = correlation(
        state[record + win.CROSS_SIGNED_RETURN], signed_second, second
    )
    state[at.IMPACT_CORRELATION_LONG] = correlation(
        state[record + win.CROSS_ORDER_FLOW_RETURN],
        state[record + win.SECOND_ORDER_FLOW],
        second,
    )
    state[at.VOLUME_ZSCORE_LONG] = deviation(
        state[bar + win.IN_VOLUME], volume, state[record + win.SECOND_VOLUME], n
    )
    state[at.SPREAD_ZSCORE_LONG] = deviation(
        state[bar + win.IN_SPREAD],
        state[record + win.MEAN_SPREAD],
        state[record + win.SECOND_SPREAD],
        n,
    )
    short = win.result_of(int(state[at.SHORT_AT]))
    state[at.ILLIQUIDITY_RATIO] = log_ratio(
        state[short + win.MEAN_SIZE] * volume,
        state[record + win.MEAN_SIZE] * state[short + win.MEAN_VOLUME],
    )


@njit
def write_long(state: NDArray[np.float64], bar: int, bars: int) -> None:
    """Write the features of the long window, once it holds enough bars."""
    n = bars_in(state, at.LONG_BARS, bars)
    if n == 0.0:
        return
    record = win.result_of(int(state[at.LONG_AT]))
    _write_long_volatility(state, record, n, bars_in(state, at.SHORT_BARS, bars))
    _write_long_price(state, record, n, state[bar + win.IN_PRICE])
    _write_long_flow(state, record, n, bar)


@njit
def put(state: NDArray[np.float64], feature: int, value: float) -> None:
    """Write one value: bounded by VALUE_MAX, 0 where it is not a number."""
    if value == value:
        state[feature] = min(at.VALUE_MAX, max(-at.VALUE_MAX, value))
    else:
        state[feature] = 0.0


@njit
def bound_all(state: NDArray[np.float64]) -> None:
    """Bound every value by VALUE_MAX; 0 where one is not a number."""
    for feature in range(at.BUILT_IN_COUNT):
        put(state, feature, state[feature])
