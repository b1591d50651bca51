"""The ledger of trials: nothing is lost, nothing damaged is taken, a second look is seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from strategy.evaluation.trials import (
    SEALED,
    LedgerError,
    Trial,
    append_trial,
    read_trials,
    seal_openings,
    sharpe_variance,
)

ONE = Trial(
    kind="evaluate",
    created_ns=1_700_000_000_000_000_000,
    config_sha256="c" * 64,
    bars_sha256="d" * 64,
    commit="abc",
    seed=7,
    sharpe=1.0,
    bars=100,
)


def test_trials_come_back(tmp_path: Path) -> None:
    """What was appended is read, in order; without a file there were none."""
    ledger = tmp_path / "state" / "trials.jsonl"
    assert read_trials(ledger) == ()
    written = (ONE, replace(ONE, sharpe=None), replace(ONE, sharpe=3.0))
    for trial in written:
        append_trial(ledger, trial)
    assert read_trials(ledger) == written
    assert sharpe_variance(written, 4.0) == pytest.approx(2.0 / 4.0)
    assert sharpe_variance(written[:2], 4.0) is None


@pytest.mark.parametrize("damage", ["{", '{"kind": 1}', "[]", '{"kind": "x"}'])
def test_damaged_line_is_named(tmp_path: Path, damage: str) -> None:
    """A count with a hole is no count: the line is named instead of skipped."""
    ledger = tmp_path / "trials.jsonl"
    append_trial(ledger, ONE)
    with ledger.open("a") as file:
        file.write(damage + "\n")
    with pytest.raises(LedgerError, match=r"trials\.jsonl:2"):
        read_trials(ledger)


def test_second_look_at_sealed_bars_is_seen(tmp_path: Path) -> None:
    """An opening is found again by the hash of the data, and only by that."""
    ledger = tmp_path / "trials.jsonl"
    append_trial(ledger, replace(ONE, kind=SEALED))
    append_trial(ledger, ONE)
    assert len(seal_openings(ledger, "d" * 64)) == 1
    assert seal_openings(ledger, "e" * 64) == ()
