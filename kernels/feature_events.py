"""One event into the flat state of one instrument's features: the kernels behind FeatureEngine.

Each entry point first closes the bars that ended before its event, then applies it. Nothing here
allocates; nothing depends on the length of a window. An event that makes no sense (no price, a
crossed touch, a negative size, a funding rate that is not a number) is counted in IGNORED_COUNT and
changes nothing but the time.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kernels import book
from kernels import feature_slots as at
from kernels.bars import bar_price, bar_trade, bars_due
from kernels.feature_bars import close_bar
from kernels.feature_statistics import put
from kernels.jit import njit
from kernels.rolling import decay, ratio
from kernels.units import BPS_PER_UNIT

NS_PER_S = 1_000_000_000
NS_PER_DAY = 86_400 * NS_PER_S
NS_PER_FUNDING = 8 * 3_600 * NS_PER_S
TWO_PI = 6.283185307179586
BOOK_LEVELS = 20


@njit
def set_time(state: NDArray[np.float64], now_ns: int) -> None:
    """Write the features of the calendar for this time."""
    angle = TWO_PI * (now_ns % NS_PER_DAY) / NS_PER_DAY
    state[at.TIME_OF_DAY_SIN] = math.sin(angle)
    state[at.TIME_OF_DAY_COS] = math.cos(angle)
    state[at.FUNDING_PHASE] = (now_ns % NS_PER_FUNDING) / NS_PER_FUNDING


@njit
def elapsed_ns(state: NDArray[np.float64], seconds_at: int, now_ns: int) -> float:
    """Return the time since the stamp kept at ``seconds_at`` and behind, never negative."""
    seconds = now_ns // NS_PER_S
    rest = now_ns - seconds * NS_PER_S
    return float(max(0.0, (seconds - state[seconds_at]) * 1e9 + rest - state[seconds_at + 1]))


@njit
def stamp(state: NDArray[np.float64], seconds_at: int, now_ns: int) -> None:
    """Keep a time as whole seconds and the rest, exactly."""
    seconds = now_ns // NS_PER_S
    state[seconds_at] = seconds
    state[seconds_at + 1] = now_ns - seconds * NS_PER_S


@njit
def fast_of(slow_left: float) -> float:
    """Return what is left of a fast sum when this is left of a slow one: its tenth power."""
    square = slow_left * slow_left
    fourth = square * square
    return fourth * fourth * square


@njit
def intensity(state: NDArray[np.float64], fast_at: int, slow_at: int, slow_left: float) -> float:
    """Return ln of the fast event rate over the slow one, each plus one event per slow constant.

    ``slow_left`` is what is left of the slow sum since it was last decayed.
    """
    fast = state[fast_at] * fast_of(slow_left) / at.FAST_BARS
    slow = state[slow_at] * slow_left / at.SLOW_BARS
    return math.log((fast + 1.0 / at.SLOW_BARS) / (slow + 1.0 / at.SLOW_BARS))


@njit
def _age_intensities(state: NDArray[np.float64], now_ns: int) -> None:
    """Let the rates fall at a bar's end, so that silence shows."""
    slow_ns = at.SLOW_BARS * state[at.BAR_INTERVAL_NS]
    left = decay(elapsed_ns(state, at.TRADE_S, now_ns), slow_ns)
    state[at.TRADE_INTENSITY] = intensity(state, at.TRADES_FAST, at.TRADES_SLOW, left)
    left = decay(elapsed_ns(state, at.QUOTE_S, now_ns), slow_ns)
    state[at.QUOTE_INTENSITY] = intensity(state, at.QUOTES_FAST, at.QUOTES_SLOW, left)


@njit
def close_one(state: NDArray[np.float64], now_ns: int) -> bool:
    """Close the oldest bar that ended by now; False where none did."""
    if state[at.BAR_INDEX] < 0.0:
        bars_due(state, now_ns)
        set_time(state, now_ns)
        return False
    if bars_due(state, now_ns) == 0:
        return False
    close_bar(state)
    end_ns = int(state[at.BAR_INDEX]) * int(state[at.BAR_INTERVAL_NS])
    _age_intensities(state, end_ns)
    set_time(state, end_ns)
    return True


@njit
def close_due(state: NDArray[np.float64], now_ns: int) -> None:
    """Close every bar that ended by now; calling again changes nothing."""
    while close_one(state, now_ns):
        pass


@njit
def _write_basis(state: NDArray[np.float64]) -> None:
    if state[at.HAS_MARK] > 0.0 and state[at.MID_TICKS] > 0.0:
        basis_bps = BPS_PER_UNIT * (state[at.MARK_TICKS] / state[at.MID_TICKS] - 1.0)
        put(state, at.BASIS_BPS, basis_bps)
        if state[at.BASIS_COUNT] > 0.0:
            put(state, at.BASIS_DEVIATION_BPS, basis_bps - state[at.BASIS_EWMA_BPS])


@njit
def _count_order_flow(state: NDArray[np.float64], now_ns: int, flow_lots: float) -> None:
    """Decay the quote sums to now and add one change of the touch."""
    since = elapsed_ns(state, at.QUOTE_S, now_ns)
    slow = decay(since, at.SLOW_BARS * state[at.BAR_INTERVAL_NS])
    fast = fast_of(slow)
    state[at.ORDER_FLOW_FAST] = state[at.ORDER_FLOW_FAST] * fast + flow_lots
    state[at.ORDER_FLOW_SIZE_FAST] = state[at.ORDER_FLOW_SIZE_FAST] * fast + abs(flow_lots)
    state[at.QUOTES_FAST] = state[at.QUOTES_FAST] * fast + 1.0
    state[at.QUOTES_SLOW] = state[at.QUOTES_SLOW] * slow + 1.0
    if since > 0.0:
        stamp(state, at.QUOTE_S, now_ns)
    state[at.ORDER_FLOW_IMBALANCE] = ratio(
        state[at.ORDER_FLOW_FAST], state[at.ORDER_FLOW_SIZE_FAST]
    )


@njit
def on_quote(
    state: NDArray[np.float64],
    received_ns: int,
    bid_ticks: int,
    bid_lots: int,
    ask_ticks: int,
    ask_lots: int,
) -> None:
    """Apply one best bid and ask."""
    close_due(state, received_ns)
    if bid_ticks <= 0 or ask_ticks < bid_ticks or bid_lots < 0 or ask_lots < 0:
        state[at.IGNORED_COUNT] += 1.0
        return
    bid = float(bid_ticks)
    ask = float(ask_ticks)
    bid_size = float(bid_lots)
    ask_size = float(ask_lots)
    mid = 0.5 * (bid + ask)
    spread_bps = BPS_PER_UNIT * (ask - bid) / mid
    flow_lots = 0.0
    if state[at.MID_TICKS] > 0.0:
        flow_lots = book.order_flow_lots(
            state[at.BID_TICKS],
            state[at.BID_LOTS],
            state[at.ASK_TICKS],
            state[at.ASK_LOTS],
            bid,
            bid_size,
            ask,
            ask_size,
        )
    state[at.BID_TICKS] = bid
    state[at.BID_LOTS] = bid_size
    state[at.ASK_TICKS] = ask
    state[at.ASK_LOTS] = ask_size
    state[at.MID_TICKS] = mid
    bar_price(state, mid, spread_bps, flow_lots)
    put(state, at.SPREAD_BPS, spread_bps)
    state[at.IMBALANCE_TOP] = ratio(bid_size - ask_size, bid_size + ask_size)
    micro = book.microprice_ticks(bid, bid_size, ask, ask_size)
    put(state, at.MICROPRICE_DEVIATION_BPS, BPS_PER_UNIT * (micro - mid) / mid)
    _count_order_flow(state, received_ns, flow_lots)
    if state[at.BARS] > 0.0:
        put(state, at.RETURN_LIVE_BPS, BPS_PER_UNIT * math.log(mid / state[at.CLOSE_TICKS]))
    _write_basis(state)


@njit
def on_trade(
    state: NDArray[np.float64],
    received_ns: int,
    price_ticks: int,
    quantity_lots: int,
    aggressor_sign: int,
) -> None:
    """Apply one public trade; the sign is +1 for a buying aggressor, -1 for a selling one."""
    close_due(state, received_ns)
    if price_ticks <= 0 or quantity_lots <= 0 or (aggressor_sign != 1 and aggressor_sign != -1):
        state[at.IGNORED_COUNT] += 1.0
        return
    size = float(quantity_lots)
    bar_trade(state, float(price_ticks), size, float(aggressor_sign))
    since = elapsed_ns(state, at.TRADE_S, received_ns)
    slow = decay(since, at.SLOW_BARS * state[at.BAR_INTERVAL_NS])
    fast = fast_of(slow)
    state[at.SIGNED_FAST] = state[at.SIGNED_FAST] * fast + aggressor_sign * size
    state[at.SIGNED_SLOW] = state[at.SIGNED_SLOW] * slow + aggressor_sign * size
    state[at.VOLUME_FAST] = state[at.VOLUME_FAST] * fast + size
    state[at.VOLUME_SLOW] = state[at.VOLUME_SLOW] * slow + size
    state[at.TRADES_FAST] = state[at.TRADES_FAST] * fast + 1.0
    state[at.TRADES_SLOW] = state[at.TRADES_SLOW] * slow + 1.0
    if since > 0.0:
        stamp(state, at.TRADE_S, received_ns)
    state[at.FLOW_FAST] = ratio(state[at.SIGNED_FAST], state[at.VOLUME_FAST])
    state[at.FLOW_SLOW] = ratio(state[at.SIGNED_SLOW], state[at.VOLUME_SLOW])
    state[at.TRADE_INTENSITY] = intensity(state, at.TRADES_FAST, at.TRADES_SLOW, 1.0)
    average_fast = state[at.VOLUME_FAST] / state[at.TRADES_FAST]
    average_slow = state[at.VOLUME_SLOW] / state[at.TRADES_SLOW]
    put(state, at.TRADE_SIZE_RATIO, math.log(average_fast / average_slow))


@njit
def on_mark(state: NDArray[np.float64], mark_ticks: int, funding_rate_frac: float) -> None:
    """Apply one mark price and funding rate."""
    if mark_ticks <= 0 or not math.isfinite(funding_rate_frac):
        state[at.IGNORED_COUNT] += 1.0
        return
    state[at.MARK_TICKS] = float(mark_ticks)
    state[at.HAS_MARK] = 1.0
    put(state, at.FUNDING_RATE_BPS, BPS_PER_UNIT * funding_rate_frac)
    _write_basis(state)


@njit
def on_book(state: NDArray[np.float64], book_state: NDArray[np.int64]) -> None:
    """Read depth features off a book's flat vector; a book with an empty side is ignored."""
    bids = int(min(book_state[book.BID_COUNT], BOOK_LEVELS))
    asks = int(min(book_state[book.ASK_COUNT], BOOK_LEVELS))
    if bids == 0 or asks == 0:
        state[at.IGNORED_COUNT] += 1.0
        return
    capacity = int(book_state[book.CAPACITY])
    bid_end = book.HEADER + int(book_state[book.BID_COUNT]) - 1
    ask_end = book.HEADER + 2 * capacity + int(book_state[book.ASK_COUNT]) - 1
    middle = 0.5 * (float(book_state[bid_end]) - float(book_state[ask_end]))
    bid_lots = 0.0
    ask_lots = 0.0
    bid_moment = 0.0
    ask_moment = 0.0
    for level in range(BOOK_LEVELS):
        if level < bids:
            size = float(book_state[bid_end + capacity - level])
            bid_lots += size
            bid_moment += size * (middle - float(book_state[bid_end - level]))
        if level < asks:
            size = float(book_state[ask_end + capacity - level])
            ask_lots += size
            ask_moment += size * (-float(book_state[ask_end - level]) - middle)
        if level == 4:
            state[at.IMBALANCE_5] = (bid_lots - ask_lots) / (bid_lots + ask_lots)
        elif level == 9:
            state[at.IMBALANCE_10] = (bid_lots - ask_lots) / (bid_lots + ask_lots)
    state[at.IMBALANCE_20] = (bid_lots - ask_lots) / (bid_lots + ask_lots)
    bid_distance = bid_moment / bid_lots
    ask_distance = ask_moment / ask_lots
    state[at.DEPTH_SLOPE] = ratio(
        ask_distance - bid_distance, abs(ask_distance) + abs(bid_distance)
    )
    state[at.DEPTH_NOW_LOTS] = bid_lots + ask_lots
    state[at.HAS_BOOK] = 1.0
    if state[at.DEPTH_COUNT] > 0.0:
        put(state, at.DEPTH_RATIO, math.log((bid_lots + ask_lots) / state[at.DEPTH_EWMA_LOTS]))
