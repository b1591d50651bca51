"""What a training of all five agents holds in memory: four years of hours, as the command makes it.

Budget: 2 GiB at the peak of the process, interpreter, torch and compiled kernels included. Run with
``-m bench -s``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from strategy.evaluation.drawn_bars import drawn_bars

pytestmark = pytest.mark.bench

BARS = 35_040
MEMORY_MAX_BYTES = 2 << 30


@pytest.mark.timeout(1_800)
def test_a_training_fits_into_two_gibibytes(tmp_path: Path) -> None:
    """The largest resident size that the kernel saw of ``metaensemble train``."""
    open_ns_T, prices_T4, volume_T = drawn_bars("misspecified", BARS, 3)
    named = dict(zip(("open", "high", "low", "close"), prices_T4.T, strict=True))
    table = pa.table({"ts": (open_ns_T // 1_000_000).astype(np.int64), **named, "volume": volume_T})
    pq.write_table(table, tmp_path / "hours.parquet")
    command = [sys.executable, "-m", "daemon", "train", "--data", str(tmp_path / "hours.parquet")]
    command += ["--out", str(tmp_path / "model"), "--effort", "0.02", "--json"]
    process = os.posix_spawn(sys.executable, command, dict(os.environ))
    _, status, usage = os.wait4(process, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    peak_bytes = usage.ru_maxrss * 1_024
    print(f"\ntraining five agents on {BARS} bars: {peak_bytes / (1 << 20):,.0f} MiB at the peak")
    assert peak_bytes <= MEMORY_MAX_BYTES
