"""``MetaLearningEvaluator`` as the specification documents it; martingale worlds at night."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from daemon.evaluation import evaluate, prepare
from daemon.evaluator import META_LEARNING, PORTFOLIO, MetaLearningEvaluator
from kernels.features import DEFAULT_FEATURE_NAMES
from strategy.bundle import UNTRAINED_BUNDLE_PATH, BundleError, load
from strategy.evaluation import contests
from strategy.evaluation.assessment import claim_alone
from strategy.evaluation.backtest import Plan, decide, listen
from strategy.evaluation.comparison import EQUAL
from strategy.evaluation.drawn_bars import HOUR_NS, MARTINGALE, drawn_bars
from strategy.evaluation.streaming import differing_rows, stream
from strategy.evaluation.trials import read_trials
from strategy.learning.bar_history import history_of
from strategy.runtime import Runtime
from tests.benchmarks import evaluation_bars
from tests.benchmarks.evaluation_bars import WORLDS, run_worlds


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resample a hundred times: these tests ask whether it is done, not how exactly."""
    monkeypatch.setattr(contests, "REPETITIONS", 100)


def test_the_documented_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every documented figure is there, the files are written, the drawn world is named."""
    monkeypatch.chdir(tmp_path)
    evaluator = MetaLearningEvaluator(UNTRAINED_BUNDLE_PATH, {"seed": 5})
    results = evaluator.evaluate_comprehensive(
        num_episodes=4, max_steps_per_episode=50, save_results=True
    )
    assert set(results["portfolio_metrics"]) == set(PORTFOLIO)
    assert set(results["meta_learning_metrics"]) == set(META_LEARNING)
    assessed = results["detailed_analysis"]["performance_assessment"]
    assert assessed["grade"] in "ABCDF"
    assert 0.0 <= assessed["score"] <= 100.0
    assert assessed["headline"].startswith("The ensemble is not distinguishable")
    assert results["detailed_analysis"]["episodes"] == 4
    assert results["report"]["bars_file"] == "drawn world misspecified, seed 5"
    written = {path.name for path in (tmp_path / "evaluation_results").iterdir()}
    assert written == {"report.json", "report.html"}
    assert len(read_trials(tmp_path / "trials.jsonl")) == 1


def test_nothing_falls_back(tmp_path: Path) -> None:
    """Unknown keys, a bundle that is none and bars that are none raise."""
    with pytest.raises(ValueError, match="unknown key 'envs'"):
        MetaLearningEvaluator(UNTRAINED_BUNDLE_PATH, {"envs": 3})
    config = {"ledger": str(tmp_path / "trials.jsonl")}
    with pytest.raises(BundleError, match="not a readable directory"):
        MetaLearningEvaluator(tmp_path / "none", config).evaluate_comprehensive(2, 50, False)
    bad = MetaLearningEvaluator(UNTRAINED_BUNDLE_PATH, {**config, "data": str(tmp_path / "none")})
    with pytest.raises(ValueError, match="no such file"):
        bad.evaluate_comprehensive(2, 50, False)
    assert not list(tmp_path.iterdir())


def test_drawn_bars_are_bars() -> None:
    """High and low hold open and close, hours follow each other, a seed gives the same bars."""
    open_ns_T, prices_T4, volume_T = drawn_bars(MARTINGALE, 3_000, seed=4)
    opened, high, low, close = prices_T4.T
    assert (np.diff(open_ns_T) == HOUR_NS).all()
    assert (low > 0.0).all()
    assert (high >= np.maximum(opened, close)).all()
    assert (low <= np.minimum(opened, close)).all()
    assert (opened[1:] == close[:-1]).all()
    assert (volume_T > 0.0).all()
    for one, other in zip(drawn_bars(MARTINGALE, 3_000, seed=4)[1], prices_T4, strict=True):
        assert (one == other).all()
    return_T = close / opened - 1.0
    standard_error = return_T.std() / np.sqrt(len(return_T))
    assert abs(return_T.mean()) < 4.0 * standard_error


def test_the_claim_alone_is_that_of_the_report(tmp_path: Path) -> None:
    """Without the rest of the report the same is said, for the same reasons, figure by figure."""
    config = {"seed": 6, "ledger": str(tmp_path / "trials.jsonl")}
    evaluator = MetaLearningEvaluator(UNTRAINED_BUNDLE_PATH, config)
    world = prepare(evaluator.options(4, 50, None))
    claim = claim_alone(world.listening, world.opened.plan, world.inquiry, world.check)
    whole = evaluate(evaluator.options(4, 50, None)).assessment
    assert (claim.headline, claim.missing) == (whole.headline, whole.missing)
    assert (claim.certainty, claim.findings) == (whole.certainty, whole.findings)
    assert claim.equal == next(row for row in whole.standings if row.name == EQUAL)


@pytest.mark.nightly
@pytest.mark.timeout(7_200)
def test_martingale_worlds_are_rarely_called_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 200 worlds without any edge at most 5 % are called better; an interrupted run goes on."""
    monkeypatch.setattr(contests, "REPETITIONS", 1_000)
    assert run_worlds(WORLDS) == []


@pytest.mark.nightly
@pytest.mark.timeout(1_800)
def test_eager_claims_would_be_seen(tmp_path: Path) -> None:
    """Where an interval above 0 is all that a claim needs, too many worlds are called better."""
    (missed,) = run_worlds(20, plant="eager", keep=tmp_path / "worlds.jsonl")
    assert "are called better" in missed


def test_an_interrupted_run_of_worlds_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judged worlds are kept by seed, plant and code, and are not judged again."""
    judged: list[int] = []

    def judge(seed: int, plant: str) -> dict[str, object]:
        if len(judged) == 3:
            raise KeyboardInterrupt
        judged.append(seed)
        said = {"headline": "better than equal weight", "missing": [], "took_s": 1.0}
        return {"seed": seed, "is_better": plant == "eager", "is_clean": True, **said}

    monkeypatch.setattr(evaluation_bars, "judge", judge)
    keep = tmp_path / "worlds.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run_worlds(5, keep=keep)
    first = judged[0]
    judged.clear()
    assert run_worlds(5, keep=keep) == []
    assert judged == [first + 3, first + 4]
    judged.clear()
    assert run_worlds(2, plant="eager", keep=keep) == ["2 of 2 worlds are called better"]
    monkeypatch.setattr(evaluation_bars, "code_sha256", lambda: "changed")
    judged.clear()
    assert run_worlds(1, first, keep=keep) == []
    assert judged == [first]


@pytest.mark.nightly
@pytest.mark.timeout(7_200)
def test_a_hundred_thousand_decisions_are_those_of_live() -> None:
    """The back-test's weights and votes are those of the live classes, one decision at a time."""
    bundle = load(UNTRAINED_BUNDLE_PATH, DEFAULT_FEATURE_NAMES, now_ns=0)
    runtime = Runtime(bundle, form="compiled")
    opened_T, prices_T4, volume_T = drawn_bars("misspecified", 101_000, seed=11)
    history = history_of(
        opened_T,
        prices_T4,
        volume_T,
        interval_ns=HOUR_NS,
        feature_names=DEFAULT_FEATURE_NAMES,
        half_spread_frac=1e-4,
    )
    plan = Plan()
    followed = decide(listen(runtime, history), plan).followed
    cost_frac_T = plan.costs.trade_fracs(history.half_tick_T)
    streamed = stream(runtime, history, plan.meta, cost_frac_T, len(history))
    assert len(history) >= 100_000
    assert differing_rows(streamed, followed.weight_TN, followed.action_TN) == 0
