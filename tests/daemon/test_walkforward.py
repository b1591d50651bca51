"""``metaensemble walkforward``: folds are trained, judged, joined, and made once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from daemon import walk_tasks
from daemon.cli import main
from daemon.residual_training import read_log
from daemon.walk_words import BEGIN, END, write_block
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
    made = walk_tasks.judge_piece
    calls: list[str] = []

    def interrupted(task: walk_tasks.Judging) -> None:
        if calls:
            raise KeyboardInterrupt
        calls.append(task.folder.name)
        made(task)

    monkeypatch.setattr(walk_tasks, "judge_piece", interrupted)
    assert main(words) == 130
    assert "goes on in" in capsys.readouterr().err
    calls.clear()
    assert main(words) == 0
    assert calls == ["fold-2"]
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
    assert answer["judged"] == answer["spreads"] == []
    joined = answer["joined"]
    assert joined["rows"][0]["metrics"]["bars"] == first["bars"] + second["bars"]
    assert "not distinguishable" in joined["headline"]
    kinds = [trial.kind for trial in read_trials(out / "trials.jsonl")]
    assert kinds == ["train", "train", "evaluate", "evaluate"]
    assert joined["trials"] == 4
    counted = [
        json.loads((out / f"fold-{fold}" / "report.json").read_text())["certainty"]["trials"]
        for fold in (1, 2)
    ]
    assert counted == [4, 4]  # interrupted or not, and whoever comes first
    assert main([*words[:-1], "--json"]) == 0
    assert calls == ["fold-2"]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--folds", "0"), "0 folds"),
        (("--seeds", "0"), "0 seeds"),
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


def test_bundles_of_all_bars_are_judged_on_other_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bundle a seed, made once; results stand between a text's marks, all else is left."""
    taught = write_drawn_bars(tmp_path / "taught.parquet", bars=1_400)
    judge = write_drawn_bars(tmp_path / "other.parquet", bars=2_400)
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    words = ["walkforward", "--data", str(taught), "--out", str(tmp_path / "walk")]
    words += ["--folds", "0", "--judge", str(judge), "--seeds", "2", "--effort", "0.001"]
    words += ["--readme", str(readme)]
    assert main([*words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["joined"] is None
    assert [row["training_seed"] for row in answer["judged"]] == [7, 8]
    (spread,) = answer["spreads"]
    assert spread["bars_file"] == "other.parquet"
    assert len(spread["sharpes"]) == 2
    text = readme.read_text()
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert "| other.parquet, " in text
    assert "2 training seeds on other.parquet" in text

    def refuse(*_: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(walk_tasks, "train_bundle", refuse)
    monkeypatch.setattr(walk_tasks, "evaluate", refuse)
    assert main(words) == 0
    assert "not distinguishable" in capsys.readouterr().out


def comparable(out: Path) -> dict[str, Any]:
    """Return what a walk found, without when it was made and how long it took."""
    answer = json.loads((out / "walkforward.json").read_text())
    del answer["made"]["created"]
    reports = []
    for path in sorted(out.glob("*/report.json")):
        report = json.loads(path.read_text())
        del report["created"], report["took_s"], report["bundle"], report["bundle_sha256"]
        reports.append(report)
    for row in (*answer["folds"], *answer["judged"]):
        del row["bundle_sha256"]  # a manifest says when it was made
    return {"answer": answer, "reports": reports}


@pytest.mark.parametrize("more", [("--jobs", "2"), ("--ray", "--jobs", "2")])
def test_side_by_side_gives_the_same(
    tmp_path: Path, more: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fold and a judged file, one by one and two at a time: every figure is equal."""
    monkeypatch.undo()  # other processes resample as often as they do in earnest
    if "--ray" in more:
        pytest.importorskip("ray", reason="ray is not installed (extra ray)")
    bars_path = write_drawn_bars(tmp_path / "bars.parquet", bars=2_600)
    judge = write_drawn_bars(tmp_path / "other.parquet", bars=3_200)
    words = ["walkforward", "--data", str(bars_path), "--folds", "1", "--effort", "0.001"]
    words += ["--first", "0.7", "--judge", str(judge), "--json"]
    assert main([*words, "--out", str(tmp_path / "one")]) == 0
    assert main([*words, "--out", str(tmp_path / "two"), *more]) == 0
    assert comparable(tmp_path / "one") == comparable(tmp_path / "two")
    trials = [read_trials(tmp_path / name / "trials.jsonl") for name in ("one", "two")]
    assert [trial.kind for trial in trials[1]] == ["train"] * 2 + ["evaluate"] * 2
    found = [{(trial.kind, trial.sharpe, trial.bars) for trial in part} for part in trials]
    assert found[0] == found[1]


def test_a_text_without_marks_is_refused(tmp_path: Path) -> None:
    """Nothing is written over what nobody marked."""
    path = tmp_path / "README.md"
    path.write_text("no marks")
    with pytest.raises(ValueError, match="has no lines"):
        write_block(path, {})
    assert path.read_text() == "no marks"
