"""What training worlds play on: rows as agents see them, prices in ticks, funding times.

A tape is made of a history, so its features come from the live kernels; normalisation and forecast
come from the part that teaches, out of fold. Columns keep the order of a live row, features first,
then the regime's posterior, then the forecasts; ``inputs`` says how wide an agent's state shall be,
and the features that do not fit are left out from the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kernels.features import DEFAULT_FEATURE_NAMES
from strategy.evaluation.drawn_bars import HOUR_NS, drawn_bars
from strategy.learning.bar_history import History, history_of
from strategy.learning.forecasts import apply_forecast
from strategy.learning.training import Prepared, TrainingPlan, prepare, standardise
from strategy.observation import CLIP, EXTRA_COUNT, HELD_COUNT
from strategy.shipped_filter import shipped_filter

Floats = NDArray[np.float64]

TICKS_AT_START = 100_000
"""The grid of a tape: the median of its first prices is about so many ticks."""

GRID_BARS = 100
FUNDING_NS = 28_800_000_000_000
INPUTS_MIN = EXTRA_COUNT + HELD_COUNT


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MarketTape:
    """One market, T rows: ``rows_TM`` float32 as agents see it, ``price_ticks_T`` at each close.

    ``half_tick_T`` is half the market's own price step as a fraction of the close, 0 where unknown;
    ``crossings_T`` counts the funding times (00, 08, 16 h UTC) after this close, up to the next.
    """

    rows_TM: NDArray[np.float32]
    price_ticks_T: NDArray[np.int64]
    half_tick_T: Floats
    crossings_T: NDArray[np.int64]
    close_ns_T: NDArray[np.int64]
    interval_ns: int

    def __post_init__(self) -> None:
        """Refuse parts that do not match, rows that are not finite, prices below two ticks."""
        if self.rows_TM.ndim != 2 or self.rows_TM.dtype != np.float32 or len(self) < 2:
            raise ValueError(f"rows {self.rows_TM.dtype} {self.rows_TM.shape}, wanted float32 TM")
        if (
            not len(self.price_ticks_T)
            == len(self.half_tick_T)
            == len(self.crossings_T)
            == len(self.close_ns_T)
            == len(self)
        ):
            raise ValueError("rows, prices and times differ in length")
        if not np.isfinite(self.rows_TM).all() or self.price_ticks_T.min() < 2:
            raise ValueError("a row is not finite, or a price is below two ticks")
        if not ((self.half_tick_T >= 0.0) & (self.half_tick_T < 1.0)).all():
            raise ValueError("half a price step is not in [0, 1) of the price")

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows_TM)

    @property
    def input_count(self) -> int:
        """Width of an agent's state: the row, then its own position, one-hot."""
        return int(self.rows_TM.shape[1]) + HELD_COUNT


def kept_features(inputs: int, feature_count: int) -> int:
    """Return how many features a state of that width holds; ValueError for an impossible width."""
    largest = feature_count + INPUTS_MIN
    if not INPUTS_MIN <= inputs <= largest:
        raise ValueError(f"a state of {inputs} numbers; {INPUTS_MIN} to {largest} are possible")
    return inputs - INPUTS_MIN


def tape_rows(history: History, prepared: Prepared, seen_T2: Floats) -> NDArray[np.float32]:
    """Return whole rows of a part of a history: features, the filter's posterior, forecasts."""
    features_TF = standardise(prepared.normalisation, history.features_TF)
    posterior_TK = shipped_filter().run(history.bars_M3)[history.bar_end_T - 1]
    forecast_T2 = np.clip(seen_T2, -CLIP, CLIP)
    return np.column_stack((features_TF, posterior_TK, forecast_T2)).astype(np.float32)


def tapes_of(history: History, prepared: Prepared, inputs: int) -> tuple[MarketTape, MarketTape]:
    """Return the tape that teaches and the one that judges, with a gap between both."""
    features = len(history.feature_names)
    kept = kept_features(inputs, features)
    taught = history.part(0, len(prepared.path.return_T))
    judged = prepared.judged
    judged_TF = standardise(prepared.normalisation, judged.features_TF)
    parts = (
        (taught, prepared.fitted.seen_T2),
        (judged, apply_forecast(prepared.fitted.forecast, judged_TF)),
    )
    tick_size = float(np.median(history.close_T[:GRID_BARS])) / TICKS_AT_START
    tapes = []
    for part, seen_T2 in parts:
        rows_TM = tape_rows(part, prepared, seen_T2)
        periods_T = part.close_ns_T // FUNDING_NS
        tapes.append(
            MarketTape(
                rows_TM=np.ascontiguousarray(
                    np.column_stack((rows_TM[:, :kept], rows_TM[:, features:]))
                ),
                price_ticks_T=np.maximum(np.rint(part.close_T / tick_size), 2).astype(np.int64),
                half_tick_T=part.half_tick_T,
                crossings_T=np.append(np.diff(periods_T), 0),
                close_ns_T=part.close_ns_T,
                interval_ns=part.interval_ns,
            )
        )
    return tapes[0], tapes[1]


def drawn_history(
    world: str,
    bars: int,
    seed: int,
    half_spread_frac: float,
    feature_names: tuple[str, ...] = DEFAULT_FEATURE_NAMES,
) -> History:
    """Return the history of a drawn world of hours; KeyError for an unknown name."""
    open_ns_T, prices_T4, volume_T = drawn_bars(world, bars, seed)
    return history_of(
        open_ns_T,
        prices_T4,
        volume_T,
        interval_ns=HOUR_NS,
        feature_names=feature_names,
        half_spread_frac=half_spread_frac,
    )


@lru_cache(maxsize=4)
def drawn_tape(world: str, bars: int, seed: int, inputs: int) -> MarketTape:
    """Return the teaching part of a drawn world, half spread 0.5 bps; made once, never changed."""
    history = drawn_history(world, bars, seed, 5e-5)
    return tapes_of(history, prepare(history, TrainingPlan(seed=seed)), inputs)[0]
