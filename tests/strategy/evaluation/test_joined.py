"""Folds joined are one path: figures of the whole, and no claim where one of them has a fault."""

from __future__ import annotations

import numpy as np
import pytest

from strategy.evaluation import contests
from strategy.evaluation.comparison import ENSEMBLE, EQUAL
from strategy.evaluation.figures import sharpe
from strategy.evaluation.joined import Fold, join_folds
from strategy.evaluation.random_timing import RandomTiming

YEAR_BARS = 8_766.0


def drawn(bars: int, chance: np.random.Generator) -> RandomTiming:
    """Return random paths that earn nothing on average."""
    net_DT = chance.normal(0.0, 0.004, (200, bars))
    return RandomTiming(
        bars=bars,
        sum_D=net_DT.sum(axis=1),
        square_D=(net_DT**2).sum(axis=1),
        log_D=np.log1p(net_DT).sum(axis=1),
        turnover_D=np.full(200, 3.0),
    )


def folds(lead: float) -> list[Fold]:
    """Return three folds in which the ensemble leads by so much a bar."""
    generator = np.random.default_rng(6)
    made = []
    for bars in (900, 700, 800):
        equal_T = generator.normal(0.0, 0.004, bars)
        own_T = equal_T + lead + generator.normal(0.0, 0.001, bars)
        paths = {ENSEMBLE: own_T, EQUAL: equal_T, "cash": np.zeros(bars)}
        doubled_T2 = np.column_stack((own_T, equal_T))
        made.append(Fold(net_by_name=paths, doubled_T2=doubled_T2, drawn=drawn(bars, generator)))
    return made


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resample a hundred times: these tests ask whether it is done, not how exactly."""
    monkeypatch.setattr(contests, "REPETITIONS", 100)


def test_the_whole_is_judged() -> None:
    """A lead that nothing explains away is called better; without one it is not."""
    parts = folds(0.001)
    found = join_folds(parts, YEAR_BARS, trials=3, trial_variance=None, seed=5)
    assert found.headline.startswith("The ensemble is better than equal weight")
    own_T = np.concatenate([fold.net_by_name[ENSEMBLE] for fold in parts])
    assert found.rows[0].metrics.bars == 2_400
    assert found.rows[0].metrics.sharpe == pytest.approx(sharpe(own_T, YEAR_BARS))
    assert found.rows[0].lead is None
    assert found.random.percentile_frac is not None
    assert found.random.percentile_frac > 0.99
    assert (found.random.draws, found.random.turnover_per_year) == (200, 9.0 * YEAR_BARS / 2_400)
    nothing = join_folds(folds(0.0), YEAR_BARS, trials=3, trial_variance=None, seed=5)
    assert "not distinguishable from equal weight" in nothing.headline


def test_one_fault_forbids_the_claim() -> None:
    """However far ahead."""
    found = join_folds(
        folds(0.001), YEAR_BARS, trials=3, trial_variance=None, seed=5, faults=["ledger: off"]
    )
    assert found.headline == "No claim: a detector found ledger: off."


def test_folds_must_be_alike() -> None:
    """Other strategies in another fold cannot be joined."""
    parts = folds(0.0)
    other = drawn(9, np.random.default_rng(1))
    odd = Fold(net_by_name={ENSEMBLE: np.zeros(9)}, doubled_T2=np.zeros((9, 2)), drawn=other)
    with pytest.raises(ValueError, match="different strategies"):
        join_folds([*parts, odd], YEAR_BARS, trials=1, trial_variance=None, seed=5)
