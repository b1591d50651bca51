"""``metaensemble walkforward``: folds are trained, judged, joined, and made once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daemon import walkforward
from daemon.cli import main
from daemon.residual_training import read_log
from kernels.events import AGENTS
from strategy.controllers import CONTROLLER_NAMES
from strategy.evaluation import contests
from strategy.evaluation.trials import read_trials
from tests.daemon.test_backtesting import write_drawn_bars


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resample a hundred times: these tests ask whether it is done, not how exactly."""
    monkeypatch.setattr(contests, "REPETITIONS", 100)


def test_a_walk_is_joined_and_goes_on_after_an_interrupt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test bar is one that the training saw; finished folds are not made again."""
    bars_path = write_drawn_bars(tmp_path / "bars.parquet", bars=2_600)
    out = tmp_path / "walk"
    words = ["walkforward", "--data", str(bars_path), "--out", str(out), "--folds", "2"]
    words += ["--effort", "0.001", "--first", "0.6", "--json"]
    made = walkforward._make
    calls: list[Path] = []

    def interrupted(options: walkforward.WalkOptions, folder: Path, *rest: object) -> None:
        if calls:
            raise KeyboardInterrupt
        calls.append(folder)
        made(options, folder, *rest)  # type: ignore[arg-type]  # the arguments are passed through

    monkeypatch.setattr(walkforward, "_make", interrupted)
    assert main(words) == 130
    assert "goes on in" in capsys.readouterr().err
    calls.clear()
    assert main(words) == 0
    assert [folder.name for folder in calls] == ["fold-2"]
    answer = json.loads(capsys.readouterr().out)
    first, second = answer["folds"]
    assert first["to_ns"] <= second["from_ns"]
    for place, fold in enumerate(answer["folds"]):
        manifest = json.loads((out / f"bundle-fold-{place + 1}" / "manifest.json").read_text())
        seen_ns = int(manifest["provenance"]["last_ns"])
        assert fold["from_ns"] - seen_ns == 201 * 3_600 * 10**9
        log, bar_ns = read_log(
            out / f"fold-{place + 1}" / "shadow.npz", (*AGENTS, *CONTROLLER_NAMES)
        )
        assert bar_ns == 3_600 * 10**9
        assert 400 < len(log.return_TN) <= 520  # the bars of its own piece, no other
    assert answer["rows"][0]["metrics"]["bars"] == first["bars"] + second["bars"]
    assert "not distinguishable" in answer["headline"]
    kinds = [trial.kind for trial in read_trials(out / "trials.jsonl")]
    assert kinds == ["train", "evaluate"] * 2
    assert answer["trials"] == 4
    assert main([*words[:-1], "--json"]) == 0
    assert [folder.name for folder in calls] == ["fold-2"]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--folds", "0"), "0 folds"),
        (("--first", "0.99"), "after 0.99 of the bars"),
        (("--from", "2031-01-01"), "fewer than two bars"),
    ],
)
def test_what_is_no_walk_is_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    reason: str,
) -> None:
    """One line, exit 2, nothing written."""
    bars_path = write_drawn_bars(tmp_path / "bars.parquet", bars=300)
    out = tmp_path / "walk"
    assert main(["walkforward", "--data", str(bars_path), "--out", str(out), *more]) == 2
    assert reason in capsys.readouterr().err
    assert not out.exists()
