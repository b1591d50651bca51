"""Where nothing can be earned the whole chain earns nothing, and a leak is seen."""

from __future__ import annotations

import secrets
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.martingale_bars import run_worlds, tossed_bars

SHARED_BARS = Path("../shared/data/bars/btcusdt_binance_spot_1m_202201_202306.parquet")


@pytest.mark.nightly
@pytest.mark.timeout(14_400)
def test_no_edge_on_martingale_worlds() -> None:
    """S15: 200 worlds on seeds drawn now and printed."""
    first = secrets.randbelow(2**20)
    assert run_worlds([first + place for place in range(200)]) == []


@pytest.mark.nightly
@pytest.mark.timeout(7_200)
def test_a_leak_is_found() -> None:
    """With the return that follows among the features, however blurred, the bar breaks."""
    first = secrets.randbelow(2**20)
    assert run_worlds([first + place for place in range(20)], plant="tomorrow") != []


@pytest.mark.nightly
@pytest.mark.timeout(14_400)
@pytest.mark.skipif(not SHARED_BARS.exists(), reason="no recorded bars: ../shared/data is missing")
def test_no_edge_on_tossed_bars() -> None:
    """Nor on blocks of real hours whose signs are tossed."""
    first = secrets.randbelow(2**20)
    seeds = [first + place for place in range(50)]
    assert run_worlds(seeds, bars_path=SHARED_BARS) == []


def test_tossed_bars_have_no_drift(tmp_path: Path) -> None:
    """Prices stay prices, blocks keep their volatility, and the mean return is nothing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    generator = np.random.default_rng(2)
    close_T = 100.0 * np.exp(np.cumsum(0.01 + 0.02 * generator.normal(size=3_000)))
    open_T = np.append(100.0, close_T[:-1])
    prices = {
        "ts": np.arange(3_000, dtype=np.int64) * 3_600_000,
        "open": open_T,
        "high": np.maximum(open_T, close_T) * 1.001,
        "low": np.minimum(open_T, close_T) * 0.999,
        "close": close_T,
        "volume": np.ones(3_000),
    }
    pq.write_table(pa.table(prices), tmp_path / "up.parquet")
    _, price_T4, volume_T = tossed_bars(tmp_path / "up.parquet", 3_000, 5)
    return_T = np.diff(price_T4[:, 3]) / price_T4[:-1, 3]
    assert abs(return_T.mean()) < 3.0 * return_T.std() / len(return_T) ** 0.5
    assert return_T.std() == pytest.approx((0.01**2 + 0.02**2) ** 0.5, rel=0.1)
    assert (price_T4[:, 1] >= price_T4[:, [0, 2, 3]].max(axis=1)).all()
    assert (price_T4[:, 2] <= price_T4[:, [0, 1, 3]].min(axis=1)).all()
    assert (volume_T > 0.0).all()
