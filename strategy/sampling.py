"""Observations from synthetic markets, to freeze a normalisation and calibrate untrained models.

Episodes start at different hours and with different funding rates, so that features that are
constant within one episode still vary over the sample.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.book import Book
from kernels.events import REGIMES, DepthDiff, DepthSnapshot, Quote, Trade
from kernels.features import FeatureEngine
from kernels.markets import SyntheticMarket
from kernels.units import Instrument
from strategy.observation import CLIP, EXTRA_COUNT, HELD_COUNT, Normalisation, write_observation

SAMPLE_START_NS = 1_767_225_600 * 1_000_000_000
"""First instant of the sample, 1 January 2026 00:00 UTC."""

NS_PER_HOUR = 3_600 * 1_000_000_000
NS_PER_S = 1_000_000_000

EPISODES = 12
TAIL_FRAC = 0.005
"""Share of each tail that is cut off before location and scale are taken."""

SIGNIFICANT_DIGITS = 6
"""Scales are rounded to so many digits and locations to the same decimals, so that the last bits of
one processor stay out of the hash."""

OPENING_TICKS = (600_000, 260_000)


def sample_instruments() -> tuple[Instrument, ...]:
    """Return the two contracts of the sample: BTC (0.1, 0.001) and ETH (0.01, 0.001)."""
    grids = (("BTC", 10_000_000), ("ETH", 1_000_000))
    return tuple(
        Instrument(
            index=index,
            symbol=f"{base}/USDT:USDT",
            venue_id=f"{base}USDT",
            tick_size_e8=tick_size_e8,
            lot_size_e8=100_000,
            lots_min=1,
            lots_max=1_000_000,
            notional_min_quote_e8=100 * 10**8,
            maker_fee_frac=0.0002,
            taker_fee_frac=0.0005,
        )
        for index, (base, tick_size_e8) in enumerate(grids)
    )


def sample_features(
    feature_names: tuple[str, ...], *, bars: int, bar_interval_ms: int, seed: int
) -> NDArray[np.float64]:
    """Return features (T, F) at bar closes, about ``bars`` rows over all episodes.

    Rows before an engine's warm-up are left out. A pure function of its arguments.
    """
    instruments = sample_instruments()
    rows_wanted = -(-bars // (EPISODES * len(instruments)))
    rows: list[NDArray[np.float64]] = []
    for episode in range(EPISODES):
        generator = np.random.default_rng([seed, episode])
        start_ns = SAMPLE_START_NS + episode * 24 // EPISODES * NS_PER_HOUR
        rows += _run_episode(
            feature_names, instruments, generator, start_ns, rows_wanted, bar_interval_ms
        )
    return np.stack(rows)


def _run_episode(
    feature_names: tuple[str, ...],
    instruments: tuple[Instrument, ...],
    generator: np.random.Generator,
    start_ns: int,
    rows_wanted: int,
    bar_interval_ms: int,
) -> list[NDArray[np.float64]]:
    """Run one market until every engine has given ``rows_wanted`` rows after its warm-up."""
    interval_ns = bar_interval_ms * 1_000_000
    engines = [
        FeatureEngine(feature_names, interval_ns, instrument.tick_size, instrument.lot_size)
        for instrument in instruments
    ]
    funding_I = generator.normal(1e-4, 1e-4, len(instruments))
    market = SyntheticMarket(instruments, OPENING_TICKS, "regimes", generator)
    books = [Book() for _ in instruments]
    for snapshot in market.snapshots:
        books[snapshot.instrument].load(snapshot)
    close_ns, mark_ns = start_ns + interval_ns, start_ns
    basis_I = np.zeros(len(instruments))
    rows: list[NDArray[np.float64]] = []
    taken = [0] * len(instruments)
    for event in market.events():
        now_ns = start_ns + event.received_ns
        while now_ns >= close_ns:
            for index, engine in enumerate(engines):
                engine.close_bars(close_ns)
                if engine.is_warm and taken[index] < rows_wanted:
                    rows.append(engine.values_F.copy())
                    taken[index] += 1
            close_ns += interval_ns
        if now_ns >= mark_ns:
            mark_ns += NS_PER_S
            basis_I = 0.95 * basis_I + generator.normal(0.0, 0.3e-4, len(instruments))
            for index, engine in enumerate(engines):
                bid_ticks, _, ask_ticks, _ = books[index].best()
                mark_ticks = round(0.5 * (bid_ticks + ask_ticks) * (1.0 + basis_I[index]))
                engine.on_mark(mark_ticks, float(funding_I[index]))
        feed(engines[event.instrument], books[event.instrument], event, now_ns)
        if min(taken) >= rows_wanted:
            break
    return rows


def feed(
    engine: FeatureEngine, book: Book, event: Quote | Trade | DepthDiff | DepthSnapshot, now_ns: int
) -> None:
    """Hand one event of a market to an engine and the book that it reads."""
    if isinstance(event, Quote):
        engine.on_quote(now_ns, event.bid_ticks, event.bid_lots, event.ask_ticks, event.ask_lots)
    elif isinstance(event, Trade):
        engine.on_trade(now_ns, event.price_ticks, event.quantity_lots, int(event.aggressor))
    elif isinstance(event, DepthDiff):
        book.apply(event)
        engine.on_book(book)


def fit_normalisation(features_TF: NDArray[np.float64]) -> Normalisation:
    """Freeze mean and standard deviation of every feature, tails cut; a constant gets scale 1.

    Raises ValueError when a feature of the sample is not finite.
    """
    if not np.isfinite(features_TF).all():
        raise ValueError("the sample holds features that are not finite")
    low_F, high_F = np.quantile(features_TF, (TAIL_FRAC, 1.0 - TAIL_FRAC), axis=0)
    cut_TF = np.clip(features_TF, low_F, high_F)
    mean_F, scale_F = cut_TF.mean(axis=0), cut_TF.std(axis=0)
    scale_F = np.where(scale_F > 1e-9 * np.maximum(1.0, np.abs(mean_F)), scale_F, 1.0)
    decimals_F = SIGNIFICANT_DIGITS - 1 - np.floor(np.log10(scale_F)).astype(np.int64)
    places = list(zip(mean_F.tolist(), scale_F.tolist(), decimals_F.tolist(), strict=True))
    return Normalisation(
        mean_F=np.array([round(mean, decimals) + 0.0 for mean, _, decimals in places]),
        scale_F=np.array([round(scale, decimals) for _, scale, decimals in places]),
    )


def observe_sample(
    normalisation: Normalisation, features_TF: NDArray[np.float64], seed: int
) -> NDArray[np.float32]:
    """Return market rows (T, F + extras) of the sample, with drawn posteriors and forecasts."""
    generator = np.random.default_rng([seed, EPISODES])
    count = len(features_TF)
    extras_TE = np.empty((count, EXTRA_COUNT))
    extras_TE[:, : len(REGIMES)] = generator.dirichlet(np.full(len(REGIMES), 0.5), count)
    extras_TE[:, len(REGIMES) :] = generator.normal(size=(count, EXTRA_COUNT - len(REGIMES)))
    obs_TF = np.empty((count, normalisation.observation_count), np.float32)
    for t in range(count):
        write_observation(normalisation, features_TF[t], extras_TE[t], obs_TF[t])
    assert float(np.abs(obs_TF).max()) <= CLIP
    return obs_TF


def drawn_positions(count: int, agent_count: int, seed: int) -> NDArray[np.int64]:
    """Return own positions (T, A) of the sample's agents: short, flat, long alike."""
    generator = np.random.default_rng([seed, EPISODES + 1])
    return generator.integers(0, HELD_COUNT, (count, agent_count))
