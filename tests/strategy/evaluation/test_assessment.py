"""The whole judgement: complete, honest where there is nothing, silent where a detector speaks."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from config.settings import MetaLearningSettings
from kernels.events import REGIMES
from strategy.evaluation import contests
from strategy.evaluation.assessment import Assessment, Inquiry, assess
from strategy.evaluation.backtest import Listening, Plan, listen
from strategy.evaluation.comparison import ENSEMBLE, EQUAL
from strategy.evaluation.detectors import Finding
from strategy.evaluation.regime_table import regime_table, reported_labels
from strategy.evaluation.report_json import report_of
from strategy.evaluation.report_lines import report_lines
from strategy.evaluation.rivals import StageError
from strategy.evaluation.specification import PathFacts, adaptability, specified_metrics
from strategy.learning.bar_history import History
from strategy.runtime import Runtime
from tests.strategy.evaluation.test_backtest import history, runtime

__all__ = ["history", "runtime"]

INQUIRY = Inquiry(training_bars=150, seed=3, trials=4)
CLEAN = (Finding(name="planted", is_clean=True, said="nothing"),)


@pytest.fixture(scope="module", autouse=True)
def few_draws() -> Iterator[None]:
    """Resample a hundred times: these tests ask whether it is done, not how exactly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contests, "REPETITIONS", 100)
        yield


@pytest.fixture(scope="module")
def listening(runtime: Runtime, history: History) -> Listening:
    """Ask the bundle once."""
    return listen(runtime, history)


@pytest.fixture(scope="module")
def found(listening: Listening) -> Assessment:
    """Judge once."""
    return assess(listening, Plan(), INQUIRY, lambda _: CLEAN)


def test_everything_is_there_and_has_its_interval(found: Assessment) -> None:
    """Every rival, cost, delay, part left out and regime; no Sharpe without an interval."""
    report = report_of(found, {"bundle": "small", "bars_file": "drawn", "seal": ["opened"]})
    again = json.loads(json.dumps(report, allow_nan=False))
    names = [row["name"] for row in again["standings"]]
    assert names[0] == ENSEMBLE
    for name in (EQUAL, "cash", "buy and hold", "majority vote", "best in training", "OAMP"):
        assert name in names
    assert [row["is_tradable"] for row in again["standings"]].count(False) == 1
    assert [row["name"] for row in again["cost_sensitivity"]] == [
        f"costs x {factor}" for factor in ("0.5", "1", "2", "4")
    ]
    assert len(again["ablations"]) == 5 + len(REGIMES) + 3
    assert [row["name"] for row in again["regimes"]] == list(REGIMES)
    assert sum(again["regime_share"].values()) == pytest.approx(1.0)
    for row in again["standings"]:
        assert (row["sharpe"] is None) == (row["metrics"]["sharpe"] is None)
        if row["sharpe"] is not None:
            assert row["sharpe"]["estimate"] == pytest.approx(row["metrics"]["sharpe"], rel=1e-3)
    drawn, own = again["random"], again["standings"][0]["activity"]
    assert (drawn["draws"], drawn["low"] < drawn["median"] < drawn["high"]) == (1_000, True)
    assert 0.0 <= drawn["percentile_frac"] <= 1.0
    assert drawn["turnover_per_year"] == pytest.approx(own["turnover_per_year"], rel=0.15)
    assert again["certainty"]["trials"] == 4
    assert len(again["curves"]["ms"]) == len(again["curves"]["weights"]["cash"])
    assert "not distinguishable from equal weight" in again["headline"]
    lines = list(report_lines(again))
    assert lines[0] == again["headline"]
    assert any("DSR" in line and "4 trials" in line for line in lines)


def test_the_ensemble_pays_its_first_entry(found: Assessment) -> None:
    """Judged from flat: net is gross less costs, and what was held at the start was bought."""
    own = found.match.paths[0]
    np.testing.assert_allclose(own.net_T, own.gross_T - own.cost_T, atol=1e-15)
    fee = found.match.run.trade_frac_T[found.match.stage.training_bars]
    assert own.cost_T[0] == pytest.approx(fee * abs(own.position_T[0]))
    doubled = {row.name: row for row in found.costs}
    assert doubled["costs x 1"].change is not None
    assert doubled["costs x 1"].change.estimate == pytest.approx(0.0, abs=1e-9)


def test_a_fault_forbids_every_claim(listening: Listening) -> None:
    """Whatever the figures say, the headline names the detector that found something."""
    leak = Finding(name="truncation", is_clean=False, said="bar 7 knows bar 8")
    found = assess(listening, Plan(), INQUIRY, lambda _: (leak,))
    assert found.headline == "No claim: a detector found truncation: bar 7 knows bar 8."
    assert not found.is_clean
    assert found.missing[0] == "truncation: bar 7 knows bar 8"


def test_too_few_bars_are_refused(listening: Listening) -> None:
    """Without training bars nobody is best before the test."""
    with pytest.raises(StageError, match="training bars"):
        assess(listening, Plan(), Inquiry(training_bars=1, seed=3, trials=1), lambda _: CLEAN)


def test_regime_rows_count_episodes() -> None:
    """Below 30 episodes a regime is insufficient; above, its mean and interval are right."""
    generator = np.random.default_rng(2)
    label_T = np.repeat(np.arange(120) % 2, 10)
    net_T = np.where(label_T == 0, 2e-4, -1e-4) + generator.normal(0.0, 1e-4, len(label_T))
    label_T[:5] = 6
    rows = {row.name: row for row in regime_table(net_T, label_T, 8766.0, generator)}
    first, second, last = (rows[REGIMES[place]] for place in (0, 1, 6))
    assert (first.episodes, first.bars, first.verdict) == (60, 595, "")
    assert first.mean_bps is not None
    assert first.low_bps is not None
    assert first.low_bps < 2.0 < (first.high_bps or 0.0)
    assert second.sharpe is not None
    assert second.sharpe.high < 0.0
    assert (last.verdict, last.mean_bps, last.sharpe) == ("insufficient", None, None)


def test_labels_do_not_flicker() -> None:
    """A posterior below the threshold changes no name."""
    posterior_TK = np.full((40, len(REGIMES)), 0.05, np.float32)
    posterior_TK[:, 0] = 0.7
    posterior_TK[20:23] = 0.05
    posterior_TK[20:23, 1] = 0.7
    posterior_TK[30:, 0], posterior_TK[30:, 2] = 0.05, 0.9
    label_T = reported_labels(posterior_TK, MetaLearningSettings(regime_stability_threshold=0.8))
    assert set(label_T[:30].tolist()) == {0}
    assert label_T[-1] == 2


def test_the_specified_figures_on_paths_with_known_answers() -> None:
    """Two episodes, one won and one lost; holding nothing earns nothing."""
    net_T = np.concatenate((np.full(50, 0.001), np.full(50, -0.001)))
    net_T[::10] = 0.0
    facts = PathFacts(
        net_T=net_T,
        equal_net_T=np.zeros(100),
        confidence_T=np.full(100, 0.4),
        disagreement_T=np.full(100, 0.25),
        label_T=np.repeat([0, 1], 50),
        exposure_frac=0.2,
    )
    figures = specified_metrics(facts, 8766.0, episodes=2, bars_max=1_000)
    assert (figures.episodes, figures.episode_bars) == (2, 50)
    assert figures.success_rate == 0.5
    assert figures.mean_win_rate == pytest.approx(0.5)
    assert figures.mean_agreement_rate == pytest.approx(0.75)
    assert figures.mean_return == pytest.approx((1.001**45 + 0.999**45) / 2.0 - 1.0)
    assert figures.regime_adaptability == 0.0
    assert adaptability(net_T, net_T, facts.label_T) == 1.0
    assert adaptability(net_T, net_T, np.zeros(100, np.int64)) is None
    dead = PathFacts(
        net_T=np.zeros(100),
        equal_net_T=np.zeros(100),
        confidence_T=np.ones(100),
        disagreement_T=np.zeros(100),
        label_T=np.zeros(100, np.int64),
        exposure_frac=0.0,
    )
    assert specified_metrics(dead, 8766.0, episodes=5, bars_max=20).score == 0.0
    with pytest.raises(ValueError, match="0 episodes"):
        specified_metrics(dead, 8766.0, episodes=0, bars_max=20)
