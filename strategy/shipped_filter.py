"""The regime filter that ships with the code: fitted to labelled worlds, kept as a file of tables.

It speaks of any instrument and any length of bar, because it measures volatility and volume on the
instrument itself. Every bundle that is made here takes it along. To fit it anew (half a minute)::

    python -m strategy.shipped_filter --seed 7
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from kernels.events import REGIMES
from kernels.labelled_bars import STATE, draw_labelled
from kernels.market_worlds import STATE_REGIMES
from strategy.regime_filter import RegimeFilter
from strategy.regime_fit import fit_filter
from strategy.regime_tracker import CRISIS, LEVEL_TABLE, fit_crisis_level

Floats = NDArray[np.float64]

SHIPPED_PATH = Path(__file__).parent / "bundles" / "regimes.safetensors"
WORLDS = ("misspecified",)
"""What it is fitted to: of the labelled worlds the one that is hardest and most like a market."""

LEVEL_BARS = 40_000


def shipped_tables() -> dict[str, Floats]:
    """Return the tables of filter and crisis alarm for a bundle; OSError when the file is gone."""
    return {name: np.array(table) for name, table in load(SHIPPED_PATH.read_bytes()).items()}


def shipped_filter() -> RegimeFilter:
    """Return the filter itself."""
    return RegimeFilter.from_tables(shipped_tables())


def fit_tables(seed: int) -> dict[str, Floats]:
    """Fit filter and crisis level, a pure function of the seed; the level on other bars."""
    fitted = fit_filter(WORLDS, seed)
    path_T4 = draw_labelled(WORLDS[0], LEVEL_BARS, np.random.default_rng(seed + 1))
    crisis = REGIMES.index(CRISIS)
    is_crisis_T = np.array(STATE_REGIMES)[path_T4[:, STATE].astype(np.int64)] == crisis
    level = fit_crisis_level(fitted.run(path_T4)[:, crisis], is_crisis_T)
    return {**fitted.to_tables(), LEVEL_TABLE: np.array([level])}


def main(arguments: list[str] | None = None) -> int:
    """Write the file anew and print what was chosen."""
    parser = argparse.ArgumentParser(prog="python -m strategy.shipped_filter", description=__doc__)
    parser.add_argument("--seed", type=int, default=7, help="of the labelled worlds (default 7)")
    parser.add_argument("--out", type=Path, default=SHIPPED_PATH, help="file to write")
    chosen = parser.parse_args(arguments)
    tables = fit_tables(chosen.seed)
    chosen.out.write_bytes(save(tables))
    print(f"{chosen.out}: crisis alarm from {tables[LEVEL_TABLE][0]:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
