"""The meta-learning ensemble as an object: prices in, an action with its reasons out.

The same ``MetaLearner`` that decides in the daemon, for whoever brings agents of their own and a
price at a time. One call of ``update_market_data`` or ``get_trading_action`` is one closed bar.
Actions are 0 SELL, 1 HOLD, 2 BUY: the wanted position short, flat, long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from config.settings import MetaLearningSettings
from kernels.events import REGIMES
from kernels.features import DEFAULT_FEATURE_NAMES, FeatureEngine
from strategy.ensemble import combine
from strategy.evaluation.figures import drawdown, sharpe
from strategy.learning.residuals import ShadowLog, fit_residuals
from strategy.meta_learner import MetaLearner, Outlook
from strategy.meta_tracker import MetaLearningTracker
from strategy.regime_filter import RegimeFilter
from strategy.residual_model import ResidualModel
from strategy.shipped_filter import shipped_filter

Floats = NDArray[np.float64]

HOUR_NS = 3_600_000_000_000
TICK_FRAC = 1e-6
"""Grid of the prices, as a share of the first one: fine enough that rounding is no return."""

HOLD = 1
DEAD_BAND = 0.1
"""A weighted vote within this of zero is HOLD."""

CONSTRAINTS = ("max_agent_weight", "min_diversification_agents")


class ActingAgent(Protocol):
    """What the manager asks of an agent."""

    def get_action_with_confidence(self, state: Any) -> tuple[int, float, Mapping[str, Any]]:
        """Return an action in {0, 1, 2}, a confidence in [0, 1], and information."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BarCosts:
    """What a change of position by one unit costs, as shares of its value."""

    fee_frac: float = 5e-4
    half_spread_frac: float = 1e-4


class MetaLearningEnsembleManager:
    """Agents, their accounts, the regime and the weights; one instrument, a bar at a time."""

    def __init__(
        self,
        agents: Mapping[str, ActingAgent],
        meta_lookback: int = 1000,
        *,
        settings: MetaLearningSettings | None = None,
        regime_filter: RegimeFilter | None = None,
        bar_ns: int = HOUR_NS,
        costs: BarCosts | None = None,
        market_regimes: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Start without evidence; ``meta_lookback`` bars are kept to train on.

        ``market_regimes`` are your own, each a group of the seven of ``kernels.events.REGIMES``.
        ValueError without agents, for bars above six hours, or for a cap that leaves no weights.
        """
        if not agents or meta_lookback < 10:
            raise ValueError(f"{len(agents)} agents and a lookback of {meta_lookback} bars")
        self.agents = dict(agents)
        self.settings = settings or MetaLearningSettings()
        self.bar_ns = bar_ns
        costs = costs or BarCosts()
        self.cost_frac = costs.fee_frac + costs.half_spread_frac
        regime_filter = regime_filter or shipped_filter()
        self.regimes: tuple[str, ...] = REGIMES
        if market_regimes is not None:
            regime_filter = regime_filter.merged(market_regimes, REGIMES)
            self.regimes = tuple(market_regimes)
        self._learner = MetaLearner(
            tuple(agents), regime_filter, self.settings, bar_ns, regimes=self.regimes
        )
        self._given: dict[str, float] = {}
        self._features: FeatureEngine | None = None
        self._mid = self._tick = 0.0
        self._bars = 0
        self._log: deque[tuple[Floats, Floats, Floats]] = deque(maxlen=meta_lookback)
        self._believed_N = np.zeros(len(self._learner.names))
        self._earned: deque[float] = deque(maxlen=self.settings.decision_history_size)
        self._position = 0
        self.total_trades = 0
        self.tracker = MetaLearningTracker(self.regimes)
        self.training_data: dict[str, deque[Floats]] = {
            "market_features": deque(maxlen=meta_lookback)
        }

    @property
    def year_bars(self) -> float:
        """Bars in a year."""
        return self._learner.chain.shape.year_bars

    @property
    def volatility_frac(self) -> float | None:
        """A year's standard deviation of the price's returns as known now; None: not yet."""
        scale = self._learner.accounts.scale
        return scale * float(np.sqrt(self.year_bars)) if scale > 0.0 else None

    # market -----------------------------------------------------------------------------------

    def update_market_data(self, price: float, volume: float) -> None:
        """Close one bar at a price, with the volume traded in it; ValueError for nonsense."""
        if not (np.isfinite(price) and price > 0.0 and np.isfinite(volume) and volume >= 0.0):
            raise ValueError(f"price {price!r} and volume {volume!r} are no market data")
        if self._features is None:
            self._tick = price * TICK_FRAC
            self._features = FeatureEngine(DEFAULT_FEATURE_NAMES, self.bar_ns, self._tick, 1e-6)
        at_ns, ticks = self._bars * self.bar_ns + 1, max(round(price / self._tick), 1)
        self._features.on_quote(at_ns, ticks, 1, ticks + 1, 1)
        if volume > 0.0:
            self._features.on_trade(at_ns + 1, ticks, max(round(volume / 1e-6), 1), 1)
        self._bars += 1
        self._features.close_bars(self._bars * self.bar_ns)
        if self._mid > 0.0:
            moved = self._position * (price / self._mid - 1.0)
            self._earned.append(moved)
        self._mid = price
        learned = self._learner.chain.learned_bars
        self._watch(price)
        if self._learner.chain.learned_bars > learned:
            self._remember()
        self.training_data["market_features"].append(self._features.values_F.copy())

    def _watch(self, price: float) -> None:
        """Close the bar in every account; who was told what it earned has earned just that."""
        accounts, given, self._given = self._learner.accounts, self._given, {}
        held_N = accounts.position_N.copy()
        for name, return_frac in given.items():
            place = self._learner.names.index(name)
            accounts.position_N[place], accounts.earned_N[place] = 0, return_frac
        assert self._features is not None, "made before the first bar"
        self._learner.watch(self._features, price)
        for name in given:
            place = self._learner.names.index(name)
            accounts.position_N[place] = held_N[place]

    def update_performance(self, returns: Mapping[str, float]) -> None:
        """Say what agents really earned since the last bar, as shares of a full position, net.

        Before the next bar; it replaces what their shadow accounts make of their actions.
        ValueError for an unknown agent or no number.
        """
        for name, return_frac in returns.items():
            if name not in self.agents or not np.isfinite(return_frac):
                raise ValueError(f"return {return_frac!r} of {name!r}")
        self._given |= {name: float(return_frac) for name, return_frac in returns.items()}

    def _agent_figures(self) -> dict[str, float | None]:
        """Return every expert's recent annual Sharpe ratio on its own account; None: undefined."""
        if len(self._log) < 2:
            return dict.fromkeys(self._learner.names)
        return_TN = np.array([earned_N for _, earned_N, _ in self._log])
        return {
            name: sharpe(return_T, self.year_bars)
            for name, return_T in zip(self._learner.names, return_TN.T, strict=True)
        }

    def _remember(self) -> None:
        """Keep what every expert earned in the bar, for the training of the meta-models."""
        earned_N = self._learner.last_earned_N
        # the posterior after the bar: what a prediction will see as well
        self._log.append((self._learner.posterior_K.copy(), earned_N, self._believed_N.copy()))

    # decisions --------------------------------------------------------------------------------

    def get_adaptive_algorithm_weights(
        self, risk_constraints: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """Return the weight of every expert now: agents, cash, band and momentum; sum 1.

        ``risk_constraints`` may lower ``max_agent_weight`` or raise ``min_diversification_agents``
        for this answer. ValueError for other names or values that leave no weights.
        """
        constraints = dict(risk_constraints or {})
        unknown = sorted(set(constraints) - set(CONSTRAINTS))
        if unknown:
            raise ValueError(f"risk constraint {unknown[0]!r} is none of {', '.join(CONSTRAINTS)}")
        if constraints:
            changed = self.settings.model_dump() | constraints
            self._learner.use(MetaLearningSettings(**changed))
        try:
            weights_N = self._weigh(np.ones(len(self.agents), np.bool_))
        finally:
            if constraints:
                self._learner.use(self.settings)
        if weights_N is None:
            raise ValueError("no weights keep the constraints")
        return dict(zip(self._learner.names, weights_N.tolist(), strict=True))

    def _weigh(self, healthy_A: NDArray[np.bool_]) -> Floats | None:
        learner, agents = self._learner, len(self.agents)
        weights_N = learner.weigh(learner.posterior_K, np.zeros(agents), healthy_A)
        if learner.weighing is not None:
            self._believed_N = np.array(learner.skills(learner.weighing))
        return weights_N

    def get_trading_action(
        self, state: Any, price: float, volume: float
    ) -> tuple[int, dict[str, Any]]:
        """Close a bar, ask every agent about ``state``, return the ensemble's action and why.

        An agent that raises, or answers with no action, is asleep for this bar and named in
        ``info["errors"]``. With fewer well agents than ``min_diversification_agents`` the action is
        HOLD and ``info["outcome"]`` says "abstained".
        """
        self.update_market_data(price, volume)
        action_A, confidence_A, errors = self._ask(state)
        healthy_A = action_A >= 0
        weights_N = self._weigh(healthy_A)
        action_N = self._learner.book(
            action_A, healthy_A, Outlook(gain=0.0, cost_frac=self.cost_frac)
        )
        action, exposure = HOLD, 0.0
        if weights_N is not None:
            confidence_N = np.ones(len(action_N), np.float32)
            confidence_N[: len(self.agents)] = confidence_A
            exposure = combine(action_N, weights_N, confidence_N).exposure
            exposure *= self._learner.accounts.calibration_frac
            action = HOLD + int(np.sign(exposure)) * (abs(exposure) > DEAD_BAND)
        self._take(action - HOLD)
        self.tracker.track(
            regime=max(self._learner.tracker.current, 0),
            weights_N=() if weights_N is None else weights_N.tolist(),
            action=action,
        )
        names = self._learner.names
        weights = {} if weights_N is None else dict(zip(names, weights_N.tolist(), strict=True))
        return action, {
            **self._learner.tracker.get_regime_info(),
            "algorithm_weights": weights,
            "actions": dict(zip(names, action_N.tolist(), strict=True)),
            "exposure": exposure,
            "calibration": self._learner.accounts.calibration_frac,
            "outcome": "abstained" if weights_N is None else "decided",
            "errors": errors,
        }

    def _ask(self, state: Any) -> tuple[NDArray[np.int64], NDArray[np.float32], dict[str, str]]:
        action_A = np.full(len(self.agents), -1, np.int64)
        confidence_A = np.zeros(len(self.agents), np.float32)
        errors: dict[str, str] = {}
        for place, (name, agent) in enumerate(self.agents.items()):
            try:
                action, confidence, _ = agent.get_action_with_confidence(state)
            except Exception as error:  # an agent is a stranger's code: its failure is its own
                errors[name] = f"{type(error).__name__}: {error}"
                continue
            if action in (0, 1, 2) and np.isfinite(confidence):
                action_A[place], confidence_A[place] = action, confidence
            else:
                errors[name] = f"action {action!r} with confidence {confidence!r}"
        return action_A, confidence_A, errors

    def _take(self, position: int) -> None:
        if position != self._position:
            self.total_trades += 1
            cost = self.cost_frac * abs(position - self._position)
            if self._earned:
                self._earned[-1] -= cost
            self._position = position

    # learning ---------------------------------------------------------------------------------

    def train_meta_models(
        self, batch_size: int = 32, epochs: int = 10, seed: int = 7
    ) -> dict[str, float]:
        """Fit the residual network on the bars kept; return what it found out of fold.

        ValueError while fewer bars are kept than it takes.
        """
        if not self._log:
            raise ValueError("nothing was learned from yet")
        posteriors, returns, beliefs = zip(*self._log, strict=True)
        log = ShadowLog(
            posterior_TK=np.array(posteriors),
            return_TN=np.array(returns),
            belief_TN=np.array(beliefs),
        )
        self._learner.use_residual(
            fit_residuals(
                log,
                year_bars=self._learner.chain.shape.year_bars,
                window_bars=self.settings.performance_prediction_window,
                history_count=self.settings.agent_history_features,
                batch_size=batch_size,
                epochs=epochs,
                seed=seed,
            )
        )
        residual = self._learner.residual
        assert residual is not None, "just fitted"
        for return_N in log.return_TN:  # it begins with what it was fitted on
            residual.remember(return_N)
        residual.row[-len(self._believed_N) :] = self._believed_N
        residual.foretell(self._learner.posterior_K)
        return {
            "bars": float(len(log.return_TN)),
            "slope": residual.model.slope,
            "correlation": residual.model.oof_correlation,
        }

    def save_meta_models(self, path: Path) -> None:
        """Write evidence, regime and residual network to one file; OSError where it cannot be."""
        state = self._learner.state
        tables = {
            "chain": state.chain,
            "regime_filter": state.regime_filter,
            "tracker": state.tracker,
            "names": np.frombuffer(",".join(self._learner.names).encode(), np.uint8),
        }
        if self._learner.residual is not None:
            tables |= self._learner.residual.model.to_tables()
            tables["residual_memory"] = state.residual
        path.write_bytes(save({name: np.array(table) for name, table in tables.items()}))

    def load_meta_models(self, path: Path) -> None:
        """Take over what was saved by a manager of the same agents; ValueError for another file."""
        try:
            tables = load(path.read_bytes())
            names = bytes(tables["names"]).decode()
        except OSError:
            raise
        except Exception as error:
            raise ValueError(f"{path}: no meta-models ({error})") from error
        if names != ",".join(self._learner.names):
            raise ValueError(f"{path}: meta-models of {names}")
        self._learner.chain.restore(tables["chain"])
        self._learner.restore_regimes(tables["regime_filter"], tables["tracker"])
        self._learner.use_residual(ResidualModel.from_tables(tables))
        residual = self._learner.residual
        if residual is not None:
            memory = tables["residual_memory"]
            residual.row[:], residual.score_A[:] = np.split(memory, [len(residual.row)])

    # reports ----------------------------------------------------------------------------------

    def get_performance_summary(self) -> dict[str, Any]:
        """Return recent Sharpe ratio, largest drawdown, regime, trades; None where undefined."""
        earned_T = np.array(self._earned)
        return {
            "recent_sharpe": sharpe(earned_T, self.year_bars),
            "recent_max_drawdown": drawdown(earned_T)[0],
            "regime_info": self._learner.tracker.get_regime_info(),
            "total_trades": self.total_trades,
            "decisions": self.tracker.summary(),
            "bars": self._bars,
            "regimes": list(self.regimes),
            "agents": self._agent_figures(),
        }
