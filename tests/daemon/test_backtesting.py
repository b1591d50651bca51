"""``metaensemble backtest`` from a bundle and a file to figures, or to one line of refusal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from config.settings import Settings
from daemon.cli import main
from daemon.evaluation_inputs import size_rule
from strategy.bundle import UNTRAINED_BUNDLE_PATH
from strategy.evaluation.trials import read_trials
from tests.strategy.learning.test_training import bars_of


def write_drawn_bars(path: Path, seed: int = 3, bars: int = 1_500) -> Path:
    """Write a file of drawn hourly bars."""
    open_ns_T, prices_T4, volume_T = bars_of(seed, bars)
    columns = {"ts": open_ns_T // 1_000_000, "volume": volume_T}
    columns |= dict(zip(("open", "high", "low", "close"), prices_T4.T, strict=True))
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


@pytest.fixture(scope="module")
def bars_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one file for all."""
    return write_drawn_bars(tmp_path_factory.mktemp("bars") / "bars.parquet")


def words(bars_path: Path, ledger: Path, *more: str) -> list[str]:
    bundle, ledger_text = str(UNTRAINED_BUNDLE_PATH), str(ledger)
    return ["backtest", bundle, "--data", str(bars_path), "--ledger", ledger_text, *more]


def test_a_back_test_is_told_and_counted(
    tmp_path: Path, bars_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Figures with an interval, arrays of every bar, and a line in the ledger of trials."""
    ledger, out = tmp_path / "trials.jsonl", tmp_path / "bars.npz"
    assert main(words(bars_path, ledger, "--json", "--out", str(out))) == 0
    answer = json.loads(capsys.readouterr().out)
    with np.load(out) as arrays:
        assert arrays["equity"][-1] - 1.0 == pytest.approx(answer["metrics"]["total_return"])
        np.testing.assert_allclose(arrays["net"], arrays["gross"] - arrays["cost"], atol=1e-15)
        assert arrays["weights"].shape == (answer["metrics"]["bars"], len(answer["weights_mean"]))
        np.testing.assert_allclose(arrays["weights"].sum(axis=1), 1.0, atol=1e-9)
    assert answer["sharpe"]["low"] < answer["sharpe"]["estimate"] < answer["sharpe"]["high"]
    assert sum(answer["regime_share"].values()) == pytest.approx(1.0)
    (trial,) = read_trials(ledger)
    assert (trial.kind, trial.bars_sha256) == ("backtest", answer["bars_sha256"])
    assert main(words(bars_path, ledger, "--fee-bps", "50", "--to", "2020-11-01")) == 0
    assert "annual Sharpe -" in capsys.readouterr().out
    assert len(read_trials(ledger)) == 2


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (("--fee-bps", "-1"), "fee_frac"),
        (("--delay", "-1"), "--delay"),
        (("--bar", "90m"), "cannot be made of"),
        (("--bar", "12h"), "too long for the guarantee"),
        (("--from", "2031-01-01"), "fewer than two bars"),
    ],
)
def test_what_cannot_be_played_is_refused(
    tmp_path: Path,
    bars_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    reason: str,
) -> None:
    """One line with the reason, exit 2, and nothing in the ledger."""
    ledger = tmp_path / "trials.jsonl"
    assert main(words(bars_path, ledger, *more)) == 2
    told = capsys.readouterr()
    assert reason in told.err
    assert told.err.count("\n") == 1
    assert not told.out
    assert not ledger.exists()


def test_broken_files_are_refused(
    tmp_path: Path, bars_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bundle that is none or was tampered with, bars that are none, a ledger that is none."""
    broken = Path(shutil.copytree(UNTRAINED_BUNDLE_PATH, tmp_path / "broken"))
    (broken / "golden.npz").write_bytes(b"nothing")
    rest = ["--ledger", str(tmp_path / "t.jsonl")]
    nowhere = str(tmp_path / "nowhere")
    default = str(UNTRAINED_BUNDLE_PATH)
    for bundle, data, reason in (
        (str(broken), str(bars_path), "golden.npz has 7 bytes"),
        (nowhere, str(bars_path), "not a readable directory"),
        (default, nowhere, "no such file"),
        (default, str(broken / "golden.npz"), "cannot be read as parquet"),
    ):
        assert main(["backtest", bundle, "--data", data, *rest]) == 2
        assert reason in capsys.readouterr().err


def test_size_is_the_daemons() -> None:
    """The base share of a small account; the notional limit of a large one."""
    settings = Settings()
    assert size_rule(settings, 10_000.0).share_max == pytest.approx(settings.sizing.position_frac)
    large = size_rule(settings, 1e9).share_max * 1e9
    assert large <= settings.limits.position_notional_quote_max
