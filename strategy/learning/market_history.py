"""History to train on: a synthetic market played through the live feature engine, book and all.

Unlike a file of bars (``bar_history``) a market has depth, trades and marks, so every feature of a
row is what a daemon that trades there sees. Nothing of a later bar is used.
"""

from __future__ import annotations

import numpy as np

from kernels.book import Book
from kernels.features import FEATURES, FeatureEngine
from kernels.markets import SyntheticMarket
from strategy.learning.bar_history import History
from strategy.sampling import OPENING_TICKS, SAMPLE_START_NS, feed, sample_instruments

NS_PER_S = 1_000_000_000
FUNDING_FRAC = 1e-4
BASIS_MEMORY, BASIS_SD = 0.95, 0.3e-4
"""The mark price strays from the book's middle: AR(1), a step a second."""

MARK_STREAM = 1
"""Of the seed; the market itself is drawn from another stream."""


def market_history(
    market: str,
    *,
    bars: int,
    interval_ns: int,
    seed: int,
    feature_names: tuple[str, ...],
    half_spread_frac: float,
) -> History:
    """Return ``bars`` rows after the warm-up of a market named in ``kernels.market_worlds``.

    A pure function of its arguments. ValueError for an unknown market, for registered features
    and for bars that are no whole seconds.
    """
    own = [name for name in feature_names if FEATURES[name].formula is not None]
    if own:
        raise ValueError(f"feature {own[0]} is registered; histories know the built-in ones")
    if bars < 2 or interval_ns < NS_PER_S or interval_ns % NS_PER_S:
        raise ValueError(f"{bars} bars of {interval_ns / NS_PER_S:g} s: at least 2, whole seconds")
    instrument = sample_instruments()[0]
    engine = FeatureEngine(feature_names, interval_ns, instrument.tick_size, instrument.lot_size)
    generator = np.random.default_rng(seed)
    playing = SyntheticMarket((instrument,), OPENING_TICKS[:1], market, generator)
    marks = np.random.default_rng((seed, MARK_STREAM))
    book, basis = Book(), 0.0
    book.load(playing.snapshots[0])
    whole = bars + engine.bars_needed + 1
    features_TF = np.empty((whole, len(feature_names)))
    close_T, is_warm_T = np.empty(whole), np.zeros(whole, np.bool_)
    bars_M3, bar_end_T = np.empty((whole, 3)), np.empty(whole, np.int64)
    now_s, seconds = 0, interval_ns // NS_PER_S
    for t in range(whole):
        for _ in range(seconds):
            for event in playing.next_block():
                feed(engine, book, event, SAMPLE_START_NS + event.received_ns)
            now_s += 1
            bid_ticks, _, ask_ticks, _ = book.best()
            middle = 0.5 * (bid_ticks + ask_ticks)
            basis = BASIS_MEMORY * basis + marks.normal(0.0, BASIS_SD)
            engine.on_mark(round(middle * (1.0 + basis)), FUNDING_FRAC)
        engine.close_bars(SAMPLE_START_NS + now_s * NS_PER_S)
        features_TF[t], close_T[t] = engine.values_F, middle * instrument.tick_size
        is_warm_T[t] = engine.is_warm
        seen = engine.bar_count - 1
        engine.read_closed_bar(0, bars_M3[seen])
        bar_end_T[t] = seen + 1
    warm = int(np.argmax(is_warm_T))
    if not is_warm_T[warm]:
        raise ValueError(f"{whole} bars of {market} do not warm the features up")
    kept = slice(warm, min(warm + bars, whole))
    return_T = np.append(np.diff(np.log(close_T[kept])), 0.0)
    return History(
        feature_names=feature_names,
        features_TF=features_TF[kept],
        return_T=return_T,
        close_ns_T=SAMPLE_START_NS + (np.arange(whole)[kept] + 1) * interval_ns,
        interval_ns=interval_ns,
        half_spread_frac=half_spread_frac,
        half_tick_T=0.5 * instrument.tick_size / close_T[kept],
        close_T=close_T[kept],
        bars_M3=bars_M3[: bar_end_T[kept][-1]],
        bar_end_T=bar_end_T[kept],
    )
