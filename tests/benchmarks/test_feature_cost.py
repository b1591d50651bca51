"""What one event costs in features and book, and that it does not depend on the window.

Budgets: one quote in a compiled loop below 400 ns, from Python below 4 us, at 10,000 bars of window
at most 1.25 times the cost at 100. Run with ``-m bench -s`` to see the figures.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels import feature_events
from kernels.book import Book, apply_levels
from kernels.events import DepthSnapshot
from kernels.features import DEFAULT_FEATURE_NAMES, RESEARCH_FEATURE_NAMES, FeatureEngine
from kernels.jit import njit

pytestmark = pytest.mark.bench

WINDOWS = (100, 1_000, 10_000)
INTERVAL_NS = 1_000_000_000
QUOTES = 200_000
ROUNDS = 7


@njit
def fold_quotes(state: NDArray[np.float64], quotes_n5: NDArray[np.int64]) -> None:
    """Fold rows of time, bid, lots, ask, lots in one compiled loop."""
    for i in range(quotes_n5.shape[0]):
        feature_events.on_quote(
            state,
            quotes_n5[i, 0],
            quotes_n5[i, 1],
            quotes_n5[i, 2],
            quotes_n5[i, 3],
            quotes_n5[i, 4],
        )


@njit
def empty_fold(state: NDArray[np.float64], quotes_n5: NDArray[np.int64]) -> None:
    """Read the same rows and do nothing else worth naming."""
    for i in range(quotes_n5.shape[0]):
        state[0] += quotes_n5[i, 0] + quotes_n5[i, 1] + quotes_n5[i, 3]


def quote_rows(count: int, spacing_ns: int, start_ns: int) -> NDArray[np.int64]:
    """Return a random walk of quotes at an even spacing."""
    rng = np.random.default_rng(1)
    rows = np.empty((count, 5), dtype=np.int64)
    rows[:, 0] = start_ns + spacing_ns * np.arange(count)
    rows[:, 1] = 600_000 + np.cumsum(rng.integers(-3, 4, count))
    rows[:, 3] = rows[:, 1] + rng.integers(1, 4, count)
    rows[:, 2] = rng.integers(1, 500, count)
    rows[:, 4] = rng.integers(1, 500, count)
    return rows


def warm_engine(window: int) -> tuple[FeatureEngine, int]:
    """Return an engine whose longest window is full, and the time it stands at."""
    engine = FeatureEngine(RESEARCH_FEATURE_NAMES, INTERVAL_NS, 0.1, 0.001, window_bars=window)
    rows = quote_rows(window + 200, INTERVAL_NS, 0)
    fold_quotes(engine.state, rows)
    return engine, int(rows[-1, 0])


def cost_ns(action: Callable[[], None], count: int) -> float:
    """Return nanoseconds for each of ``count`` repetitions inside one action."""
    started = perf_counter_ns()
    action()
    return (perf_counter_ns() - started) / count


def interleaved(actions: dict[str, Callable[[], None]], count: int) -> dict[str, list[float]]:
    """Run every action once a round, in turn, and return its costs by round."""
    for action in actions.values():
        action()
    costs: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(ROUNDS):
        for name, action in actions.items():
            costs[name].append(cost_ns(action, count))
    return costs


@pytest.mark.parametrize("spacing_ms", [1, 50, 1_000])
def test_quote_cost_is_flat_in_a_compiled_loop(spacing_ms: int) -> None:
    """A quote costs the same at any window, with a bar every 1,000, 20 or 1 quotes."""
    engines = {window: warm_engine(window)[0] for window in WINDOWS}
    rows = quote_rows(QUOTES, spacing_ms * 1_000_000, 12_000 * INTERVAL_NS)

    def fold(window: int) -> Callable[[], None]:
        before = engines[window].state.copy()

        def action() -> None:
            engines[window].state[:] = before
            fold_quotes(engines[window].state, rows)

        return action

    actions = {str(window): fold(window) for window in WINDOWS}
    scratch = np.zeros(8)
    actions["empty"] = lambda: empty_fold(scratch, rows)
    costs = interleaved(actions, QUOTES)
    typical = {name: float(np.median(values)) for name, values in costs.items()}
    ratio = min(costs["10000"]) / min(costs["100"])
    print(f"\nquote, compiled loop, {spacing_ms} ms apart, ns: {typical}; ratio {ratio:.2f}")
    assert ratio < 1.25
    if spacing_ms == 1:
        assert typical["10000"] - typical["empty"] < 400


def test_quote_cost_from_python() -> None:
    """A quote through the engine's method, as the daemon calls it, at any window."""
    count = 20_000
    rows = quote_rows(count, 1_000_000, 12_000 * INTERVAL_NS).tolist()
    engines = {window: warm_engine(window)[0] for window in WINDOWS}

    def through(window: int) -> Callable[[], None]:
        on_quote = engines[window].on_quote

        def action() -> None:
            for now_ns, bid, bid_lots, ask, ask_lots in rows:
                on_quote(now_ns, bid, bid_lots, ask, ask_lots)

        return action

    costs = interleaved({str(window): through(window) for window in WINDOWS}, count)
    typical = {name: float(np.median(values)) for name, values in costs.items()}
    print(f"\nquote, from Python, ns: {typical}")
    assert typical["10000"] < 4_000
    assert min(costs["10000"]) / min(costs["100"]) < 1.25


def test_slowest_single_update() -> None:
    """The worst single quote that closes one bar is no matter of the window either."""
    slowest: dict[int, float] = {}
    for window in WINDOWS:
        engine, now_ns = warm_engine(window)
        rows = quote_rows(3 * window, INTERVAL_NS, now_ns + INTERVAL_NS)[:3_000].tolist()
        samples = np.empty(len(rows))
        for i, row in enumerate(rows):
            started = perf_counter_ns()
            engine.on_quote(*row)
            samples[i] = perf_counter_ns() - started
        slowest[window] = float(np.percentile(samples, 99))
        print(f"\nwindow {window}: p50 {np.median(samples)} p99 {slowest[window]} {samples.max()}")
    assert slowest[10_000] < 3 * slowest[100]


def test_book_costs() -> None:
    """Applying a depth message of 34 levels and reading the depth features off the book."""
    rng = np.random.default_rng(2)
    book = Book()

    def side(sign: int, count: int, reach: int) -> NDArray[np.int64]:
        ticks = 600_000 + sign * (1 + rng.choice(reach, count, replace=False))
        return np.stack([ticks, rng.integers(0, 300, count)], axis=1).astype(np.int64)

    book.load(
        DepthSnapshot(
            instrument=0,
            event_ns=0,
            received_ns=0,
            last_update_id=1,
            bid_levels_n2=side(-1, 1000, 1500),
            ask_levels_n2=side(1, 1000, 1500),
        )
    )
    changes = [(side(-1, 17, 300), side(1, 17, 300)) for _ in range(2_000)]
    engine, _ = warm_engine(100)

    def apply() -> None:
        for bids, asks in changes:
            apply_levels(book.state, bids, asks, 1)

    def read() -> None:
        for _ in changes:
            engine.on_book(book)

    costs = interleaved({"apply 34 levels": apply, "on_book": read}, len(changes))
    print(f"\nbook, from Python, ns: { {k: float(np.median(v)) for k, v in costs.items()} }")
    assert len(DEFAULT_FEATURE_NAMES) == 50
    assert float(np.median(costs["apply 34 levels"])) < 100_000
