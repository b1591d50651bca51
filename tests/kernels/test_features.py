"""The feature engine against its naive twin, its promises about state, and its registry."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels import feature_events, feature_slots
from kernels.book import Book
from kernels.feature_catalogue import BUILT_IN
from kernels.features import (
    DEFAULT_FEATURE_NAMES,
    FEATURES,
    RESEARCH_FEATURE_NAMES,
    FeatureEngine,
    register_feature,
    schema_sha256,
    unregister_feature,
)
from kernels.jit import njit
from kernels.warmup import warm_up
from tests.naive.naive_features import NaiveFeatures
from tests.naive.random_market import START_NS, MarketStep, feed_engine, random_market

INTERVAL_NS = 1_000_000_000
ROOT = Path(__file__).resolve().parents[2]


def new_engine(names: tuple[str, ...] = RESEARCH_FEATURE_NAMES, window: int = 20) -> FeatureEngine:
    """Build an engine on the grid of the random market."""
    return FeatureEngine(names, INTERVAL_NS, 0.1, 0.001, window_bars=window)


def feed_twin(twin: NaiveFeatures, step: MarketStep) -> None:
    """Apply one step to the twin."""
    if step.kind == "quote":
        twin.quote(step.now_ns, step.quote)
    elif step.kind == "trade":
        twin.trade(step.now_ns, *step.trade)
    elif step.kind == "mark":
        twin.take_mark(*step.mark)
    elif step.kind == "book":
        twin.take_book(list(step.bids), list(step.asks))
    else:
        twin.advance(step.now_ns)


def differing(engine: FeatureEngine, twin: NaiveFeatures) -> dict[str, tuple[float, float]]:
    """Return the features that differ by more than 1e-10 of their size.

    Size is at least 1 unit, as small values are differences of larger ones.
    """
    ours = dict(zip(engine.names, engine.values_F.tolist(), strict=True))
    naive = twin.values()
    return {
        name: (ours[name], naive[name])
        for name in engine.names
        if not abs(ours[name] - naive[name]) <= 1e-10 * max(1.0, abs(naive[name]))
    }


@given(
    seed=st.integers(0, 2**32),
    window=st.integers(10, 40),
    step_ticks=st.sampled_from([0.3, 4.0, 300.0]),
    events_per_bar=st.sampled_from([1.0, 5.0]),
)
@settings(max_examples=15, deadline=None)
def test_every_feature_equals_recomputation(
    seed: int, window: int, step_ticks: float, events_per_bar: float
) -> None:
    """At many moments, before, at and after warm-up, all 75 values equal those from all history."""
    engine, twin = new_engine(window=window), NaiveFeatures(interval_ns=INTERVAL_NS, window=window)
    market = random_market(seed, 2 * window + 60, INTERVAL_NS, step_ticks, events_per_bar)
    for at, step in enumerate(market):
        feed_engine(engine, step)
        feed_twin(twin, step)
        if at % 29 == 0:
            assert differing(engine, twin) == {}
    assert differing(engine, twin) == {}
    assert engine.bar_count == len(twin.bars)
    assert engine.is_warm


def test_both_windows_grow_and_fill() -> None:
    """With windows longer than their first reading, values equal recomputation all the way."""
    window = 130
    engine, twin = new_engine(window=window), NaiveFeatures(interval_ns=INTERVAL_NS, window=window)
    for at, step in enumerate(random_market(77, window + 40, INTERVAL_NS)):
        feed_engine(engine, step)
        feed_twin(twin, step)
        if at % 37 == 0:
            assert differing(engine, twin) == {}
    assert engine.bar_count > window + 20


def test_features_say_when_they_are_warm() -> None:
    """Each value is 0 until the bars its description names, and nearly all move right then."""
    window = 25
    engine = new_engine(window=window)
    first_seen: dict[str, int] = {}
    for step in random_market(5, 2 * window + 30, INTERVAL_NS, 40.0, 20.0):
        feed_engine(engine, step)
        for name, value in zip(engine.names, engine.values_F.tolist(), strict=True):
            if value != 0.0:
                first_seen.setdefault(name, engine.bar_count)
    needed = {name: FEATURES[name].bars_needed(window) for name in RESEARCH_FEATURE_NAMES}
    assert set(first_seen) == set(needed)
    early = {n: (first_seen[n], needed[n]) for n in needed if first_seen[n] < needed[n]}
    # a share that is cut at 0 may start there
    slack = {name: 20 if name == "jump_share_long" else 3 for name in needed}
    late = {n: (first_seen[n], needed[n]) for n in needed if first_seen[n] > needed[n] + slack[n]}
    assert early == {}
    assert late == {}
    assert engine.bars_needed == max(needed.values())


def test_warm_needs_book_and_mark() -> None:
    """Bars alone do not make an engine warm whose features read a book or a mark price."""
    engine = new_engine(("return_1_bps", "imbalance_5", "basis_bps"), window=10)
    for second in range(5):
        engine.on_quote(second * INTERVAL_NS, 100 + second, 1, 102 + second, 1)
    assert not engine.is_warm
    engine.on_mark(101, 1e-4)
    assert not engine.is_warm
    book = Book(capacity=4)
    engine.on_book(book)
    assert engine.ignored_count == 1
    book.state[:] = Book(capacity=4).state
    step = MarketStep(kind="book", now_ns=0, bids=((99, 1),), asks=((101, 3),))
    feed_engine(engine, step)
    assert engine.is_warm
    assert engine.values_F[1] == -0.5


@given(seed=st.integers(0, 2**32), cut=st.integers(0, 400))
@settings(max_examples=10, deadline=None)
def test_restored_state_continues_bit_exactly(seed: int, cut: int) -> None:
    """An engine restored in mid-stream ends with the same bits as one that never stopped."""
    steps = list(random_market(seed, 80, INTERVAL_NS))
    whole, first, second = new_engine(), new_engine(), new_engine()
    for step in steps:
        feed_engine(whole, step)
    for step in steps[:cut]:
        feed_engine(first, step)
    second.restore(first.state.copy())
    for step in steps[cut:]:
        feed_engine(second, step)
    assert second.state.tobytes() == whole.state.tobytes()


def test_restore_refuses_another_engine() -> None:
    """A state of another schema, window, interval or grid is refused and nothing changes."""
    engine = new_engine(DEFAULT_FEATURE_NAMES, window=20)
    before = engine.state.copy()
    others = (
        FeatureEngine(RESEARCH_FEATURE_NAMES, INTERVAL_NS, 0.1, 0.001, window_bars=20),
        FeatureEngine(DEFAULT_FEATURE_NAMES, 2 * INTERVAL_NS, 0.1, 0.001, window_bars=20),
        FeatureEngine(DEFAULT_FEATURE_NAMES, INTERVAL_NS, 0.01, 0.001, window_bars=20),
        FeatureEngine(DEFAULT_FEATURE_NAMES, INTERVAL_NS, 0.1, 0.001, window_bars=21),
    )
    for other in others:
        with pytest.raises(ValueError, match="feature state of another"):
            engine.restore(other.state)
    assert np.array_equal(engine.state, before)


wild = st.one_of(st.integers(-3, 5), st.integers(-(2**62), 2**62))
wild_event = st.one_of(
    st.tuples(st.just("quote"), wild, wild, wild, wild, wild),
    st.tuples(st.just("trade"), wild, wild, wild, st.sampled_from([1, -1, 0, 5])),
    st.tuples(st.just("mark"), wild, st.floats(allow_nan=True, allow_infinity=True)),
)


@given(events=st.lists(wild_event, max_size=60), window=st.integers(10, 12))
@settings(max_examples=60, deadline=None)
def test_any_input_leaves_finite_values(events: list[tuple[object, ...]], window: int) -> None:
    """Zero, negative, huge and not-a-number inputs never yield a value that is not finite."""
    engine = new_engine(window=window)
    now_ns = START_NS
    for event in events:
        kind, *numbers = event
        if kind == "mark":
            engine.on_mark(*numbers)  # type: ignore[arg-type]  # drawn per kind
        else:
            jump, *rest = numbers
            now_ns = max(0, min(2**62, now_ns + int(jump) % (3 * INTERVAL_NS)))  # type: ignore[call-overload]  # an int
            method = engine.on_quote if kind == "quote" else engine.on_trade
            method(now_ns, *rest)  # type: ignore[arg-type]  # drawn per kind
        assert bool(np.isfinite(engine.values_F).all())
        assert float(np.abs(engine.values_F).max()) <= feature_slots.VALUE_MAX


def test_huge_books_and_prices_stay_finite_when_warm() -> None:
    """Prices and sizes near the end of the integer range pass through a full warm-up."""
    engine = new_engine(window=10)
    book = Book(capacity=4)
    step = MarketStep(kind="book", now_ns=0, bids=((2**61, 2**61),), asks=((2**61 + 512, 2**61),))
    for second in range(engine.bars_needed + 5):
        bid = 1 if second % 2 else 2**61
        engine.on_quote(second * INTERVAL_NS, bid, 2**61, bid + 2**60, 2**61)
        engine.on_trade(second * INTERVAL_NS, 2**61, 2**61, 1 if second % 3 else -1)
        engine.on_mark(1, 1e300)
        feed_engine(engine, step)
    assert engine.is_warm
    assert book.best() == (0, 0, 0, 0)
    assert bool(np.isfinite(engine.values_F).all())
    assert float(np.abs(engine.values_F).max()) <= feature_slots.VALUE_MAX


def test_silent_market_has_no_variance() -> None:
    """A price that never moves gives exact zeros where a statistic divides by its spread."""
    engine = new_engine(window=10)
    for second in range(80):
        engine.on_quote(second * INTERVAL_NS, 100, 5, 102, 5)
    values = dict(zip(engine.names, engine.values_F.tolist(), strict=True))
    for name in (
        "volatility_realised_long_bps",
        "zscore_long",
        "kurtosis_long",
        "rsi_14",
        "adx_14",
    ):
        assert values[name] == 0.0
    assert values["bollinger_short"] == 0.5
    assert values["up_share_long"] == 0.5


def test_long_silence_is_bounded() -> None:
    """After years without an event at most so many flat bars are folded, and the clock is right."""
    engine = new_engine(window=10)
    engine.on_quote(0, 100, 1, 102, 1)
    engine.on_quote(10**17, 104, 1, 106, 1)
    assert engine.bar_count == feature_slots.CATCH_UP_BARS_MAX
    engine.close_bars(10**17)
    assert engine.bar_count == feature_slots.CATCH_UP_BARS_MAX
    engine.close_bars(10**17 + INTERVAL_NS)
    assert engine.bar_count == feature_slots.CATCH_UP_BARS_MAX + 1


def test_late_event_belongs_to_the_open_bar() -> None:
    """An event stamped before the open bar reopens nothing and is counted into the open one."""
    engine = new_engine(window=10)
    engine.on_quote(5 * INTERVAL_NS, 100, 1, 102, 1)
    engine.on_quote(6 * INTERVAL_NS, 100, 1, 102, 1)
    engine.on_quote(4 * INTERVAL_NS, 110, 1, 112, 1)
    assert engine.bar_count == 1
    engine.close_bars(7 * INTERVAL_NS)
    assert engine.bar_count == 2
    assert engine.values_F[0] == pytest.approx(1e4 * math.log(111 / 101))


def test_names_and_order_are_the_contract() -> None:
    """Fifty default names open the seventy-five, each at the slot its name says."""
    assert (len(DEFAULT_FEATURE_NAMES), len(RESEARCH_FEATURE_NAMES)) == (50, 75)
    assert RESEARCH_FEATURE_NAMES[:50] == DEFAULT_FEATURE_NAMES
    assert len(set(RESEARCH_FEATURE_NAMES)) == 75 == feature_slots.BUILT_IN_COUNT
    for feature in BUILT_IN:
        assert getattr(feature_slots, feature.name.upper()) == feature.slot
        assert feature.summary
        assert feature.source
        assert feature.warm_up
    assert schema_sha256(DEFAULT_FEATURE_NAMES) != schema_sha256(RESEARCH_FEATURE_NAMES)
    assert schema_sha256(("rsi_14", "adx_14")) != schema_sha256(("adx_14", "rsi_14"))


def test_any_selection_and_order_reads_the_same_values() -> None:
    """A shuffled selection of names gives the values of the full schema, in its own order."""
    names = ("rsi_14", "spread_bps", "return_1_bps", "depth_ratio", "hurst_long")
    full, few = new_engine(), new_engine(names)
    for step in random_market(11, 60, INTERVAL_NS):
        feed_engine(full, step)
        feed_engine(few, step)
    expected = [full.values_F[RESEARCH_FEATURE_NAMES.index(name)] for name in names]
    assert few.values_F.tolist() == expected
    assert few.is_warm


@pytest.mark.parametrize(
    ("names", "interval_ns", "tick", "window"),
    [
        ((), 1, 0.1, 20),
        (("no_such",), 1, 0.1, 20),
        (("rsi_14", "rsi_14"), 1, 0.1, 20),
        (("rsi_14",), 0, 0.1, 20),
        (("rsi_14",), 1, 0.0, 20),
        (("rsi_14",), 1, math.nan, 20),
        (("rsi_14",), 1, 0.1, 9),
    ],
)
def test_senseless_engines_are_refused(
    names: tuple[str, ...], interval_ns: int, tick: float, window: int
) -> None:
    """Unknown or repeated names and numbers without sense raise before anything is built."""
    with pytest.raises(ValueError, match=r"feature names|bar of|tick and lot"):
        FeatureEngine(names, interval_ns, tick, 0.001, window_bars=window)


def test_registered_feature_runs_saves_and_restores() -> None:
    """A user's function is called once a bar with its own memory, which travels with the state."""

    @register_feature(
        "gain_share_7", unit="0..1", group="custom", summary="RSI 7", bars=8, memory_floats=3
    )
    def gain_share_7(state: NDArray[np.float64], memory: NDArray[np.float64]) -> float:
        change = state[feature_slots.RETURN_1_BPS]
        memory[0] += (max(change, 0.0) - memory[0]) / 7
        memory[1] += (max(-change, 0.0) - memory[1]) / 7
        memory[2] += 1
        return float(memory[0] / (memory[0] + memory[1])) if memory[0] + memory[1] else math.nan

    @register_feature(
        "half_spread_bps", unit="bps", group="custom", summary="spread / 2", updates_on="quote"
    )
    def half_spread_bps(state: NDArray[np.float64], memory: NDArray[np.float64]) -> float:
        return float(state[feature_slots.SPREAD_BPS]) / 2

    names = (*DEFAULT_FEATURE_NAMES, "gain_share_7", "half_spread_bps")
    try:
        steps = list(random_market(3, 70, INTERVAL_NS))
        whole, first, second = (new_engine(names, window=10) for _ in range(3))
        for at, step in enumerate(steps):
            feed_engine(whole, step)
            feed_engine(first if at < 150 else second, step)
            if at == 149:
                second.restore(first.state.copy())
            spread = whole.values_F[DEFAULT_FEATURE_NAMES.index("spread_bps")]
            assert whole.values_F[51] == spread / 2
            assert (whole.values_F[50] != 0.0) == (whole.bar_count >= 8)
        assert second.state.tobytes() == whole.state.tobytes()
        assert whole.state[-2] == whole.bar_count
        plain = new_engine(window=10)
        for step in steps:
            feed_engine(plain, step)
        assert whole.values_F[:50].tolist() == plain.values_F[:50].tolist()
        with pytest.raises(ValueError, match="exists already"):
            register_feature("half_spread_bps", unit="", group="", summary="")
    finally:
        unregister_feature("gain_share_7")
        unregister_feature("half_spread_bps")
    with pytest.raises(ValueError, match="built in"):
        unregister_feature("rsi_14")
    with pytest.raises(ValueError, match="identifier"):
        register_feature("not a name", unit="", group="", summary="")


def test_warm_up_compiles_everything() -> None:
    """After the warm-up no event of the usual types compiles anything."""
    warm_up()
    if os.environ.get("NUMBA_DISABLE_JIT") == "1":
        return
    kernels: tuple[Any, ...] = (
        feature_events.on_quote,
        feature_events.on_trade,
        feature_events.on_mark,
        feature_events.on_book,
        feature_events.close_due,
    )
    before = [len(kernel.signatures) for kernel in kernels]
    assert all(before)
    engine = new_engine()
    for step in random_market(1, 5, INTERVAL_NS):
        feed_engine(engine, step)
    after = [len(kernel.signatures) for kernel in kernels]
    assert after == before


@njit
def allocate(state: NDArray[np.float64], count: int) -> None:
    """Allocate once an event, to show that the counter counts."""
    for i in range(count):
        state[0] += np.ones(i + 1)[i] * 0.0


@njit
def fold_quotes(state: NDArray[np.float64], count: int) -> None:
    """Fold quotes a quarter of a bar apart in one compiled call."""
    for i in range(count):
        feature_events.on_quote(state, i * 250_000_000, 600_000 + i % 7, 5, 600_009 + i % 5, 6)
        feature_events.on_trade(state, i * 250_000_000, 600_000 + i % 7, 5, 1)


def test_updates_allocate_nothing() -> None:
    """A thousand events take exactly as many allocations as ten: none of their own."""
    if os.environ.get("NUMBA_DISABLE_JIT") == "1":
        return
    counter: Any = import_module("numba.core.runtime._nrt_python")
    system: Any = import_module("numba.core.runtime.nrt").rtsys
    counter.memsys_enable_stats()
    engine = new_engine(window=30)

    def counted(fold: Callable[[NDArray[np.float64], int], None], count: int) -> int:
        fold(engine.state, 1)
        before = system.get_allocation_stats().alloc
        fold(engine.state, count)
        return int(system.get_allocation_stats().alloc - before)

    assert counted(fold_quotes, 1000) == counted(fold_quotes, 10)
    assert counted(allocate, 1000) == counted(allocate, 10) + 990
    assert engine.bar_count > 200


PLAIN_RUN = """
import json
from tests.kernels.test_features import small_run
print(json.dumps(small_run()))
"""


def small_run() -> list[float]:
    """Return all values after a short market that reaches every warm-up."""
    engine = new_engine(window=12)
    for step in random_market(8, 50, INTERVAL_NS):
        feed_engine(engine, step)
    assert engine.is_warm
    return [float(value) for value in engine.values_F]


def test_interpreted_kernels_give_the_same_values() -> None:
    """The same sources without compilation, warnings as errors, agree to the last digits."""
    environment = dict(os.environ) | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", PLAIN_RUN],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    interpreted = json.loads(answer.stdout)
    assert interpreted == pytest.approx(small_run(), rel=1e-12, abs=1e-12)
