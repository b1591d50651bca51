"""The latch: it survives, it fails closed, it can be written on a full disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import latch
from risk.breaker import Breaker, BreakerState, Trigger

NOW = 1_700_000_000_000_000_000
HALTED = Breaker().apply(Trigger.DRAWDOWN, NOW, "drawdown limit")


def test_fresh_directory_is_normal(tmp_path: Path) -> None:
    """Nothing was ever latched."""
    assert latch.read(tmp_path, NOW) == Breaker()


@pytest.mark.parametrize("state", list(BreakerState))
@pytest.mark.parametrize("trigger", [Trigger.DRAWDOWN, Trigger.OPERATOR_HALT])
def test_every_state_but_normal_comes_back(
    tmp_path: Path, state: BreakerState, trigger: Trigger
) -> None:
    """State, cause, time and words are those that were written."""
    breaker = Breaker(state=state, since_ns=7, trigger=trigger, reason="what happened: ÄÖ\n")
    latch.write(tmp_path, breaker, "daemon")
    found = latch.read(tmp_path, NOW)
    assert found == (Breaker() if state is BreakerState.NORMAL else breaker)
    assert (tmp_path / latch.FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == [latch.FILE_NAME]


@given(junk=st.binary(max_size=200))
def test_damage_halts(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    """A file that is no latch is no permission to trade."""
    directory = tmp_path_factory.mktemp("latch")
    (directory / latch.FILE_NAME).write_bytes(junk)
    found = latch.read(directory, NOW)
    assert found.state is BreakerState.HALTED
    assert found.trigger is Trigger.LATCH_ERROR


def test_truncated_latch_halts(tmp_path: Path) -> None:
    """Half a file is not believed."""
    latch.write(tmp_path, HALTED, "daemon")
    path = tmp_path / latch.FILE_NAME
    path.write_bytes(path.read_bytes()[:40])
    assert latch.read(tmp_path, NOW).trigger is Trigger.LATCH_ERROR


def test_is_rewritten_in_place_where_no_second_file_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk refuses the new file; the block that is already there takes the news."""
    latch.write(tmp_path, Breaker(), "daemon")

    def full(path: Path, block: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(latch, "_replace", full)
    latch.write(tmp_path, HALTED, "daemon")
    assert latch.read(tmp_path, NOW) == HALTED


def test_failure_is_said(tmp_path: Path) -> None:
    """Where nothing can be written the caller hears of it."""
    with pytest.raises(latch.LatchError):
        latch.write(tmp_path / "missing", HALTED, "daemon")


def test_long_reason_stays_in_the_block(tmp_path: Path) -> None:
    """No reason, however long, makes the file grow."""
    wordy = Breaker().apply(Trigger.OPERATOR_HALT, NOW, "€" * 10_000)
    latch.write(tmp_path, wordy, "daemon")
    assert (tmp_path / latch.FILE_NAME).stat().st_size == latch.FILE_BYTES
    assert latch.read(tmp_path, NOW).state is BreakerState.HALTED
