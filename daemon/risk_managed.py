"""``MetaLearningRiskManagedEnsemble``: the ensemble's wish, sized and if need be overruled by risk.

The daemon has the whole gate; this is for whoever trades from a program of their own, a bar at a
time: the same sizing (fractional Kelly, volatility target, drawdown governor, every notional
limit) and the same breaker as the daemon's, on an account of its own, and a door for rules of the
user's: any object with ``permitted(exposure, view)``. A rule can only make a position smaller.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from config.settings import RiskLimits, SizingSettings
from kernels.events import Action
from kernels.units import E8
from risk.breaker import Breaker, BreakerState, Trigger, loss_trigger
from risk.sizing import EdgeEstimate, SizingEvidence, full_notional_quote
from strategy.evaluation.figures import drawdown, sharpe
from strategy.meta_ensemble import MetaLearningEnsembleManager

DAY_NS = 86_400_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskView:
    """What a rule may look at: quote currency, fractions, the regime's name.

    ``position_frac`` is what is held now, signed, as a share of equity; ``volatility_frac`` a
    year's standard deviation of the price's returns, None while unknown.
    """

    price: float
    equity_quote: float
    drawdown_frac: float
    day_loss_frac: float
    position_frac: float
    volatility_frac: float | None
    regime: str
    state: BreakerState


class RiskRule(Protocol):
    """A rule of the user's own."""

    def permitted(self, exposure: float, view: RiskView) -> float:
        """Return what is permitted of a wish in [-1, 1]: nearer to 0, never beyond it."""


class MetaLearningRiskManagedEnsemble:
    """A manager's decisions under risk; see the module. One instrument, one call a closed bar."""

    def __init__(
        self,
        ensemble: MetaLearningEnsembleManager,
        *,
        equity_quote: float = 100_000.0,
        sizing: SizingSettings | None = None,
        limits: RiskLimits | None = None,
        rules: Sequence[RiskRule] = (),
        hysteresis_frac: float = 0.1,
    ) -> None:
        """Start flat with so much equity; ValueError for none.

        A change of position smaller than ``hysteresis_frac`` of the full one is not worth its
        cost: what is held stays, unless risk wants less of it.
        """
        if not (math.isfinite(equity_quote) and equity_quote > 0.0):
            raise ValueError(f"equity {equity_quote!r} is no capital")
        self.ensemble = ensemble
        self.breaker = Breaker()
        self.equity_quote = self._peak_quote = self._day_quote = equity_quote
        self.position_quote = 0.0
        self.total_trades = self.overrides = 0
        self._sizing, self._limits = sizing or SizingSettings(), limits or RiskLimits()
        self._rules = tuple(rules)
        self._price, self._day, self._bars = 0.0, -1, 0
        self._full_T: deque[float] = deque(maxlen=ensemble.settings.meta_lookback)
        self._equity_T: deque[float] = deque(
            [equity_quote], maxlen=ensemble.settings.decision_history_size
        )
        self._hysteresis_frac = hysteresis_frac
        self._wish = self._edge_cost_frac = 0.0

    def get_trading_action(
        self, state: Any, price: float, volume: float
    ) -> tuple[int, dict[str, Any]]:
        """Close a bar; return the action that risk permits and why.

        Action and position are those to hold from here on. ``info`` is the manager's, and under
        ``risk``: ``wanted`` and ``permitted`` exposure in [-1, 1] of the full position,
        ``position_quote``, ``full_quote``, breaker ``state``, and ``override``: None, or who
        changed the wish.
        """
        action, info = self.ensemble.get_trading_action(state, price, volume)
        self._earn(price)
        self._watch_losses()
        wanted = float(info["exposure"]) if action != Action.HOLD else 0.0
        self._edge_cost_frac = self.ensemble.cost_frac * abs(_side(wanted) - _side(self._wish))
        self._wish = wanted
        view = self._view(price, str(info["current_regime"]))
        full_quote = self._full_quote(view)
        permitted, override = self._permit(wanted, view, full_quote)
        self._hold(permitted * full_quote, full_quote, is_forced=override is not None)
        self.overrides += override is not None
        held = Action.HOLD + (self.position_quote > 0.0) - (self.position_quote < 0.0)
        return int(held), {
            **info,
            "risk": {
                "wanted": wanted,
                "permitted": permitted,
                "position_quote": self.position_quote,
                "full_quote": full_quote,
                "state": self.breaker.state.name,
                "override": override,
            },
        }

    def resume(self) -> None:
        """Let trade again after a breaker fell: only a human says so; the peak begins anew."""
        self.breaker = self.breaker.apply(Trigger.OPERATOR_RESUME, self._now_ns, "resumed")
        self._peak_quote = self._day_quote = self.equity_quote

    def get_performance_summary(self) -> dict[str, Any]:
        """Return the manager's summary with this account's own figures in place of its."""
        equity_T = np.array(self._equity_T)
        return_T = np.diff(equity_T) / equity_T[:-1]
        return {
            **self.ensemble.get_performance_summary(),
            "recent_sharpe": sharpe(return_T, self.ensemble.year_bars),
            "recent_max_drawdown": drawdown(return_T)[0],
            "total_trades": self.total_trades,
            "equity_quote": self.equity_quote,
            "overrides": self.overrides,
            "breaker": self.breaker.state.name,
        }

    @property
    def drawdown_frac(self) -> float:
        """Loss from the peak of equity."""
        return 1.0 - self.equity_quote / self._peak_quote

    # inner ------------------------------------------------------------------------------------

    @property
    def _now_ns(self) -> int:
        return self._bars * self.ensemble.bar_ns

    def _earn(self, price: float) -> None:
        """Mark the position to the bar's close; a new day counts its own loss."""
        if self._price > 0.0:
            moved = price / self._price - 1.0
            self.equity_quote += self.position_quote * moved
            self.position_quote *= 1.0 + moved
            if self._wish != 0.0:
                self._full_T.append(_side(self._wish) * moved - self._edge_cost_frac)
        self._price = price
        self._peak_quote = max(self._peak_quote, self.equity_quote)
        self._equity_T.append(self.equity_quote)
        self._bars += 1
        day = self._now_ns // DAY_NS
        if day != self._day:
            self._day, self._day_quote = day, self.equity_quote

    def _watch_losses(self) -> None:
        trigger = loss_trigger(
            1.0 - self.equity_quote / self._day_quote,
            self.drawdown_frac,
            self._limits,
            flattens=True,
        )
        if trigger is not None:
            self.breaker = self.breaker.apply(trigger, self._now_ns)

    def _view(self, price: float, regime: str) -> RiskView:
        return RiskView(
            price=price,
            equity_quote=self.equity_quote,
            drawdown_frac=self.drawdown_frac,
            day_loss_frac=1.0 - self.equity_quote / self._day_quote,
            position_frac=self.position_quote / max(self.equity_quote, 1e-9),
            volatility_frac=self.ensemble.volatility_frac,
            regime=regime,
            state=self.breaker.state,
        )

    def _full_quote(self, view: RiskView) -> float:
        """Return the largest position by every cap of the sizing."""
        edge = None
        if len(self._full_T) > 1:
            earned_T = np.array(self._full_T)
            edge = EdgeEstimate(
                mean_frac=float(earned_T.mean()),
                variance_frac2=float(earned_T.var()),
                sample_count=float(len(earned_T)),
            )
        settings = self.ensemble.settings
        return full_notional_quote(
            equity_quote_e8=round(self.equity_quote * E8),
            instrument_count=1,
            sizing=self._sizing,
            limits=self._limits,
            max_position_risk=settings.max_position_risk,
            is_kelly_enabled=settings.kelly_criterion_enabled,
            evidence=SizingEvidence(
                drawdown_frac=view.drawdown_frac,
                edge=edge,
                volatility_frac=view.volatility_frac,
            ),
        )

    def _permit(self, wanted: float, view: RiskView, full_quote: float) -> tuple[float, str | None]:
        """Ask every rule, then the breaker; each only takes away. Name who did so last."""
        permitted, override = wanted, None
        for rule in self._rules:
            answer = float(rule.permitted(permitted, view))
            answer = 0.0 if math.isnan(answer) else answer
            cut = min(max(answer, min(permitted, 0.0)), max(permitted, 0.0))
            if cut != permitted:
                permitted, override = cut, type(rule).__name__
        held = self.position_quote / full_quote if full_quote > 0.0 else 0.0
        cut = permitted
        if self.breaker.state is BreakerState.REDUCE_ONLY:
            cut = min(max(permitted, min(held, 0.0)), max(held, 0.0))
        elif self.breaker.state is not BreakerState.NORMAL:
            cut = 0.0
        if cut != permitted:
            permitted, override = cut, self.breaker.reason
        return permitted, override

    def _hold(self, wanted_quote: float, full_quote: float, *, is_forced: bool) -> None:
        """Change the position at cost, where the change is worth one."""
        traded_quote = abs(wanted_quote - self.position_quote)
        is_small = traded_quote < self._hysteresis_frac * full_quote
        is_within = abs(self.position_quote) <= full_quote and wanted_quote != 0.0
        if traded_quote == 0.0 or (is_small and is_within and not is_forced):
            return
        self.equity_quote -= self.ensemble.cost_frac * traded_quote
        self.total_trades += 1
        self.position_quote = wanted_quote


def _side(exposure: float) -> float:
    return math.copysign(1.0, exposure) if exposure != 0.0 else 0.0
