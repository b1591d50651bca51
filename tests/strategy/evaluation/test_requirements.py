"""Each line of what is asked of an evaluation is met, missed or undefined for its own reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from strategy.evaluation.backtest import Backtest, Plan, listen, trade
from strategy.evaluation.calibration_figures import Slope
from strategy.evaluation.cost_figures import CostFigures, MeanCost
from strategy.evaluation.detectors import Finding
from strategy.evaluation.inference import Interval
from strategy.evaluation.requirements import requirements
from strategy.evaluation.risk_figures import RiskFigures
from strategy.learning.bar_history import History
from strategy.runtime import Runtime
from tests.strategy.evaluation.test_backtest import history, runtime

__all__ = ["history", "runtime"]

LEAD = Interval(estimate=0.1, low=-0.2, high=0.4, bars=900, draws=1_000, block_bars=2.0)
RISK = RiskFigures(
    windows=5,
    near_frac=0.8,
    ratio=1.0,
    bars=900,
    beyond_frac=0.05,
    coverage_p=0.01,
    independence_p=0.01,
    learned_beyond_frac=0.05,
    learned_coverage_p=0.06,
    learned_independence_p=0.06,
)
SLOPE = Slope(name="forecast of the next bar", slope=0.9, low=0.1, high=1.7, bars=900)
CHARGED = CostFigures(
    orders=40,
    notional_quote=1e5,
    total=MeanCost(bps=5.8, low_bps=5.6, high_bps=6.0),
    fee=None,
    price=None,
    modelled_bps=6.0,
    error_frac=0.03,
    error_low_frac=0.0,
    error_high_frac=0.07,
)
SEEN = Finding(name="truncation", is_clean=True, said="2,000 bars")


@pytest.fixture(scope="module")
def run(runtime: Runtime, history: History) -> Backtest:
    """Trade once."""
    return trade(listen(runtime, history), Plan())


def lines(run: Backtest, **other: Any) -> dict[str, bool | None]:
    """Return which lines are met, by their number, with some of the facts replaced."""
    given: dict[str, Any] = {
        "lead": LEAD,
        "headline": "The ensemble is not distinguishable from equal weight",
        "missing": ("DSR",),
        "risk": RISK,
        "calibration": (SLOPE,),
        "band_frac": 0.9,
        "charged": CHARGED,
        "findings": (SEEN,),
        "ablations": (),
    }
    return {row.name.split()[0]: row.is_met for row in requirements(run, **(given | other))}


def test_all_is_met(run: Backtest) -> None:
    """But for the ablations, of which there are none."""
    found = lines(run)
    assert found.pop("R10") is False
    assert found == dict.fromkeys(("R1", "R2", "R3", "R4", "R5", "R7", "R8"), True)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("R1", {"lead": replace(LEAD, low=-0.31)}),
        ("R1", {"lead": replace(LEAD, estimate=-0.01)}),
        ("R2", {"headline": "The ensemble is better than equal weight"}),
        ("R4", {"risk": replace(RISK, near_frac=0.79)}),
        ("R4", {"risk": replace(RISK, learned_coverage_p=0.04)}),
        ("R4", {"risk": replace(RISK, learned_independence_p=0.04)}),
        ("R5", {"calibration": (replace(SLOPE, slope=0.4),)}),
        ("R5", {"band_frac": 0.87}),
        ("R5", {"calibration": (replace(SLOPE, slope=None),), "band_frac": 0.93}),
        ("R8", {"charged": replace(CHARGED, error_high_frac=0.21)}),
        ("R8", {"charged": replace(CHARGED, error_low_frac=-0.21)}),
        ("R7", {"findings": (replace(SEEN, is_clean=False),)}),
    ],
)
def test_one_is_missed(run: Backtest, name: str, other: dict[str, Any]) -> None:
    """Only the line whose fact is wrong."""
    found = lines(run, **other)
    assert [line for line, is_met in found.items() if is_met is False] == sorted(
        {name, "R10"}, key=list(found).index
    )


def test_what_is_not_known_is_neither(run: Backtest) -> None:
    """No lead, no window, no scale, no detector and no past order: undefined, not met."""
    blind = lines(
        run,
        lead=None,
        risk=replace(RISK, near_frac=None),
        band_frac=None,
        findings=(),
        charged=None,
    )
    undefined = [name for name, is_met in blind.items() if is_met is None]
    assert undefined == ["R1", "R4", "R5", "R7", "R8"]


def test_who_foresees_nothing_is_not_too_bold(run: Backtest) -> None:
    """A forecast that was shrunk to nothing meets its line, as long as the band holds."""
    assert lines(run, calibration=(replace(SLOPE, slope=None),))["R5"] is True


def test_planted_faults_are_found(run: Backtest) -> None:
    """Wealth behind a candidate's, and a position above its limit."""
    poor = replace(run.followed, log_wealth_T=run.followed.log_wealth_T - 1.0)
    assert lines(replace(run, followed=poor))["R3"] is False
    assert lines(replace(run, position_T=run.position_T + 0.5))["R4"] is False
