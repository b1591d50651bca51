"""A feature of the user's own, as the README shows it: RSI(14) on prices."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kernels.features import (
    DEFAULT_FEATURE_NAMES,
    FEATURES,
    FeatureEngine,
    schema_sha256,
    unregister_feature,
)

README = Path(__file__).parents[2] / "README.md"
INTERVAL_NS = 1_000_000_000
NAMES = (*DEFAULT_FEATURE_NAMES, "rsi_14_of_price")


@pytest.fixture
def names(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """Run the README's example, as it stands there, for one test."""
    section = README.read_text().partition("## A feature of your own\n")[2]
    code = section.partition("```python\n")[2].partition("```")[0]
    path = tmp_path / "own_feature.py"  # a file: compiled kernels want a place for their cache
    path.write_text(code)
    runpy.run_path(str(path))
    yield NAMES
    unregister_feature("rsi_14_of_price")


def closes_fed(engine: FeatureEngine, bars: int, seed: int) -> list[float]:
    """Feed one quote per bar and return the closes of all closed bars, in ticks."""
    rng = np.random.default_rng(seed)
    mids = (400_000 + np.cumsum(rng.integers(-40, 41, bars))).tolist()
    for at, mid in enumerate(mids):
        engine.on_quote(at * INTERVAL_NS, mid - 1, 5, mid + 1, 5)
    engine.close_bars(bars * INTERVAL_NS)
    return [float(mid) for mid in mids]


def naive_rsi(closes: list[float]) -> float:
    """Compute Wilder's RSI(14) from the whole history: first a mean of 14, then his smoothing."""
    changes = np.diff(closes)
    gain = float(np.maximum(changes[:14], 0).mean())
    loss = float(np.maximum(-changes[:14], 0).mean())
    for change in changes[14:]:
        gain = (13 * gain + max(float(change), 0.0)) / 14
        loss = (13 * loss + max(float(-change), 0.0)) / 14
    return 100 * gain / (gain + loss)


@pytest.mark.parametrize("bars", [15, 16, 40, 300])
def test_own_rsi_is_wilders(names: tuple[str, ...], bars: int) -> None:
    """The registered function gives Wilder's RSI from its first value on."""
    engine = FeatureEngine(names, INTERVAL_NS, 0.1, 0.001)
    closes = closes_fed(engine, bars, seed=bars)
    assert engine.values_F[-1] == pytest.approx(naive_rsi(closes), rel=1e-10)


def test_own_feature_waits_is_saved_and_named(names: tuple[str, ...]) -> None:
    """Before 15 bars it reads 0; its memory survives a restore; the schema's hash knows it."""
    engine, other = (FeatureEngine(names, INTERVAL_NS, 0.1, 0.001) for _ in range(2))
    closes_fed(engine, 14, seed=3)
    assert engine.values_F[-1] == 0.0
    other.restore(engine.state)
    for each in (engine, other):
        each.on_quote(15 * INTERVAL_NS, 400_001, 5, 400_003, 5)
    assert engine.values_F[-1] == other.values_F[-1] != 0.0
    assert schema_sha256(names) != schema_sha256(DEFAULT_FEATURE_NAMES)
    assert FEATURES["rsi_14_of_price"].unit == "0..100"


def test_own_rsi_equals_talib(names: tuple[str, ...]) -> None:
    """And it is TA-Lib's RSI of the same closes."""
    talib = pytest.importorskip("talib", reason="the extra oracle (TA-Lib) is not installed")
    engine = FeatureEngine(names, INTERVAL_NS, 0.1, 0.001)
    closes = closes_fed(engine, 200, seed=9)
    assert engine.values_F[-1] == pytest.approx(talib.RSI(np.array(closes), 14)[-1], rel=1e-10)
