"""The risk-managed ensemble: sized by the daemon's rules, overruled by losses and own rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from config.settings import MetaLearningSettings, RiskLimits, SizingSettings
from daemon.risk_managed import MetaLearningRiskManagedEnsemble, RiskRule, RiskView
from risk.breaker import BreakerState
from strategy.meta_ensemble import MetaLearningEnsembleManager

BARS = 60
RISE = 1.004


class Long:
    """An agent that is long whatever happens."""

    def get_action_with_confidence(self, state: Any) -> tuple[int, float, Mapping[str, Any]]:
        """Say so."""
        return 2, 0.9, {}


class Answer:
    """A rule that always gives the same answer and remembers what it saw."""

    def __init__(self, exposure: float) -> None:
        """Take the answer."""
        self.exposure = exposure
        self.seen: list[tuple[float, RiskView]] = []

    def permitted(self, exposure: float, view: RiskView) -> float:
        """Give it."""
        self.seen.append((exposure, view))
        return self.exposure


def ensemble(*rules: RiskRule, **more: Any) -> MetaLearningRiskManagedEnsemble:
    settings = MetaLearningSettings(kelly_criterion_enabled=False)
    manager = MetaLearningEnsembleManager({n: Long() for n in "abc"}, settings=settings)
    limits = RiskLimits(
        position_notional_quote_max=1e9,
        gross_notional_quote_max=1e9,
        net_notional_quote_max=1e9,
        order_notional_quote_max=1e9,
    )
    sizing = SizingSettings(position_frac=0.9, volatility_target_frac=10.0, **more)
    return MetaLearningRiskManagedEnsemble(manager, limits=limits, sizing=sizing, rules=rules)


def rise(ensemble: MetaLearningRiskManagedEnsemble, bars: int = BARS) -> list[dict[str, Any]]:
    """Let the price rise bar by bar; return what each call said."""
    found = []
    for bar in range(bars):
        action, info = ensemble.get_trading_action(None, 100.0 * RISE**bar, 10.0)
        found.append({"action": action, **info["risk"]})
    return found


def test_wishes_are_sized_and_their_account_earns() -> None:
    """Within every cap at every bar, long in a rising market, and richer for it."""
    risky = ensemble()
    for said in rise(risky):
        assert abs(said["position_quote"]) <= 0.9 * risky.equity_quote + 1e-6
        assert said["override"] is None
        assert said["state"] == "NORMAL"
    assert said["action"] == 2
    assert risky.position_quote > 0.3 * risky.equity_quote
    summary = risky.get_performance_summary()
    assert summary["equity_quote"] > 100_000.0
    assert summary["recent_sharpe"] > 0.0
    assert 0 < summary["total_trades"] < BARS // 2  # small changes are not worth their cost
    assert summary["decisions"]["decision_count"] == BARS


def test_a_crash_flattens_until_a_human_resumes() -> None:
    """A drawdown above the limit closes the position whatever the agents want."""
    risky = ensemble()
    rise(risky)
    price = 0.5 * 100.0 * RISE ** (BARS - 1)
    action, info = risky.get_trading_action(None, price, 10.0)
    assert risky.drawdown_frac > 0.15
    assert (action, risky.position_quote) == (1, 0.0)
    assert info["risk"]["state"] == "FLATTEN"
    assert info["risk"]["override"] == "drawdown_flatten"
    equity_quote = risky.equity_quote
    for _ in range(5):
        action, _ = risky.get_trading_action(None, price, 10.0)
        price *= RISE
        assert action == 1
    assert risky.equity_quote == equity_quote
    risky.resume()
    assert risky.breaker.state is BreakerState.NORMAL
    assert risky.drawdown_frac == 0.0


def test_a_days_loss_only_lets_positions_shrink() -> None:
    """Between the day's limit and the drawdown's: less is permitted, more is not."""
    risky = ensemble()
    rise(risky)
    held = risky.position_quote
    price = 0.86 * 100.0 * RISE ** (BARS - 1)
    _, info = risky.get_trading_action(None, price, 10.0)
    assert info["risk"]["state"] == "REDUCE_ONLY"
    assert 0.0 <= risky.position_quote <= 0.86 * held + 1e-6


@pytest.mark.parametrize(("answer", "left"), [(0.0, 0.0), (float("nan"), 0.0), (-1.0, 0.0)])
def test_a_rule_vetoes(answer: float, left: float) -> None:
    """Nothing, no number, or the other side: the position is flat and the rule is named."""
    rule = Answer(answer)
    risky = ensemble(rule)
    said = rise(risky)[-1]
    assert said["wanted"] > 0.0
    assert (said["permitted"], risky.position_quote, said["override"]) == (left, 0.0, "Answer")
    assert risky.overrides > 0
    exposure, view = rule.seen[-1]
    assert exposure == said["wanted"]
    assert view.equity_quote == pytest.approx(100_000.0)
    assert view.regime
    assert view.volatility_frac is not None


def test_a_rule_resizes_but_cannot_enlarge() -> None:
    """A tenth is what is held; more than was wanted changes nothing."""
    assert rise(ensemble(Answer(0.1)))[-1]["permitted"] == 0.1
    said = rise(ensemble(Answer(1.0)))[-1]
    assert said["permitted"] == said["wanted"] < 1.0
    assert said["override"] is None


def test_without_capital_nothing_begins() -> None:
    """Equity of zero or no number is refused."""
    with pytest.raises(ValueError, match="no capital"):
        MetaLearningRiskManagedEnsemble(ensemble().ensemble, equity_quote=0.0)
