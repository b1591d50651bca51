"""Does the regime filter see what can be seen? S8 to S12, on seeds drawn now and printed.

    python -m tests.benchmarks.regime_bars                    every table; exit 1 below a bar
    python -m tests.benchmarks.regime_bars --seeds 2 --only s9
    python -m tests.benchmarks.regime_bars --plant shifted    a planted bug: must end with 1

Every seed fits on 60,000 labelled bars of its own and is judged on 20,000 others, of which the
first 500 warm up. S8: on worlds that the filter can describe, against the Bayes filter that knows
the world's true parameters. S9: on the misspecified world. S10: the name that balanced settings
report. S11: the quick way into crisis. S12, with ``pip install -c constraints.txt -e '.[oracle]'``:
hmmlearn, filtered forward, and jumpmodels, online, both tuned on the same training bars.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tomllib
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernels.events import REGIMES
from kernels.labelled_bars import STATE, WORLDS, draw_labelled, state_numbers
from kernels.market_worlds import NEXT_STATE, STATE_REGIMES
from strategy.regime_filter import RegimeFilter, student_log_norm
from strategy.regime_fit import fit_path
from strategy.regime_steps import (
    ADVANCE,
    DEGREES,
    ECHO,
    LOG_NORM,
    MEAN,
    NUMBERS,
    PHASES,
    REGIME,
    SCALE,
    SIGMA,
    STATE_COLUMNS,
    TAU,
    VARIANCE_BASE,
    VOLUME_MEAN,
    VOLUME_SD,
)
from strategy.regime_tracker import (
    CRISIS,
    FALSE_ALARM_BARS,
    RegimeTracker,
    crisis_alarms,
    false_alarms,
    fit_crisis_level,
)
from tests.benchmarks import regime_scores as scores
from tests.benchmarks.bar_table import BarTable, median_interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Rows = list[dict[str, float]]
Limits = Mapping[str, Mapping[str, float]]
BARS_FILE = Path(__file__).with_name("bars.toml")
TRAIN_BARS, TEST_BARS, BURN_BARS = 60_000, 20_000, 500
BALANCED_THRESHOLD = 0.7
LOW_VOL, CRISIS_INDEX = REGIMES.index("low_vol_range"), REGIMES.index(CRISIS)
MATCHED = ("textbook", "realistic")


def regimes_of(path_T4: Floats) -> Ints:
    """Return the true regime of every bar."""
    return np.array(STATE_REGIMES, np.int64)[path_T4[:, STATE].astype(np.int64)]


def bayes_filter(name: str) -> RegimeFilter:
    """Return the filter that knows the true parameters of a matched world."""
    world = WORLDS[name]
    numbers_K5 = state_numbers(world)
    numbers_N = np.zeros(NUMBERS)
    numbers_N[[PHASES, TAU, VARIANCE_BASE, SCALE]] = 1.0
    numbers_N[DEGREES] = world.tail_degrees
    numbers_N[LOG_NORM] = student_log_norm(world.tail_degrees)
    numbers_N[VOLUME_SD] = world.volume_sd
    state_KP = np.zeros((len(numbers_K5), STATE_COLUMNS))
    state_KP[:, SIGMA], state_KP[:, MEAN], state_KP[:, ECHO] = numbers_K5[:, :3].T
    state_KP[:, VOLUME_MEAN], state_KP[:, ADVANCE] = numbers_K5[:, 3], 1.0 / numbers_K5[:, 4]
    state_KP[:, REGIME] = STATE_REGIMES
    return RegimeFilter(
        numbers_N=numbers_N,
        state_KP=state_KP,
        next_KK=np.array(NEXT_STATE, np.float64),
        level_M2=np.ones((1, 2)),
        offset_O2=np.array([[0.0, 1.0]]),
    )


def reported(posterior_TK: Floats, threshold: float, crisis_level: float = 1.0) -> Ints:
    """Return the name that a tracker reports at every bar."""
    tracker = RegimeTracker(threshold=threshold, window=50, crisis_level=crisis_level)
    return np.array([tracker.update(row_K) for row_K in posterior_TK], np.int64)


def judge_world(name: str, seed: int, plant: str = "") -> dict[str, float]:
    """Fit on one world, score on other bars of it; all figures by name."""
    draws = np.random.default_rng(seed)
    train_T4 = draw_labelled(name, TRAIN_BARS, draws)
    fitted, _ = fit_path(train_T4)
    level = fit_crisis_level(
        fitted.run(train_T4)[:, CRISIS_INDEX], regimes_of(train_T4) == CRISIS_INDEX
    )
    path_T4 = draw_labelled(name, TEST_BARS, draws)
    seen_TK = fitted.run(path_T4)[BURN_BARS:]
    true_T = regimes_of(path_T4)[BURN_BARS:]
    if plant == "shifted":
        true_T = np.roll(true_T, -24)
    named_T = seen_TK.argmax(axis=1)
    found = _figures(seen_TK, true_T, "")
    names_T = reported(seen_TK, BALANCED_THRESHOLD)
    quick_T = crisis_alarms(seen_TK[:, CRISIS_INDEX], level)
    onset_n = _onsets(quick_T, true_T)
    found["volatility_f1"] = float(
        scores.f1_by_class(
            scores.volatility_names(named_T, LOW_VOL, CRISIS_INDEX),
            scores.volatility_names(true_T, LOW_VOL, CRISIS_INDEX),
            3,
        ).mean()
    )
    found["switch_ratio"] = scores.switch_ratio(names_T, true_T)
    found["reported_f1"] = float(scores.f1_by_class(names_T, true_T, len(REGIMES)).mean())
    found["reported_delay"] = float(np.median(scores.delays(names_T, true_T)[0]))
    found |= {f"onset_{number}": waited for number, waited in enumerate(onset_n.tolist())}
    found["crises"] = float(_crises(true_T))
    off = false_alarms(quick_T, true_T == CRISIS_INDEX)
    found["false_alarms"] = off * FALSE_ALARM_BARS / len(true_T)
    if name in MATCHED:
        best_TK = bayes_filter(name).run(path_T4)[BURN_BARS:]
        found |= _figures(best_TK, true_T, "bayes_")
        found["bayes_delay"] = float(np.median(scores.delays(best_TK.argmax(axis=1), true_T)[0]))
    return found


def _figures(posterior_TK: Floats, true_T: Ints, prefix: str) -> dict[str, float]:
    named_T = posterior_TK.argmax(axis=1)
    return {
        f"{prefix}accuracy": float((named_T == true_T).mean()),
        f"{prefix}f1": float(scores.f1_by_class(named_T, true_T, len(REGIMES)).mean()),
        f"{prefix}ece": scores.calibration_error(posterior_TK, true_T),
        f"{prefix}loss": scores.log_loss(posterior_TK, true_T),
    }


def _onsets(alarm_T: NDArray[np.bool_], true_T: Ints) -> Floats:
    """Return bars from the first of each crisis to the alarm, 0 at its close, where one came."""
    waited = []
    for first, last, label in scores.episodes(true_T):
        hits = np.flatnonzero(alarm_T[first:last])
        if label == CRISIS_INDEX and first > 0 and len(hits):
            waited.append(float(hits[0]))
    return np.array(waited)


def _crises(true_T: Ints) -> int:
    return sum(label == CRISIS_INDEX for first, _, label in scores.episodes(true_T) if first > 0)


def judge_rivals(name: str, seed: int) -> dict[str, float]:
    """Return macro-F1 of the filter and of both rivals on the same bars; needs the extra."""
    from tests.benchmarks.regime_rivals import hmmlearn_names, jump_names

    draws = np.random.default_rng(seed)
    train_T4, path_T4 = (draw_labelled(name, bars, draws) for bars in (TRAIN_BARS, TEST_BARS))
    fitted, _ = fit_path(train_T4, rounds=1)
    true_T, train_true_T = regimes_of(path_T4), regimes_of(train_T4)
    named = {
        "filter": fitted.run(path_T4).argmax(axis=1),
        "hmmlearn": hmmlearn_names(train_T4, train_true_T, path_T4, seed),
        "jumpmodels": jump_names(train_T4, train_true_T, path_T4),
    }
    return {
        rival: float(scores.f1_by_class(row_T[BURN_BARS:], true_T[BURN_BARS:], len(REGIMES)).mean())
        for rival, row_T in named.items()
    }


def main(arguments: list[str] | None = None) -> int:
    """Print every table; 1 when a bar is broken."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.regime_bars",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", choices=("s8", "s9", "s12"), help="one of the tables")
    parser.add_argument("--seed", type=int, help="master seed; drawn and printed when left out")
    parser.add_argument("--seeds", type=int, default=10, help="markets for each world")
    parser.add_argument("--rival-seeds", type=int, default=4, help="markets for S12")
    parser.add_argument("--plant", choices=("shifted",), default="", help="a bug to be found")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    chosen = parser.parse_args(arguments)
    seed = secrets.randbelow(2**31) if chosen.seed is None else chosen.seed
    print(f"master seed {seed}, {chosen.seeds} markets a world, {TEST_BARS:,} bars each")
    bars, table = tomllib.loads(BARS_FILE.read_text()), BarTable()
    with ProcessPoolExecutor(chosen.workers, get_context("spawn")) as pool:
        seeds = [seed + number for number in range(chosen.seeds)]
        if chosen.only in (None, "s8"):
            for name in MATCHED:
                rows = list(pool.map(judge_world, [name] * len(seeds), seeds, [chosen.plant] * 999))
                _print_matched(name, rows, bars, table)
        if chosen.only in (None, "s9"):
            name = "misspecified"
            rows = list(pool.map(judge_world, [name] * len(seeds), seeds, [chosen.plant] * 999))
            _print_misspecified(rows, bars, table)
        if chosen.only in (None, "s12"):
            _print_rivals(pool, seed, chosen.rival_seeds, bars, table)
    return table.end()


def _column(rows: Rows, name: str) -> Floats:
    return np.array([row[name] for row in rows])


def _print_matched(name: str, rows: Rows, bars: Limits, table: BarTable) -> None:
    limits, reports, onsets = bars["s8_matched"], bars["s10_report"], bars["s11_crisis"]
    print(f"{name}: Bayes ceiling F1 {_column(rows, 'bayes_f1').mean():.4f}")
    ratio_n = _column(rows, "f1") / _column(rows, "bayes_f1")
    gap_n = _column(rows, "loss") - _column(rows, "bayes_loss")
    table.mean("S8 macro-F1 over the ceiling", ratio_n, limits["f1_ratio_min"], 0.98, up=True)
    table.mean("S8 log loss above the ceiling, nats", gap_n, limits["loss_gap_max"], None, up=False)
    table.mean("S8 calibration error", _column(rows, "ece"), limits["ece_max"], None, up=False)
    ratio_n = _column(rows, "switch_ratio")
    table.mean("S10 switches per true switch", ratio_n, reports["switches_max"], None, up=False)
    table.mean("S10 switches per true switch", ratio_n, reports["switches_min"], None, up=True)
    later_n = _column(rows, "reported_delay") - _column(rows, "bayes_delay")
    table.mean("S10 delay over Bayes, bars", later_n, reports["delay_max_bars"], None, up=False)
    _print_onsets(rows, onsets, table)


def _print_misspecified(rows: Rows, bars: Limits, table: BarTable) -> None:
    limits = bars["s9_misspecified"]
    print("misspecified")
    table.mean("S9 accuracy", _column(rows, "accuracy"), limits["accuracy_min"], 0.60, up=True)
    table.mean("S9 macro-F1", _column(rows, "f1"), limits["f1_min"], 0.48, up=True)
    table.mean("S9 calibration error", _column(rows, "ece"), limits["ece_max"], 0.04, up=False)
    volatility_n = _column(rows, "volatility_f1")
    table.mean("S9 F1 of three volatilities", volatility_n, limits["volatility_min"], None, up=True)
    switches = _column(rows, "switch_ratio").mean()
    print(f"  {'S10 switches per true switch (no bar here)':<46} {switches:8.4f}")
    _print_onsets(rows, bars["s11_crisis"], table)


def _print_onsets(rows: Rows, limits: Mapping[str, float], table: BarTable) -> None:
    onset_n = np.array([row[name] for row in rows for name in row if name.startswith("onset_")])
    seen = len(onset_n) / max(1.0, _column(rows, "crises").sum())
    table.judge(
        f"S11 median bars to a crisis ({seen:.0%} of {_column(rows, 'crises').sum():.0f} seen)",
        median_interval(onset_n),
        limits["delay_max_bars"],
        2.0,
        up=False,
    )
    alarms_n = _column(rows, "false_alarms")
    table.mean("S11 false alarms in 30 days", alarms_n, limits["false_alarms_max"], None, up=False)


def _print_rivals(
    pool: ProcessPoolExecutor, seed: int, count: int, bars: Limits, table: BarTable
) -> None:
    try:
        import hmmlearn  # noqa: F401 - an extra
        import jumpmodels  # noqa: F401 - an extra
    except ImportError:
        print("S12 left out: pip install -c constraints.txt -e '.[oracle]' first")
        return
    for name in ("realistic", "misspecified"):
        seeds = [seed + 1_000 + number for number in range(count)]
        rows = list(pool.map(judge_rivals, [name] * count, seeds))
        print(f"S12 {name}: macro-F1 of the filter {_column(rows, 'filter').mean():.4f}")
        for rival in ("hmmlearn", "jumpmodels"):
            gap_n = _column(rows, "filter") - _column(rows, rival)
            table.mean(f"S12 ahead of {rival}", gap_n, bars["s12_rivals"]["gap_min"], None, up=True)


if __name__ == "__main__":
    sys.exit(main())
