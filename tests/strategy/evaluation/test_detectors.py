"""Every planted fault is found by a detector, and nothing is found where nothing is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from strategy.evaluation.backtest import Backtest, Plan, listen, trade
from strategy.evaluation.comparison import ensemble_path, stage_of
from strategy.evaluation.detectors import (
    RawBars,
    check_best,
    check_ledger,
    check_mixture,
    check_placebo,
    check_streaming,
    check_truncation,
)
from strategy.evaluation.rivals import Stage, agent_returns
from strategy.learning.bar_history import History
from strategy.runtime import Runtime
from tests.strategy.evaluation.test_backtest import history, history_with, runtime
from tests.strategy.learning.test_training import bars_of

__all__ = ["history", "runtime"]


@pytest.fixture(scope="module")
def run(runtime: Runtime, history: History) -> Backtest:
    """Trade once."""
    return trade(listen(runtime, history), Plan())


@pytest.fixture(scope="module")
def stage(run: Backtest) -> Stage:
    """Return its stage, the first 200 rows for training."""
    return stage_of(run, 200)


def test_leak_one_bar(runtime: Runtime) -> None:
    """Features of the next close are found out by deleting it."""
    open_ns_T, prices_T4, volume_T = bars_of(seed=9, bars=420)

    def peeking(hours_T: np.ndarray, of_T4: np.ndarray, lots_T: np.ndarray) -> History:
        made = history_with(hours_T, of_T4, lots_T)
        return replace(made, features_TF=np.roll(made.features_TF, -1, axis=0))

    honest = RawBars(
        open_ns_T=open_ns_T, prices_T4=prices_T4, volume_T=volume_T, build=history_with
    )
    warm = len(open_ns_T) - len(history_with(open_ns_T, prices_T4, volume_T))
    assert check_truncation(runtime, honest, Plan(), warm).is_clean
    found = check_truncation(runtime, replace(honest, build=peeking), Plan(), warm)
    assert not found.is_clean
    assert "changes when bars from" in found.said


def test_drop_the_cost(run: Backtest, history: History) -> None:
    """Returns from which no cost was taken off are called gross."""
    assert check_ledger(run, history.close_T).is_clean
    found = check_ledger(replace(run, net_T=run.gross_T), history.close_T)
    assert not found.is_clean
    assert "no cost was taken off" in found.said


def test_shift_the_labels(run: Backtest, history: History) -> None:
    """Returns of another bar than the one that follows do not add up."""
    return_T = np.roll(run.return_T, 1)
    gross_T = run.position_T * return_T
    shifted = replace(run, return_T=return_T, gross_T=gross_T, net_T=gross_T - run.cost_T)
    assert not check_ledger(shifted, history.close_T).is_clean


def test_clip_after_mixing(run: Backtest) -> None:
    """A mixture that cuts its own return instead of each agent's breaks the identity."""
    assert check_mixture(run).is_clean
    followed = run.followed
    gain_T = np.sum(followed.weight_TN[:-1] * followed.paid_TN[1:], axis=1)
    cut_T = np.where(followed.is_learned_T[1:], np.clip(gain_T, -0.5, 0.5), 0.0)
    wealth_T = np.concatenate(([0.0], np.cumsum(np.log1p(followed.kappa * cut_T))))
    found = check_mixture(replace(run, followed=replace(followed, log_wealth_T=wealth_T)))
    assert not found.is_clean


def test_label_a_random_agent_best(stage: Stage) -> None:
    """Only the agent of the highest Sharpe before the test may be called best."""
    own_TN = agent_returns(stage)[:200]
    best = stage.names[int(np.argmax(own_TN.mean(axis=0) / own_TN.std(axis=0)))]
    assert check_best((best,), stage).is_clean
    for name in set(stage.names) - {best}:
        assert not check_best((name,), stage).is_clean
    assert not check_best((), stage).is_clean


def test_decide_otherwise_than_live(runtime: Runtime, history: History, run: Backtest) -> None:
    """One weight that the live classes would not give is one differing decision."""
    assert check_streaming(runtime, history, run).is_clean
    weight_TN = run.followed.weight_TN.copy()
    weight_TN[33, :2] += (1e-6, -1e-6)
    other = replace(run, followed=replace(run.followed, weight_TN=weight_TN))
    found = check_streaming(runtime, history, other)
    assert not found.is_clean
    assert "1 differ" in found.said


def test_know_the_bar_that_is_held(run: Backtest, stage: Stage) -> None:
    """Timing that chance never reaches is taken for a leak."""
    own = ensemble_path(run, stage)
    assert check_placebo(own.position_T, stage, run.year_bars, seed=4).is_clean
    knowing_T = 0.1 * np.sign(stage.return_T[stage.training_bars :])
    found = check_placebo(knowing_T, stage, run.year_bars, seed=4)
    assert not found.is_clean
