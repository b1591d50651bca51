"""``metaensemble train`` from a file to a bundle: refused, interrupted, continued, written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from daemon import train
from daemon.cli import main
from daemon.clock import ManualClock
from daemon.model_loading import load_model
from kernels.features import DEFAULT_FEATURE_NAMES
from strategy.bundle import load
from strategy.evaluation.trials import TRIALS_FILE, read_trials
from strategy.learning import training
from tests.strategy.learning.test_training import bars_of


@pytest.fixture
def bars_path(tmp_path: Path) -> Path:
    """Return a file of drawn hourly bars."""
    open_ns_T, prices_T4, volume_T = bars_of(seed=3)
    columns = {"ts": open_ns_T // 1_000_000, "volume": volume_T}
    columns |= dict(zip(("open", "high", "low", "close"), prices_T4.T, strict=True))
    path = tmp_path / "bars.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def words(bars_path: Path, out: Path, *more: str) -> list[str]:
    """Return a command that is done in seconds."""
    return ["train", "--data", str(bars_path), "--out", str(out), "--effort", "0.002", *more]


def test_bars_become_a_bundle_that_decides(
    tmp_path: Path, bars_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answer names data and seed, the ledger has a line, and the daemon loads the bundle."""
    out = tmp_path / "models" / "tried"
    out.parent.mkdir()
    assert main(words(bars_path, out, "--json", "--seed", "3")) == 0
    answer = json.loads(capsys.readouterr().out)
    bundle = load(out, DEFAULT_FEATURE_NAMES, now_ns=ManualClock(2 * 10**18).now_ns() // 2)
    assert answer["sha256"] == bundle.sha256
    assert bundle.manifest.provenance["data_sha256"] == answer["data_sha256"]
    assert bundle.manifest.seed == 3
    assert 0.0 < answer["strange_frac_unseen"] < 0.1
    assert 0.0 <= answer["strange_frac_later"] <= 1.0
    (trial,) = read_trials(out.parent / TRIALS_FILE)
    assert trial.kind == "train"
    assert trial.details["sha256"] == bundle.sha256
    assert set(trial.details["validation"]) == set(bundle.agents)
    assert trial.sharpe is not None
    assert int(bundle.manifest.provenance["last_ns"]) > trial.seed
    from config.settings import Settings

    settings = Settings().model_copy(
        update={"model": Settings().model.model_copy(update={"bundle": str(out)})}
    )
    model, _ = load_model(settings, ManualClock(10**18))
    assert model.forecast is not None
    assert model.forecast.weight_F.shape == (len(DEFAULT_FEATURE_NAMES),)


def test_a_drawn_market_becomes_a_bundle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Provenance names market, seed and bars; another market is other data."""
    command = ["train", "--market", "trending", "--market-bars", "1000", "--effort", "0.001"]
    out = tmp_path / "drawn"
    assert main([*command, "--out", str(out), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    bundle = load(out, DEFAULT_FEATURE_NAMES, now_ns=1)
    assert answer["bars"] == 1_000
    assert bundle.manifest.provenance["data"] == "the synthetic market trending, seed 1"
    assert bundle.manifest.status == "trained on 1000 bars of the synthetic market trending, seed 1"
    assert bundle.manifest.observation.bar_interval_ms == 1_000
    assert main([*command, "--market-seed", "2", "--out", str(tmp_path / "b"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data_sha256"] != answer["data_sha256"]


def test_a_span_belongs_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A market has no dates; asking for some is refused, not ignored."""
    command = ["train", "--market", "calm", "--from", "2021-01-01", "--out", str(tmp_path / "f")]
    assert main(command) == 2
    assert "--from and --to belong to --data" in capsys.readouterr().err


def test_an_interrupted_training_goes_on(
    tmp_path: Path,
    bars_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C leaves 130 and a checkpoint; the same command then ends as if nothing had been."""
    calls = iter(range(1_000))
    judge = training.judge

    def interrupt(*arguments: object) -> object:
        if next(calls) == 1:  # the second agent is trained, and not yet judged
            raise KeyboardInterrupt
        return judge(*arguments)  # type: ignore[arg-type]  # the arguments are passed through

    monkeypatch.setattr(train, "judge", interrupt)
    assert main(words(bars_path, tmp_path / "a")) == 130
    assert "goes on from" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
    folder = tmp_path / train.CHECKPOINT_FOLDER / "a"
    assert sorted(path.stem for path in folder.glob("*.json")) == ["d3qn", "double_dqn"]
    assert main(words(bars_path, tmp_path / "a", "--json")) == 0
    first = json.loads(capsys.readouterr().out)
    assert main(words(bars_path, tmp_path / "b", "--json")) == 0
    second = json.loads(capsys.readouterr().out)
    assert first["validation"] == second["validation"]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--bar", "90m"), "no multiple"),
        (("--from", "2030-01-01"), "fewer than two bars"),
        (("--fee-bps", "-1"), "fee_frac"),
        (("--half-spread-bps", "-1"), "half_spread_frac"),
        (("--half-ticks", "101"), "half_ticks"),
        (("--bar", "7d"), "features need"),
    ],
)
def test_what_cannot_be_used_is_refused(
    tmp_path: Path,
    bars_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    reason: str,
) -> None:
    """One line, exit 2, and no bundle."""
    assert main(words(bars_path, tmp_path / "c", *more)) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "c").exists()


def test_a_file_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its name and the reason in one line."""
    assert main(words(tmp_path / "none.parquet", tmp_path / "d")) == 2
    assert "none.parquet: no such file" in capsys.readouterr().err


def test_missing_bars_are_no_bars(tmp_path: Path, bars_path: Path) -> None:
    """Hours made into four: the history has a quarter of the rows."""
    options = train.TrainOptions(
        bars_path=bars_path,
        out=tmp_path / "e",
        bar_ns=4 * 3_600 * 10**9,
        from_ns=0,
        to_ns=2**63 - 1,
        half_spread_frac=1e-4,
        expires_days=0,
        plan=training.TrainingPlan(),
        as_json=False,
    )
    history = train.read_history(options)
    assert history.interval_ns == 4 * 3_600 * 10**9
    assert np.isfinite(history.features_TF).all()
    assert len(history) < 2_500 // 4
