"""History to train on: bars through the live feature kernels, as one compiled loop.

A bar is played as four moments (open, then low and high in the order that its direction suggests,
close), each a quote around the price and a trade of a quarter of the volume, so features that need
a book's depth, marks or funding stay at their neutral value. Nothing of a later bar is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels import feature_events as events
from kernels.feature_bars import read_closed_bar
from kernels.feature_slots import BARS, LONG_BARS
from kernels.features import FEATURES, FeatureEngine
from kernels.jit import njit

Floats = NDArray[np.float64]

TICKS_PER_PRICE = 10_000_000
"""The grid of a history: a price is about so many ticks, a hundred to half a spread of 0.1 bps."""

LOTS_PER_BAR = 10_000.0
"""And a bar's typical volume so many lots."""

GRID_BARS = 100
MOMENTS = 4

STEP_BARS = 512
"""Bars after which a price step may be forgotten."""

STEP_FRAC_MIN = 1e-9
"""Smaller distances, as a fraction of the price, are the error of binary fractions."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class History:
    """Bars of one instrument, after the warm-up: T rows.

    ``features_TF`` at each close; ``return_T`` the logarithmic return of the bar that follows, 0 at
    the end; ``close_ns_T`` UNIX time of the close; ``half_spread_frac`` the least that
    crossing costs beside the fee; ``half_tick_T`` half the step that prices moved in lately, as a
    fraction of the close: no spread is narrower. ``close_T`` in quote currency.
    ``bars_M3`` are all bars closed from the first on as the regime filter reads them
    (``kernels.feature_bars.read_closed_bar``), warm-up and missing ones too; those known at row t
    end before ``bar_end_T[t]``.
    """

    feature_names: tuple[str, ...]
    features_TF: Floats
    return_T: Floats
    close_ns_T: NDArray[np.int64]
    interval_ns: int
    half_spread_frac: float
    half_tick_T: Floats
    close_T: Floats
    bars_M3: Floats
    bar_end_T: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.return_T)

    def part(self, first: int, last: int) -> History:
        """Return the rows from ``first`` up to but without ``last``."""
        return History(
            feature_names=self.feature_names,
            features_TF=self.features_TF[first:last],
            return_T=self.return_T[first:last],
            close_ns_T=self.close_ns_T[first:last],
            interval_ns=self.interval_ns,
            half_spread_frac=self.half_spread_frac,
            half_tick_T=self.half_tick_T[first:last],
            close_T=self.close_T[first:last],
            bars_M3=self.bars_M3,
            bar_end_T=self.bar_end_T[first:last],
        )


def merge_bars(
    open_ns_T: NDArray[np.int64], prices_T4: Floats, volume_T: Floats, interval_ns: int
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return longer bars: first open, highest high, lowest low, last close, volume added up.

    A longer bar begins at a whole multiple of its interval; one in which bars are missing is made
    of those that are there.
    """
    index_T = open_ns_T // interval_ns
    first = np.flatnonzero(np.diff(index_T, prepend=index_T[0] - 1))
    last = np.append(first[1:], len(index_T)) - 1
    merged_T4 = np.column_stack(
        (
            prices_T4[first, 0],
            np.maximum.reduceat(prices_T4[:, 1], first),
            np.minimum.reduceat(prices_T4[:, 2], first),
            prices_T4[last, 3],
        )
    )
    return index_T[first] * interval_ns, merged_T4, np.add.reduceat(volume_T, first)


def history_of(
    open_ns_T: NDArray[np.int64],
    prices_T4: Floats,
    volume_T: Floats,
    *,
    interval_ns: int,
    feature_names: tuple[str, ...],
    half_spread_frac: float,
) -> History:
    """Return the history of bars (open, high, low, close) in order of time.

    Raises ValueError for registered features (they have no compiled form here) and for fewer bars
    than the features need to warm up.
    """
    own = [name for name in feature_names if FEATURES[name].formula is not None]
    if own:
        raise ValueError(f"feature {own[0]} is registered; histories know the built-in ones")
    # the grid is read off the first bars alone: later ones must not change an earlier row
    tick_size = float(np.median(prices_T4[:GRID_BARS, 3])) / TICKS_PER_PRICE
    lot_size = max(float(np.median(volume_T[:GRID_BARS])), 1e-12) / LOTS_PER_BAR
    engine = FeatureEngine(feature_names, interval_ns, tick_size, lot_size)
    if len(open_ns_T) <= engine.bars_needed + 1:
        raise ValueError(f"{len(open_ns_T)} bars, the features need {engine.bars_needed} and more")
    slot_F = np.array([FEATURES[name].slot for name in feature_names], np.int64)
    features_TF = np.empty((len(open_ns_T), len(feature_names)))
    ticks_T4 = np.maximum(np.rint(prices_T4 / tick_size), 2.0).astype(np.int64)
    lots_T = np.rint(volume_T / lot_size / MOMENTS).astype(np.int64)
    half_T = np.maximum(np.rint(ticks_T4[:, 3] * half_spread_frac), 1.0).astype(np.int64)
    slots = int((open_ns_T[-1] - open_ns_T[0]) // interval_ns) + 2
    bars_M3, bar_end_T = np.empty((slots, 3)), np.empty(len(open_ns_T), np.int64)
    _play(
        engine.state,
        slot_F,
        open_ns_T,
        ticks_T4,
        lots_T,
        half_T,
        interval_ns,
        features_TF,
        bars_M3,
        bar_end_T,
    )
    return_T = np.append(np.diff(np.log(prices_T4[:, 3])), 0.0)
    warm = engine.bars_needed
    return History(
        feature_names=feature_names,
        features_TF=features_TF[warm:],
        return_T=return_T[warm:],
        close_ns_T=open_ns_T[warm:] + interval_ns,
        interval_ns=interval_ns,
        half_spread_frac=half_spread_frac,
        half_tick_T=half_ticks(prices_T4)[warm:],
        close_T=prices_T4[warm:, 3],
        bars_M3=bars_M3[: bar_end_T[-1]],
        bar_end_T=bar_end_T[warm:],
    )


def half_ticks(prices_T4: Floats) -> Floats:
    """Return half the price step over the close of each bar, read off that bar and earlier ones.

    The step is the smallest distance between neighbours of the prices open, high, low, close in the
    last ``STEP_BARS`` bars and at most as many before: exchanges change their steps. 0 where
    nothing has moved yet.
    """
    half_T = np.empty(len(prices_T4))
    _steps(prices_T4, half_T)
    return half_T


@njit
def _steps(prices_T4: Floats, half_T: Floats) -> None:
    earlier = lately = 0.0  # 0: nothing has moved
    before = prices_T4[0, 0]
    for t in range(prices_T4.shape[0]):
        if t % STEP_BARS == 0:
            earlier, lately = lately, 0.0
        for k in range(4):
            step = abs(prices_T4[t, k] - before)
            if step > STEP_FRAC_MIN * before and (step < lately or lately == 0.0):
                lately = step
            before = prices_T4[t, k]
        step = earlier if lately == 0.0 or 0.0 < earlier < lately else lately
        half_T[t] = 0.5 * step / prices_T4[t, 3]


@njit
def _play(
    state: Floats,
    slot_F: NDArray[np.int64],
    open_ns_T: NDArray[np.int64],
    ticks_T4: NDArray[np.int64],
    lots_T: NDArray[np.int64],
    half_T: NDArray[np.int64],
    interval_ns: int,
    features_TF: Floats,
    bars_M3: Floats,
    bar_end_T: NDArray[np.int64],
) -> None:
    closed = written = 0
    path_4 = np.empty(MOMENTS, np.int64)
    before = ticks_T4[0, 0]
    for t in range(open_ns_T.shape[0]):
        rises = ticks_T4[t, 3] >= ticks_T4[t, 0]
        path_4[0] = ticks_T4[t, 0]
        path_4[1] = ticks_T4[t, 2] if rises else ticks_T4[t, 1]
        path_4[2] = ticks_T4[t, 1] if rises else ticks_T4[t, 2]
        path_4[3] = ticks_T4[t, 3]
        for moment in range(MOMENTS):
            now_ns = open_ns_T[t] + (2 * moment + 1) * interval_ns // (2 * MOMENTS)
            price = path_4[moment]
            sign = 1 if price > before or (price == before and rises) else -1
            depth = max(lots_T[t], 1)
            events.on_quote(state, now_ns, price - half_T[t], depth, price + half_T[t], depth)
            if lots_T[t] > 0:
                events.on_trade(state, now_ns, price + sign * half_T[t], lots_T[t], sign)
            before = price
        events.close_due(state, open_ns_T[t] + interval_ns)
        newly = int(state[BARS]) - closed
        remembered = min(newly, int(state[LONG_BARS]))
        for back in range(remembered - 1, -1, -1):
            read_closed_bar(state, back, bars_M3[written])
            written += 1
        closed += newly
        bar_end_T[t] = written
        for f in range(slot_F.shape[0]):
            features_TF[t, f] = state[slot_F[f]]
