"""Sealed bars judge once; whoever looks again has it said in every later report."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from daemon.cli import main
from daemon.seals import SealBrokenError, break_seal, seal_lines
from strategy.bundle import UNTRAINED_BUNDLE_PATH
from strategy.evaluation import contests
from strategy.evaluation.trials import SEALED, read_trials
from tests.daemon.test_backtesting import write_drawn_bars


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the earlier and the later bars of one market, in two files."""
    folder = tmp_path_factory.mktemp("sealed")
    whole = pyarrow.parquet.read_table(write_drawn_bars(folder / "all.parquet", bars=800))
    first, last = folder / "known.parquet", folder / "sealed.parquet"
    pyarrow.parquet.write_table(whole.slice(0, 500), first)
    pyarrow.parquet.write_table(whole.slice(500), last)
    return first, last


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resample a hundred times: these tests ask whether it is done, not how exactly."""
    monkeypatch.setattr(contests, "REPETITIONS", 100)


def words(known: Path, sealed: Path, folder: Path, *more: str) -> list[str]:
    given = [str(UNTRAINED_BUNDLE_PATH), "--data", str(known), "--seal", str(sealed)]
    where = ["--ledger", str(folder / "trials.jsonl"), "--out", str(folder / "out")]
    return ["evaluate", *given, *where, *more]


def test_sealed_bars_judge_once(
    tmp_path: Path, parts: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The first look is on record with its result; the second needs --again and is told."""
    known, sealed = parts
    assert main(words(known, sealed, tmp_path, "--json")) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["bars"]["test"] == 300  # decisions at the closes of bar 500 to 799
    (line,) = answer["seal"]
    assert line.startswith("sealed.parquet")
    assert "was opened once" in line
    assert "not distinguishable" in line
    assert main(words(known, sealed, tmp_path)) == 2
    assert "no longer sealed" in capsys.readouterr().err
    assert [trial.kind for trial in read_trials(tmp_path / "trials.jsonl")] == [SEALED, "evaluate"]
    assert main(words(known, sealed, tmp_path, "--again", "--json")) == 0
    again = json.loads(capsys.readouterr().out)
    assert "was opened 2 times, so no longer unseen" in again["seal"][0]
    assert again["certainty"]["trials"] == 2


def test_a_seal_is_not_spent_on_a_mistake(
    tmp_path: Path, parts: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Bars that cannot be read or a bundle that is none: the sealed file stays closed."""
    known, sealed = parts
    nowhere = tmp_path / "nowhere.parquet"
    assert main(words(nowhere, sealed, tmp_path)) == 2
    assert main(words(known, sealed, tmp_path, "--test-from", "2020-10-01")) == 2
    assert main(words(known, nowhere, tmp_path)) == 2
    assert main(words(sealed, known, tmp_path)) == 2
    errors = capsys.readouterr().err.splitlines()
    assert "no such file" in errors[0]
    assert "exclude each other" in errors[1]
    assert "nowhere.parquet" in errors[2]
    assert "do not follow the others" in errors[3]
    assert not list(tmp_path.iterdir())


def test_every_opening_is_told(tmp_path: Path) -> None:
    """Two files, one opened twice: two sentences."""
    ledger = tmp_path / "trials.jsonl"
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for place, path in enumerate(files):
        path.write_bytes(bytes([place]))
        break_seal(ledger, path, now_ns=10**18, commit="", again=False)
    with pytest.raises(SealBrokenError, match="opened on 2001-09-09 01:46"):
        break_seal(ledger, files[0], now_ns=10**18, commit="", again=False)
    break_seal(ledger, files[0], now_ns=2 * 10**18, commit="", again=True)
    first, second = seal_lines(read_trials(ledger))
    assert "2 times" in first
    assert "2033-05-18 03:33" in first
    assert second.startswith("b.parquet")
    assert "once" in second
