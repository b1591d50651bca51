"""A bench held against earlier ones: slower than noise is named, everything else passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.bench.bench_history import (
    EARLIER_MAX,
    HistoryError,
    keep,
    read_history,
    regressions,
)
from daemon.bench.stopwatch import EMPTY_CALL, EMPTY_KERNEL

MACHINE = {"processor": "any", "cores_total": 2, "python": "3.11"}


def report(cost_ns: float, floor_ns: float = 100.0, spread: float = 0.0) -> dict[str, Any]:
    """Build a run of one form whose rounds differ by a share of its cost."""
    rounds = [cost_ns * (1.0 + spread * step) for step in (-1, -0.5, 0, 0.5, 1)]
    timings = [
        {"name": EMPTY_CALL, "p50_ns": 80.0, "p50_by_round_ns": [80.0]},
        {"name": EMPTY_KERNEL, "p50_ns": floor_ns, "p50_by_round_ns": [floor_ns]},
        {"name": "form", "p50_ns": cost_ns, "p50_by_round_ns": rounds},
    ]
    return {
        "schema": 1,
        "machine": dict(MACHINE),
        "void": [],
        "stages": {"stage": {"timings": timings}},
    }


def test_a_slower_form_is_named_with_how_much() -> None:
    """A third more than before, without any noise, is a regression."""
    (found,) = regressions([report(1_000.0)], report(1_330.0))
    assert str(found) == "stage: form costs 1.33 times what it did (tolerated 1.15)"


@given(st.floats(0.2, 5.0), st.floats(0.2, 1.14))
def test_a_slower_machine_and_a_faster_form_pass(machine: float, form: float) -> None:
    """Everything twice as slow is no regression, and neither is a form that became cheaper."""
    new = report(1_000.0 * machine * form, floor_ns=100.0 * machine)
    assert regressions([report(1_000.0)], new) == []


def test_noise_excuses_what_it_explains() -> None:
    """Rounds that differ by half, or earlier runs that do, make a third more tolerable."""
    assert regressions([report(1_000.0, spread=0.5)], report(1_330.0)) == []
    assert regressions([report(900.0), report(1_000.0), report(1_300.0)], report(1_330.0)) == []
    assert regressions([report(1_000.0, spread=0.5)], report(3_000.0)) != []
    assert regressions([], report(1_330.0)) == []


def test_history_is_of_this_machine_and_the_newest(tmp_path: Path) -> None:
    """Void runs and those of other machines are left out; the newest few count."""
    assert read_history(tmp_path / "none", MACHINE) == []
    folder = tmp_path / "history"
    for stamp in range(EARLIER_MAX + 2):
        keep(folder, report(float(stamp + 1)), stamp)
    keep(folder, {**report(1.0), "void": ["load"]}, 90)
    keep(folder, {**report(1.0), "machine": {**MACHINE, "processor": "other"}}, 91)
    kept = read_history(folder, MACHINE)
    assert [each["stages"]["stage"]["timings"][2]["p50_ns"] for each in kept] == [3, 4, 5, 6, 7]


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 0}'])
def test_a_broken_history_is_named(tmp_path: Path, text: str) -> None:
    """A file that is no report is refused by its name, not skipped."""
    (tmp_path / "0.json").write_text(text)
    with pytest.raises(HistoryError, match=r"0\.json"):
        read_history(tmp_path, MACHINE)
    with pytest.raises(HistoryError, match=r"0\.json"):
        keep(tmp_path / "0.json" / "below", report(1.0), 1)
