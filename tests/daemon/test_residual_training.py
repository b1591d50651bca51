"""``metaensemble predictor``: a walk's shadow log becomes a candidate that is heard."""

from __future__ import annotations

import json
from multiprocessing.context import SpawnContext
from pathlib import Path

import numpy as np
import pytest

from config.settings import MetaLearningSettings
from daemon import residual_training
from daemon.cli import main
from daemon.clock import ManualClock
from daemon.model_loading import load_model
from daemon.residual_training import LOG_FILE, ResidualOptions, make_candidate
from kernels.events import AGENTS, REGIMES
from strategy.bundle import UNTRAINED_BUNDLE_PATH, read_files
from strategy.controllers import CONTROLLER_NAMES
from strategy.meta_learner import MetaLearner
from strategy.residual_model import ResidualModel

NAMES = (*AGENTS, *CONTROLLER_NAMES)
HOUR_NS = 3_600 * 10**9
META = MetaLearningSettings(
    performance_prediction_window=10, agent_history_features=3, meta_epochs=8, meta_batch_size=128
)


def write_fold(walk: Path, number: int, edge: float, bar_ns: int = HOUR_NS) -> None:
    """Write a fold's log in which the first two regimes foretell the first agent's returns."""
    draws, bars = np.random.default_rng(number), 900
    state_T = np.repeat(draws.integers(0, 2, bars // 50), 50)
    posterior_TK = np.full((bars, len(REGIMES)), 0.1)
    posterior_TK[np.arange(bars), state_T] = 0.4
    return_TN = draws.standard_normal((bars, len(NAMES)))
    return_TN[1:, 0] += edge * (1.0 - 2.0 * state_T[:-1])
    (walk / f"fold-{number}").mkdir(parents=True)
    np.savez_compressed(
        walk / f"fold-{number}" / LOG_FILE,
        names=np.array(NAMES),
        bar_ns=np.array(bar_ns),
        posterior_TK=posterior_TK,
        return_TN=return_TN,
        belief_TN=np.zeros_like(return_TN),
    )


def options_of(walk: Path, out: Path) -> ResidualOptions:
    return ResidualOptions(
        walk=walk, bundle=UNTRAINED_BUNDLE_PATH, out=out, meta=META, seed=3, as_json=True
    )


def test_a_walk_becomes_a_candidate_that_the_daemon_hears(tmp_path: Path) -> None:
    """Networks stay byte for byte, the manifest says what was learned, and scores move with it."""
    for number in (1, 2):
        write_fold(tmp_path / "walk", number, edge=0.8)
    out = tmp_path / "candidate"
    answer = make_candidate(options_of(tmp_path / "walk", out))
    assert answer["folds"] == 2
    assert answer["bars"] == 1_800
    assert answer["slope"] > 0.3
    old, new = read_files(UNTRAINED_BUNDLE_PATH), read_files(out)
    assert old["ensemble.pt"] == new["ensemble.pt"]
    assert old["golden.npz"] == new["golden.npz"]
    from config.settings import Settings

    settings = Settings().model_copy(
        update={"model": Settings().model.model_copy(update={"bundle": str(out)})}
    )
    model, bundle = load_model(settings, ManualClock(10**18))
    assert bundle.sha256 == answer["sha256"]
    assert json.loads(bundle.manifest.provenance["residual"])["folds"] == 2
    learner = MetaLearner(
        model.agent_names, model.regime_filter, META, HOUR_NS, residual=model.residual
    )
    assert learner.residual is not None
    said = []
    for regime in range(2):
        posterior_K = np.full(len(REGIMES), 0.1)
        posterior_K[regime] = 0.4
        learner.residual.foretell(posterior_K)
        said.append(learner.residual.score_A[0])
    assert said[0] - said[1] > 3.0


def test_the_fit_runs_in_a_child_and_the_command_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the child made is told as JSON; it has no number of this process's."""
    made: list[object] = []

    class Child:
        """Stands in for the pool: it says that the work left this process."""

        def __init__(self, workers: int, context: SpawnContext) -> None:
            made.append((workers, context.get_start_method()))

        def __enter__(self) -> Child:
            return self

        def __exit__(self, *rest: object) -> None:
            pass

        def submit(self, function: object, options: ResidualOptions) -> Child:
            made.append(function)
            return self

        def result(self) -> dict[str, object]:
            return {"bundle": "x", "sha256": "y", "folds": 1, "bars": 9, "slope": 0.0}

    monkeypatch.setattr(residual_training, "ProcessPoolExecutor", Child)
    words = ["predictor", str(UNTRAINED_BUNDLE_PATH), "--walk", str(tmp_path), "--json"]
    assert main([*words, "--out", str(tmp_path / "new")]) == 0
    assert json.loads(capsys.readouterr().out)["bars"] == 9
    assert made == [(1, "spawn"), make_candidate]


def test_what_cannot_be_learned_from_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No log, a log of other bars, and the bundle itself as the place to write."""
    walk, out = tmp_path / "walk", tmp_path / "new"
    walk.mkdir()
    with pytest.raises(ValueError, match="no fold has"):
        make_candidate(options_of(walk, out))
    write_fold(walk, 1, 0.0)
    write_fold(walk, 2, 0.0, bar_ns=60 * 10**9)
    with pytest.raises(ValueError, match="folds of bars of"):
        make_candidate(options_of(walk, out))
    assert not out.exists()
    words = ["predictor", str(UNTRAINED_BUNDLE_PATH), "--walk", str(walk)]
    assert main([*words, "--out", str(UNTRAINED_BUNDLE_PATH)]) == 2
    assert "a folder of its own" in capsys.readouterr().err


def test_network_of_other_experts_is_refused() -> None:
    """A learner does not take a network made for fewer agents."""
    model = ResidualModel(
        into_MHF=np.zeros((1, 2, 3 + len(REGIMES) + 1)),
        code_MNH=np.zeros((1, 4, 2)),
        out_MH=np.zeros((1, 2)),
        bias_M=np.zeros(1),
        half_life_H=np.array([2.0, 4.0, 8.0]),
        window_bars=10,
        slope=0.5,
        oof_correlation=0.0,
    )
    with pytest.raises(ValueError, match="residual of 4 experts"):
        model.check(len(NAMES), len(REGIMES))
