"""The back-test: a bundle over bars, with the kernels, the networks and the meta-learner of live.

    listen   features -> posterior, forecast, votes of agents that hold what they wanted before
    trade    votes -> weights by what every account earned -> position -> returns net of all costs

Row t is the decision at the close of bar t; its position is held through bar t + 1. Nothing of a
later bar reaches a row: ``strategy.evaluation.truncation`` is run on it. What the market does not
hold in bars (depth, marks, partial fills, our own impact) is not played; slippage stands for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from config.settings import MetaLearningSettings
from kernels.events import REGIMES
from strategy.bundle import Bundle
from strategy.controllers import CONTROLLER_NAMES
from strategy.evaluation.chain_walk import Followed, Heard, follow_experts
from strategy.evaluation.execution import (
    Costs,
    SizeRule,
    annual_volatility,
    held_positions,
    holding_returns,
    trading_costs,
)
from strategy.evaluation.figures import YEAR_S
from strategy.learning.bar_history import History
from strategy.learning.forecasts import Forecast, apply_forecast
from strategy.observation import CLIP, EXTRA_COUNT, FLAT, FORECAST_NAMES
from strategy.quality import StrangenessScale
from strategy.regime_filter import RegimeFilter
from strategy.residual_model import ResidualModel
from strategy.runtime import Runtime

Floats = NDArray[np.float64]

ROWS_AT_ONCE = 16_384
"""Rows judged together; always so many, so that a shorter history gives the same bits."""

ROWS_SCALED = 1_024
"""Rows standardised together: 0.4 MB of features."""

VOLATILITY_FEATURE = "volatility_realised_long_bps"
"""Feature that sizes are held against, as in the daemon."""


class MismatchError(ValueError):
    """A bundle and a history that do not belong together; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is decided before the bars are seen.

    ``delay_bars`` orders are filled so many bars late. ``exposure_frac_max`` is the bundle's limit.
    ``dropped`` names agents that neither vote nor carry weight, ``dropped_regime`` one that the
    meta-learner never hears of; ``is_regime_known`` False: all regimes are alike to it.
    """

    meta: MetaLearningSettings = field(default_factory=MetaLearningSettings)
    costs: Costs = field(default_factory=Costs)
    size: SizeRule = field(default_factory=SizeRule)
    delay_bars: int = 0
    exposure_frac_max: float = 1.0
    dropped: tuple[str, ...] = ()
    dropped_regime: str = ""
    is_regime_known: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Listening:
    """What the models said of a history; ``known_T`` is what strangeness leaves of the size.

    ``foreseen_T`` is the forecast of the coming bar's return, in deviations of a bar;
    ``half_tick_T`` half a price step, as ``strategy.learning.bar_history.History`` has it.
    """

    agent_names: tuple[str, ...]
    heard: Heard
    foreseen_T: Floats
    known_T: Floats
    volatility_T: Floats
    return_T: Floats
    half_tick_T: Floats
    close_ns_T: NDArray[np.int64]
    bar_ns: int
    residual: ResidualModel | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.return_T)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decisions:
    """What was decided at every close, T rows: ``wanted_T`` as a share of equity."""

    heard: Heard
    followed: Followed
    trust_T: Floats
    size_T: Floats
    wanted_T: Floats

    def positions(self, plan: Plan) -> Floats:
        """Return what is held through the bar after each close."""
        return held_positions(
            self.wanted_T, self.size_T, plan.size.hysteresis_frac, plan.delay_bars
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Backtest:
    """One run; T rows, the last of them the last decision whose bar has closed.

    ``return_T`` is what a unit long earns in the bar after the decision, funding included;
    ``position_T`` the share of equity held through it; ``net_T`` = ``gross_T`` - ``cost_T``.
    ``target_TA`` are the agents' own wishes -1, 0, 1, ``size_T`` the share of a full position,
    ``trust_T`` in [0, 1] what strangeness and disagreement leave of it. ``half_tick_T`` is half a
    price step at each close.
    """

    agent_names: tuple[str, ...]
    plan: Plan
    close_ns_T: NDArray[np.int64]
    bar_ns: int
    return_T: Floats
    half_tick_T: Floats
    position_T: Floats
    gross_T: Floats
    cost_T: Floats
    net_T: Floats
    target_TA: Floats
    size_T: Floats
    trust_T: Floats
    posterior_TK: Floats
    followed: Followed

    def __len__(self) -> int:
        """Return the number of bars."""
        return len(self.return_T)

    @property
    def equity_T(self) -> Floats:  # noqa: N802 - T is the shape suffix
        """Equity after each bar, from 1."""
        return np.asarray(np.cumprod(1.0 + self.net_T), np.float64)

    @property
    def trade_frac_T(self) -> Floats:  # noqa: N802 - T is the shape suffix
        """Cost of a unit of turnover at each bar."""
        return self.plan.costs.trade_fracs(self.half_tick_T)

    @property
    def year_bars(self) -> float:
        """Bars in a year of 365.25 days."""
        return YEAR_S * 1e9 / self.bar_ns


def listen(runtime: Runtime, history: History) -> Listening:
    """Ask a bundle about every close of a history; MismatchError where they do not fit.

    Agents begin flat and then hold what they wanted at the bar before, as live.
    """
    bundle = runtime.bundle
    _check(bundle, history)
    names = history.feature_names
    regime_filter = RegimeFilter.from_tables(bundle.tables)
    if regime_filter.regime_count != len(REGIMES):
        raise MismatchError(f"regime filter of {regime_filter.regime_count} regimes")
    posterior_TK = regime_filter.run(history.bars_M3)[history.bar_end_T - 1]
    rows_TF = _rows(bundle, history, posterior_TK)
    forecast = Forecast.from_tables(bundle.tables, len(names))
    seen_T2 = rows_TF[:, -len(FORECAST_NAMES) :].astype(np.float64)
    foreseen_T = seen_T2[:, 0] * forecast.reward_2[0] + seen_T2[:, 1] * forecast.reward_2[1]
    gain_T = foreseen_T / (1.0 - forecast.decay)
    held_A = np.full(len(bundle.agents), FLAT, np.int64)
    parts = []
    for begin in range(0, len(rows_TF), ROWS_AT_ONCE):
        judged = runtime.walk(rows_TF[begin : begin + ROWS_AT_ONCE], held_A)
        if judged.error:
            raise MismatchError(f"the bundle fails on these bars: {judged.error}")
        parts.append(
            (
                judged.action_BA,
                judged.confidence_BA,
                judged.regime_BK,
                judged.predicted_BA,
                judged.healthy_BA,
            )
        )
    action_TA, confidence_TA, regime_TK, predicted_TA, healthy_TA = map(
        np.concatenate, zip(*parts, strict=True)
    )
    volatility_T = np.zeros(len(history))
    if VOLATILITY_FEATURE in names:
        bps_T = history.features_TF[:, names.index(VOLATILITY_FEATURE)]
        volatility_T = annual_volatility(bps_T, YEAR_S * 1e9 / history.interval_ns)
    return Listening(
        agent_names=bundle.agents,
        heard=Heard(
            close_T=history.close_T,
            bars_M3=history.bars_M3,
            bar_end_T=history.bar_end_T,
            posterior_TK=posterior_TK,
            regime_TK=regime_TK,
            predicted_TA=predicted_TA,
            action_TA=action_TA,
            confidence_TA=confidence_TA,
            may_ask_TA=healthy_TA,
            gain_T=gain_T,
        ),
        foreseen_T=foreseen_T,
        known_T=_known(StrangenessScale.from_tables(bundle.tables), rows_TF[:, : len(names)]),
        volatility_T=volatility_T,
        return_T=np.expm1(history.return_T),
        half_tick_T=history.half_tick_T,
        close_ns_T=history.close_ns_T,
        bar_ns=history.interval_ns,
        residual=ResidualModel.from_tables(bundle.tables),
    )


def decide(listening: Listening, plan: Plan) -> Decisions:
    """Let the meta-learner follow the agents, then size what it wants; every row, the last too."""
    heard = _changed(listening, plan)
    followed = follow_experts(
        heard,
        listening.agent_names,
        plan.meta,
        bar_ns=listening.bar_ns,
        cost_frac_T=plan.costs.trade_fracs(listening.half_tick_T),
        residual=listening.residual,
    )
    most = plan.exposure_frac_max
    trust_T = listening.known_T * (1.0 - followed.disagreement_T) * followed.calibration_T
    size_T = plan.size.sizes(listening.volatility_T)
    return Decisions(
        heard=heard,
        followed=followed,
        trust_T=trust_T,
        size_T=size_T,
        wanted_T=np.clip(followed.exposure_T, -most, most) * trust_T * size_T,
    )


def trade(listening: Listening, plan: Plan) -> Backtest:
    """Decide at every close and book what the ensemble earns, costs taken off."""
    return settle(listening, decide(listening, plan), plan)


def settle(listening: Listening, made: Decisions, plan: Plan) -> Backtest:
    """Book what decisions earn when they are executed as planned."""
    bars = len(listening) - 1  # what follows the last close is not known
    bar_s = listening.bar_ns / 1e9
    return_T = holding_returns(listening.return_T[:bars], bar_s, plan.costs.funding_frac)
    position_T = made.positions(plan)[:bars]
    gross_T = position_T * return_T
    half_tick_T = listening.half_tick_T[:bars]
    cost_T = trading_costs(position_T, plan.costs.trade_fracs(half_tick_T))
    may_ask_TA, action_TA = made.heard.may_ask_TA[:bars], made.heard.action_TA[:bars]
    return Backtest(
        agent_names=listening.agent_names,
        plan=plan,
        close_ns_T=listening.close_ns_T[:bars],
        bar_ns=listening.bar_ns,
        return_T=return_T,
        half_tick_T=half_tick_T,
        position_T=position_T,
        gross_T=gross_T,
        cost_T=cost_T,
        net_T=np.maximum(gross_T - cost_T, -1.0),
        target_TA=np.where(may_ask_TA, action_TA - FLAT, 0).astype(np.float64),
        size_T=made.size_T[:bars],
        trust_T=made.trust_T[:bars],
        posterior_TK=made.heard.posterior_TK[:bars],
        followed=made.followed,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebalancing:
    """Turnover a year, in shares of equity, that the no-trade band bears on.

    ``by_weights`` is what moving weights alone would ask for, every vote left as it was;
    ``without_band`` what would be traded were every small change followed.
    """

    by_weights: float
    without_band: float


def rebalancing(run: Backtest) -> Rebalancing:
    """Measure what the changes of weights ask for, and what the band of the execution leaves."""
    bars, followed = len(run), run.followed
    years = bars * run.bar_ns / (YEAR_S * 1e9)
    vote_TN = np.where(followed.action_TN >= 0, followed.action_TN - FLAT, 0)
    moved_T = (np.diff(followed.weight_TN[:bars], axis=0) * vote_TN[: bars - 1]).sum(axis=1)
    full_T = run.trust_T * run.size_T
    most = run.plan.exposure_frac_max
    wanted_T = np.clip(followed.exposure_T[:bars], -most, most) * full_T
    free_T = held_positions(wanted_T, run.size_T, 0.0, run.plan.delay_bars)
    return Rebalancing(
        by_weights=float(np.abs(moved_T * full_T[1:]).sum() / years),
        without_band=float(np.abs(np.diff(free_T, prepend=0.0)).sum() / years),
    )


def expert_positions(run: Backtest, name: str) -> Floats:
    """Return the wishes -1, 0, 1 of one expert in each bar; KeyError for an unknown name."""
    names = (*run.agent_names, *CONTROLLER_NAMES)
    if name not in names:
        raise KeyError(name)
    wished_T = run.followed.action_TN[: len(run), names.index(name)]
    return np.where(wished_T >= 0, wished_T - FLAT, 0).astype(np.float64)


def _check(bundle: Bundle, history: History) -> None:
    manifest = bundle.manifest
    if manifest.observation.feature_names != history.feature_names:
        raise MismatchError(f"bundle {bundle.name} knows other features than the history")
    bar_ms = history.interval_ns // 1_000_000
    trained_ms = manifest.observation.bar_interval_ms
    if bundle.tables.get("forecast.weight") is not None and trained_ms != bar_ms:
        raise MismatchError(
            f"bundle {bundle.name} was trained on bars of {trained_ms / 1000:g} s, "
            f"these last {bar_ms / 1000:g} s"
        )
    if len(history) < 3:
        raise MismatchError(f"{len(history)} bars after the warm-up are too few")


def _rows(bundle: Bundle, history: History, posterior_TK: Floats) -> NDArray[np.float32]:
    """Write every row that a model sees: standardised features, posterior, forecast."""
    features = len(history.feature_names)
    rows_TF = np.empty((len(history), features + EXTRA_COUNT), np.float32)
    location = bundle.normalisation
    for begin in range(0, len(history), ROWS_SCALED):  # what stays in the cache is done thrice
        part = slice(begin, begin + ROWS_SCALED)
        scaled_BF = (history.features_TF[part] - location.mean_F) / location.scale_F
        rows_TF[part, :features] = np.clip(scaled_BF, -CLIP, CLIP)
    rows_TF[:, features : features + len(REGIMES)] = posterior_TK
    forecast = Forecast.from_tables(bundle.tables, features)
    seen_T2 = apply_forecast(forecast, rows_TF[:, :features])
    rows_TF[:, -len(FORECAST_NAMES) :] = np.clip(seen_T2, -CLIP, CLIP)
    return rows_TF


def _known(scale: StrangenessScale | None, rows_TF: NDArray[np.float32]) -> Floats:
    """Return what every row's strangeness leaves of the size."""
    return np.ones(len(rows_TF)) if scale is None else scale.factors(rows_TF)


def _changed(listening: Listening, plan: Plan) -> Heard:
    """Leave out what the plan leaves out."""
    heard = listening.heard
    unknown = set(plan.dropped) - set(listening.agent_names)
    if unknown:
        raise MismatchError(f"no agent {sorted(unknown)[0]!r} to drop")
    if plan.dropped:
        may_ask_TA = heard.may_ask_TA.copy()
        may_ask_TA[:, [listening.agent_names.index(name) for name in plan.dropped]] = False
        heard = replace(heard, may_ask_TA=may_ask_TA)
    if plan.dropped_regime:
        place = REGIMES.index(plan.dropped_regime)
        heard = replace(
            heard,
            posterior_TK=_without(heard.posterior_TK, place),
            regime_TK=_without(heard.regime_TK.astype(np.float64), place).astype(np.float32),
        )
    if not plan.is_regime_known:
        alike_TK = np.full(heard.regime_TK.shape, 1.0 / len(REGIMES))
        heard = replace(heard, posterior_TK=alike_TK, regime_TK=alike_TK.astype(np.float32))
    return heard


def _without(posterior_TK: Floats, place: int) -> Floats:
    """Return a posterior over the other regimes; alike where nothing else was thought possible."""
    kept_TK = posterior_TK.copy()
    kept_TK[:, place] = 0.0
    total_T = kept_TK.sum(axis=1, keepdims=True)
    alike_K = np.full(kept_TK.shape[1], 1.0 / (kept_TK.shape[1] - 1))
    alike_K[place] = 0.0
    return np.where(total_T > 1e-12, kept_TK / np.maximum(total_T, 1e-12), alike_K)
