"""From a history to a bundle: forecast, five agents trained for control, validation, recipe.

The order is that of the evidence: agents that learn from raw features on realised returns lose
money at realistic signal, agents that control on out-of-fold shrunk forecasts do not. So an agent
sees the forecast's two numbers, the regime's posterior and its own position, and is paid the model
reward E[r | forecast]; the columns it does not see have no weight in its first layer. What it is
worth is then measured on a later block, after a gap, on realised returns with all costs.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kernels.events import AGENTS, REGIMES
from kernels.jit import njit
from strategy.agents.registry import build_agent
from strategy.archive import Recipe
from strategy.calibration import TEMPERATURE_MIN, silence_regimes
from strategy.evaluation.execution import Costs
from strategy.fused import ComposedEnsemble, seen_by
from strategy.learning.bar_history import History
from strategy.learning.forecasts import FittedForecast, apply_forecast, fit_forecast
from strategy.learning.learner import Learner, LearnerOptions
from strategy.learning.learners import UPDATES, make_learner
from strategy.learning.policies import action_table, walk
from strategy.learning.transitions import MarketPath
from strategy.observation import (
    CLIP,
    EXTRA_COUNT,
    FORECAST_NAMES,
    HELD_COUNT,
    Normalisation,
    neutral_extras,
)
from strategy.predictor import PerformancePredictor
from strategy.quality import fit_strangeness
from strategy.regimes import MarketRegimeClassifier
from strategy.sampling import drawn_positions, fit_normalisation
from strategy.shipped_filter import shipped_tables

Floats = NDArray[np.float64]

GOLDEN_SAMPLE = 4_000
YEAR_NS = 365.25 * 86_400e9


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """What is decided before the data are seen.

    ``fee_frac``, slippage in it, is paid on every unit traded, beside half the spread: the
    history's, or ``half_ticks`` half price steps where those are wider. The last
    ``validation_frac`` of the rows judge and never teach; ``gap_bars`` before them belong to
    neither. ``effort_frac`` scales the length of every training, for tries.
    """

    seed: int = 7
    fee_frac: float = 0.0005
    half_ticks: float = 1.0
    validation_frac: float = 0.2
    gap_bars: int = 200
    effort_frac: float = 1.0
    discount: float = 0.99

    def __post_init__(self) -> None:
        """Refuse plans that leave nothing to learn from or to judge by; ValueError."""
        if not 0.0 <= self.fee_frac < 0.1:
            raise ValueError(f"fee_frac {self.fee_frac} is not in [0, 0.1)")
        if not 0.0 <= self.half_ticks <= 100.0:
            raise ValueError(f"half_ticks {self.half_ticks} is not in [0, 100]")
        if not 0.05 <= self.validation_frac <= 0.5:
            raise ValueError(f"validation_frac {self.validation_frac} is not in [0.05, 0.5]")
        if self.gap_bars < 1 or not 0.0 < self.effort_frac <= 100.0:
            raise ValueError("gap_bars must be at least 1, effort_frac in (0, 100]")

    def updates(self, agent: str) -> int:
        """Return the length of an agent's training."""
        return max(1, round(UPDATES[agent] * self.effort_frac))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """All that the agents' training needs, and what judges them afterwards."""

    plan: TrainingPlan
    normalisation: Normalisation
    fitted: FittedForecast
    path: MarketPath
    rows_TF: NDArray[np.float32]
    judged_rows_TF: NDArray[np.float32]
    judged: History
    scale: float
    judged_cost_T: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How an agent did where it was not taught: per bar, net of costs, and per year.

    ``sharpe`` is None where returns have no spread; ``sharpe_error`` is about 1 / sqrt(years).
    """

    net_bps_per_bar: float
    sharpe: float | None
    sharpe_error: float
    trades_per_bar: float


def prepare(history: History, plan: TrainingPlan) -> Prepared:
    """Split, freeze the normalisation, fit the forecast; ValueError when there is too little."""
    bars = len(history)
    split = int(bars * (1.0 - plan.validation_frac))
    taught, judged = history.part(0, split - plan.gap_bars), history.part(split, bars)
    if len(taught) < 10 * len(history.feature_names) or len(judged) < 2:
        raise ValueError(f"{bars} bars are too few to train on and to judge by")
    scale = float(taught.return_T.std())
    if not scale > 0.0:
        raise ValueError("the prices never move")
    normalisation = fit_normalisation(taught.features_TF)
    seen_TF, judged_TF = (standardise(normalisation, part.features_TF) for part in (taught, judged))
    fitted = fit_forecast(seen_TF, taught.return_T / scale, gap_bars=plan.gap_bars)
    costs = Costs(
        fee_frac=plan.fee_frac,
        half_spread_frac=history.half_spread_frac,
        slippage_frac=0.0,  # part of the fee
        half_ticks=plan.half_ticks,
    )
    agent_rows_TF = control_rows(fitted.seen_T2)
    path = MarketPath(
        rows_TF=agent_rows_TF,
        return_T=fitted.reward_T,
        cost_T=costs.trade_fracs(taught.half_tick_T) / scale,
    )
    return Prepared(
        plan=plan,
        normalisation=normalisation,
        fitted=fitted,
        path=path,
        rows_TF=np.column_stack((seen_TF, agent_rows_TF)).astype(np.float32),
        judged_rows_TF=control_rows(apply_forecast(fitted.forecast, judged_TF)),
        judged=judged,
        scale=scale,
        judged_cost_T=costs.trade_fracs(judged.half_tick_T),
    )


def standardise(normalisation: Normalisation, features_TF: Floats) -> Floats:
    """Return features as they stand in a row: standardised, clipped, rounded to float32."""
    scaled_TF = (features_TF - normalisation.mean_F) / normalisation.scale_F
    return np.asarray(np.clip(scaled_TF, -CLIP, CLIP).astype(np.float32), np.float64)


def control_rows(seen_T2: Floats) -> NDArray[np.float32]:
    """Return the columns that agents see of the market: posterior, then both forecasts."""
    rows_TE = np.tile(neutral_extras(), (len(seen_T2), 1))
    rows_TE[:, -len(FORECAST_NAMES) :] = np.clip(seen_T2, -CLIP, CLIP)
    return rows_TE.astype(np.float32)


def new_learner(prepared: Prepared, agent: str) -> Learner:
    """Return a fresh learner of one agent; each has a seed of its own."""
    plan = prepared.plan
    options = LearnerOptions(updates=plan.updates(agent), discount=plan.discount)
    seed = plan.seed * len(AGENTS) + AGENTS.index(agent)
    return make_learner(agent, prepared.path, options, seed=seed)


def judge(prepared: Prepared, net: nn.Module) -> Verdict:
    """Let a trained agent walk the later block alone, on realised returns with all costs."""
    position_T = walk(action_table(net, prepared.judged_rows_TF)) - 1
    net_T = net_returns(position_T, prepared.judged.return_T, prepared.judged_cost_T)
    years = len(net_T) * prepared.judged.interval_ns / YEAR_NS
    spread = float(net_T.std())
    return Verdict(
        net_bps_per_bar=float(net_T.mean()) * 1e4,
        sharpe=float(net_T.mean()) / spread * (len(net_T) / years) ** 0.5 if spread else None,
        sharpe_error=years**-0.5,
        trades_per_bar=float(np.abs(np.diff(position_T, prepend=0)).mean()),
    )


@njit
def net_returns(position_T: NDArray[np.int64], return_T: Floats, cost_T: Floats) -> Floats:
    """Return what positions earn in the bars that follow, each change paid for; starts flat."""
    net_T = np.empty(position_T.shape[0])
    held = 0
    for t in range(position_T.shape[0]):
        net_T[t] = position_T[t] * return_T[t] - cost_T[t] * abs(position_T[t] - held)
        held = position_T[t]
    return net_T


def widen(agent: str, net: nn.Module, feature_count: int) -> nn.Module:
    """Return an agent for whole rows that answers as ``net`` does on the columns it sees.

    The layers that read the input get zero weights for what an agent was not taught with: the
    features, and the posterior, which was the same in every row and so becomes part of the bias.
    All others are copied.
    """
    wide = build_agent(agent, feature_count + EXTRA_COUNT + HELD_COUNT)
    narrow_weights, wide_weights = net.state_dict(), wide.state_dict()
    folded: dict[str, torch.Tensor] = {}
    for name, weight in narrow_weights.items():
        if weight.shape == wide_weights[name].shape:
            wide_weights[name] = weight.clone()
        else:
            padded = torch.zeros_like(wide_weights[name])
            padded[:, feature_count + len(REGIMES) :] = weight[:, len(REGIMES) :]
            wide_weights[name] = padded
            bias_name = name.removesuffix("weight") + "bias"
            neutral_K = torch.full((len(REGIMES),), 1.0 / len(REGIMES))
            folded[bias_name] = weight[:, : len(REGIMES)] @ neutral_K
    for name, shift in folded.items():
        wide_weights[name] = wide_weights[name] + shift
    wide.load_state_dict(wide_weights)
    return wide.eval()


def widen_team(learners: Mapping[str, Learner], feature_count: int) -> list[nn.Module]:
    """Return the five agents for whole rows, in their order."""
    return [widen(agent, learners[agent].net, feature_count) for agent in AGENTS]


def embed(net: nn.Module, inputs: int, feature_count: int) -> nn.Module:
    """Return a copy for whole rows of a network that saw the first features of a row alone.

    ``inputs`` is the width that it was taught on, a state of ``strategy.learning.market_tape``; the
    features left out there get no weight.
    """
    whole = feature_count + EXTRA_COUNT + HELD_COUNT
    kept = inputs - EXTRA_COUNT - HELD_COUNT
    wide = copy.deepcopy(net)
    for module in list(wide.modules()):
        first = getattr(module, "first", None)
        if not isinstance(first, nn.Linear) or first.in_features != inputs:
            continue
        layer = nn.Linear(whole, first.out_features)
        with torch.no_grad():
            layer.weight.zero_()
            layer.weight[:, :kept] = first.weight[:, :kept]
            layer.weight[:, feature_count:] = first.weight[:, kept:]
            layer.bias.copy_(first.bias)
        module.add_module("first", layer)
    return wide.eval()


def recipe_of(
    prepared: Prepared,
    history: History,
    agents: Sequence[nn.Module],
    *,
    name: str,
    status: str,
    created_ns: int,
    expires_ns: int | None,
    provenance: Mapping[str, str],
) -> Recipe:
    """Return the bundle's recipe: trained agents, a silent regime correction, equal predictions.

    ``agents`` answer to whole rows, in the order of ``kernels.events.AGENTS``.
    """
    plan, feature_count = prepared.plan, len(history.feature_names)
    step = max(1, len(prepared.rows_TF) // GOLDEN_SAMPLE)
    obs_BF = np.ascontiguousarray(prepared.rows_TF[::step][:GOLDEN_SAMPLE])
    held_BA = drawn_positions(len(obs_BF), len(AGENTS), plan.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        regimes = MarketRegimeClassifier(feature_count, len(REGIMES)).eval()
        predictor = PerformancePredictor(obs_BF.shape[1], len(REGIMES), len(AGENTS)).eval()
    silence_regimes(regimes)
    with torch.no_grad():
        predictor.out.weight.zero_()
        predictor.out.bias.zero_()
        temperatures = []
        for place, agent in enumerate(agents):
            seen_BF = seen_by(torch.from_numpy(obs_BF), torch.from_numpy(held_BA)[:, place])
            preference_B3 = agent(seen_BF)
            centred_B3 = preference_B3 - preference_B3.mean(dim=1, keepdim=True)
            temperatures.append(max(float(centred_B3.std()), TEMPERATURE_MIN))
    ensemble = ComposedEnsemble(agents, regimes, predictor, torch.tensor(temperatures)).eval()
    return Recipe(
        name=name,
        status=status,
        seed=plan.seed,
        created_ns=created_ns,
        expires_ns=expires_ns,
        feature_names=history.feature_names,
        normalisation=prepared.normalisation,
        bar_interval_ms=history.interval_ns // 1_000_000,
        agent_names=AGENTS,
        regime_names=REGIMES,
        ensemble=ensemble,
        obs_BF=obs_BF,
        held_BA=held_BA,
        tables={
            **prepared.fitted.forecast.to_tables(),
            **shipped_tables(),
            **fit_strangeness(prepared.rows_TF[:, :feature_count]).to_tables(),
        },
        provenance=provenance,
        has_parts=True,
    )


def use_one_thread() -> None:
    """Give torch one thread: on products this small a second one only waits for the first."""
    torch.set_num_threads(1)
