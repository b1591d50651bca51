"""Fifty features: one event, one bar, any window; and what the usual ways cost beside it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from daemon.bench.bench_bars import BAR_NS, LOT_SIZE, QUOTES_PER_BAR, TICK_SIZE, bar_market
from daemon.bench.stopwatch import Form, Goal, Stage
from kernels.features import DEFAULT_FEATURE_NAMES, RESEARCH_FEATURE_NAMES, FeatureEngine
from kernels.loops import fold_quotes

WINDOWS = (100, 1_000, 10_000)
ROWS = 1_000
SAMPLES = 3_000
LOOP_QUOTES = 20_000
SHARED_BARS = 1_000
EVENT_NS_MAX = 1_500.0
FLAT_RATIO_MAX = 1.1
PANDAS_RATIO_MIN = 100.0
TOLERANCE = 1e-8

QUOTE = "50 features, one quote"
CLOSE = "50 features, one quote that closes a bar"
BAR = "50 features, a whole bar of 4 quotes and 4 trades"
PANDAS = f"pandas, 34 features over {ROWS} rows"
OURS_SHARED = "75 features, one bar fed as one quote"
TALIPP = "talipp, 6 indicators, one bar"


def feature_stage() -> Stage:
    """Build the stage; AssertionError when a baseline gives other answers."""
    forms = [*_single_events(), *_flat_loops()]
    goals = [
        Goal(form=QUOTE, p50_ns_max=EVENT_NS_MAX),
        Goal(form=CLOSE, p50_ns_max=EVENT_NS_MAX),
    ]
    for kind in ("quotes", "bars"):
        first, last = _loop_name(kind, WINDOWS[0]), _loop_name(kind, WINDOWS[-1])
        goals.append(Goal(form=last, base=first, ratio_max=FLAT_RATIO_MAX))
    facts: dict[str, object] = {"features": len(DEFAULT_FEATURE_NAMES)}
    skipped = []
    if find_spec("pandas") is None:
        skipped.append("pandas is not installed: pip install 'metaensemble[bench]'")
    else:
        form, facts["pandas features equal to ours"] = _pandas_form()
        forms.append(form)
        for ours in (QUOTE, CLOSE, BAR):
            goals.append(Goal(form=ours, base=PANDAS, ratio_min=PANDAS_RATIO_MIN))
    if find_spec("talipp") is None:
        skipped.append("talipp is not installed: pip install 'metaensemble[bench]'")
    else:
        shared, facts["talipp indicators equal to ours"] = _talipp_forms()
        forms.extend(shared)
        goals.append(Goal(form=OURS_SHARED, base=TALIPP, ratio_min=1.0))
    return Stage(name="features", forms=forms, goals=goals, facts=facts, skipped=skipped)


class WarmFeatures:
    """An engine whose longest window is full, and how to bring it back there."""

    def __init__(self, window_bars: int, names: tuple[str, ...] = DEFAULT_FEATURE_NAMES) -> None:
        """Fill the windows from a seeded market."""
        self.engine = FeatureEngine(names, BAR_NS, TICK_SIZE, LOT_SIZE, window_bars=window_bars)
        market = bar_market(window_bars + 100)
        market.fill(self.engine)
        assert self.engine.bar_count == window_bars + 100
        self.end_ns = market.end_ns
        self._before = self.engine.state.copy()

    def reset(self) -> None:
        """Put the state of the beginning back."""
        self.engine.state[:] = self._before


def quote_rows(count: int, spacing_ns: int, start_ns: int, seed: int = 5) -> NDArray[np.int64]:
    """Make a seeded walk of quotes at an even spacing, as ``fold_quotes`` takes them."""
    rng = np.random.default_rng(seed)
    rows_n5 = np.empty((count, 5), np.int64)
    rows_n5[:, 0] = start_ns + spacing_ns * np.arange(1, count + 1)
    rows_n5[:, 1] = 600_000 + np.cumsum(rng.integers(-3, 4, count))
    rows_n5[:, 2] = rng.integers(1, 500, count)
    rows_n5[:, 3] = rows_n5[:, 1] + rng.integers(1, 4, count)
    rows_n5[:, 4] = rng.integers(1, 500, count)
    return rows_n5


def _single_events() -> list[Form]:
    """Time calls from Python at the daemon's own window."""
    forms = []
    for name, spacing_ns in ((QUOTE, BAR_NS // 1_000), (CLOSE, BAR_NS)):
        warm = WarmFeatures(100)
        rows = [tuple(row) for row in quote_rows(SAMPLES, spacing_ns, warm.end_ns).tolist()]
        forms.append(
            Form(name=name, function=warm.engine.on_quote, rows=rows, before_round=warm.reset)
        )
    warm = WarmFeatures(100)
    market = bar_market(SAMPLES // 4, seed=12)
    quotes_n5 = market.quotes_n5.copy()
    quotes_n5[:, 0] += warm.end_ns
    events = [
        (tuple(quote), (quote[0], *trade))
        for quote, trade in zip(quotes_n5.tolist(), market.trades_n3.tolist(), strict=True)
    ]
    on_quote, on_trade = warm.engine.on_quote, warm.engine.on_trade

    def bar(*pairs: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
        for quote, trade in pairs:
            on_quote(*quote)
            on_trade(*trade)

    bars = [tuple(events[at : at + QUOTES_PER_BAR]) for at in range(0, len(events), QUOTES_PER_BAR)]
    forms.append(Form(name=BAR, function=bar, rows=bars, before_round=warm.reset))
    return forms


def _flat_loops() -> list[Form]:
    """Time compiled loops at several windows: mostly quotes, and one quote per bar."""
    forms = []
    for kind, spacing_ns in (("quotes", BAR_NS // 20), ("bars", BAR_NS)):
        for window_bars in WINDOWS:
            warm = WarmFeatures(window_bars)
            rows_n5 = quote_rows(LOOP_QUOTES, spacing_ns, warm.end_ns)
            forms.append(
                Form(
                    name=_loop_name(kind, window_bars),
                    function=fold_quotes,
                    rows=[(warm.engine.state, chunk_n5) for chunk_n5 in np.split(rows_n5, 20)],
                    operations=LOOP_QUOTES // 20,
                    before_round=warm.reset,
                )
            )
    return forms


def _loop_name(kind: str, window_bars: int) -> str:
    words = "one bar per quote" if kind == "bars" else "20 quotes per bar"
    return f"compiled loop, window {window_bars}, {words}"


def _pandas_form() -> tuple[Form, int]:
    from daemon.bench.pandas_features import bar_table, recompute

    market = bar_market(2 * ROWS + 100)
    engine = FeatureEngine(DEFAULT_FEATURE_NAMES, BAR_NS, TICK_SIZE, LOT_SIZE, window_bars=ROWS)
    market.fill(engine)
    table = bar_table(market, ROWS)
    theirs = recompute(table, ROWS, ROWS // 5)
    _assert_equal(engine, theirs)
    form = Form(name=PANDAS, function=recompute, rows=[(table, ROWS, ROWS // 5)] * 10)
    return form, len(theirs)


def _talipp_forms() -> tuple[list[Form], int]:
    """Feed both with bars: talipp with all four prices, ours with the quote that closes each."""
    from daemon.bench.talipp_features import TalippIndicators, log_bars

    market = bar_market(3 * SHARED_BARS)
    engine = FeatureEngine(RESEARCH_FEATURE_NAMES, BAR_NS, TICK_SIZE, LOT_SIZE)
    market.fill(engine)
    bars = log_bars(market)
    indicators = TalippIndicators(short=20)
    for each in bars:
        indicators.add(each)
    volatility = dict(zip(engine.names, engine.values_F.tolist(), strict=True))
    log_close = float(np.log(market.close_ticks[-1]))
    theirs = indicators.values(log_close, volatility["volatility_ewma_bps"] / 1e4)
    _assert_equal(engine, theirs)
    warm = WarmFeatures(100, RESEARCH_FEATURE_NAMES)
    rows = [tuple(row) for row in quote_rows(SHARED_BARS, BAR_NS, warm.end_ns).tolist()]
    fresh = [TalippIndicators(short=20)]

    def refill() -> None:
        fresh[0] = TalippIndicators(short=20)
        for each in bars[:SHARED_BARS]:
            fresh[0].add(each)

    def add(each: object) -> None:
        fresh[0].add(each)

    return [
        Form(name=OURS_SHARED, function=warm.engine.on_quote, rows=rows, before_round=warm.reset),
        Form(
            name=TALIPP,
            function=add,
            rows=[(each,) for each in bars[SHARED_BARS : 2 * SHARED_BARS]],
            before_round=refill,
        ),
    ], len(theirs)


def _assert_equal(engine: FeatureEngine, theirs: Mapping[str, float]) -> None:
    ours = dict(zip(engine.names, engine.values_F.tolist(), strict=True))
    for name, value in theirs.items():
        assert abs(ours[name] - value) <= TOLERANCE * max(1.0, abs(value)), (
            f"{name}: {ours[name]} here, {value} there"
        )
