"""The ensemble beside others on the same test bars: rivals, other costs, missing parts.

All begin flat at the first test bar, are sized alike, trade by the same rule and pay the same
costs. What came before teaches: the meta-learner, OAMP, and which agent was best. The ensemble's
own distrust of strange features and of quarrelling agents makes its position smaller than a rival's
at the same vote; a Sharpe ratio does not see that. The trend that momentum follows is that of a
held unit, funding included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kernels.events import REGIMES
from strategy.evaluation.backtest import (
    Backtest,
    Listening,
    Plan,
    decide,
    expert_positions,
    settle,
    trade,
)
from strategy.evaluation.contests import superior_p
from strategy.evaluation.figures import Activity, Metrics, activity, measure
from strategy.evaluation.inference import (
    Interval,
    difference_interval,
    drawer,
    sharpe_interval,
)
from strategy.evaluation.rivals import RivalPath, Stage, follow, rivals

Floats = NDArray[np.float64]

ENSEMBLE, EQUAL, BAND_ALONE = "ensemble", "equal weight", "no-trade band alone"
COST_FACTORS = (0.5, 1.0, 2.0, 4.0)
DELAYS_BARS = (0, 1, 3)
START_FRACS = (0.0, 0.125, 0.25, 0.375)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One strategy: what it did, its Sharpe with an interval, and the ensemble's lead over it.

    ``lead`` is the paired difference of annual Sharpe, ensemble less this one; ``spa_p`` the chance
    of so large a lead in mean return without any; both None for the ensemble itself.
    """

    name: str
    is_tradable: bool
    sharpe: Interval | None
    lead: Interval | None
    spa_p: float | None
    metrics: Metrics
    activity: Activity


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """The ensemble under other circumstances.

    ``lead`` is that over equal weight in the same circumstances, ``change`` the variant less the
    ensemble as planned; paired differences of annual Sharpe.
    """

    name: str
    sharpe: Interval | None
    lead: Interval | None
    change: Interval | None
    total_return: float
    cost_frac: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Match:
    """A run with its stage and the paths that are compared; ``paths`` begins with the ensemble."""

    run: Backtest
    stage: Stage
    paths: tuple[RivalPath, ...]

    def path(self, name: str) -> RivalPath:
        """Return one of the paths; KeyError for an unknown name."""
        for path in self.paths:
            if path.name == name:
                return path
        raise KeyError(name)

    def net(self, name: str) -> Floats:
        """Return the net returns of one of the paths; KeyError for an unknown name."""
        return self.path(name).net_T


def stage_of(run: Backtest, training_bars: int) -> Stage:
    """Return the stage that a run played on; the first bars teach and do not judge."""
    scale_T = run.followed.scale_T[: len(run)]
    return Stage(
        names=run.agent_names,
        return_T=run.return_T,
        target_TN=run.target_TA,
        size_T=run.size_T,
        deviation_T=np.where(scale_T > 0.0, scale_T, 1.0),
        cost_frac_T=run.trade_frac_T,
        bar_s=run.bar_ns / 1e9,
        training_bars=training_bars,
        hysteresis_frac=run.plan.size.hysteresis_frac,
    )


def ensemble_path(run: Backtest, stage: Stage) -> RivalPath:
    """Return the ensemble's own path over the test bars, from flat."""
    held_T = run.position_T[stage.training_bars :]
    return follow(ENSEMBLE, held_T, replace(stage, hysteresis_frac=0.0))


def match(run: Backtest, training_bars: int) -> Match:
    """Put the ensemble beside every rival, the agents and the rule alone."""
    stage = stage_of(run, training_bars)
    test = slice(training_bars, None)
    alone = [
        follow(f"{name} alone", (stage.size_T * stage.target_TN[:, place])[test], stage)
        for place, name in enumerate(run.agent_names)
    ]
    rule_T = expert_positions(run, "no_trade_band")
    alone.append(follow(BAND_ALONE, (stage.size_T * rule_T)[test], stage))
    return Match(run=run, stage=stage, paths=(ensemble_path(run, stage), *rivals(stage), *alone))


def standing(path: RivalPath, found: Match, seed: int) -> Standing:
    """Return one path's row; a function of the paths and the seed, whoever else is judged."""
    year_bars, own_T = found.run.year_bars, found.net(ENSEMBLE)
    is_own = path.name == ENSEMBLE
    draws = drawer(seed, "standing", path.name)
    return Standing(
        name=path.name,
        is_tradable=path.tradable,
        sharpe=sharpe_interval(path.net_T, year_bars, draws),
        lead=None if is_own else difference_interval(own_T, path.net_T, year_bars, draws),
        spa_p=None if is_own else superior_p(path.net_T, own_T[:, None], seed),
        metrics=measure(path.net_T, year_bars),
        activity=activity(path.position_T, path.gross_T, path.cost_T, year_bars),
    )


def variant(name: str, run: Backtest, base: Match, seed: int) -> tuple[Variant, Floats]:
    """Return the row of another run; net returns of it and of equal weight beside it (T, 2)."""
    stage = stage_of(run, base.stage.training_bars)
    own, year_bars = ensemble_path(run, stage), run.year_bars
    test = slice(stage.training_bars, None)
    equal = follow(EQUAL, (stage.size_T * stage.target_TN.mean(axis=1))[test], stage)
    draws = drawer(seed, "variant", name)
    row = Variant(
        name=name,
        sharpe=sharpe_interval(own.net_T, year_bars, draws),
        lead=difference_interval(own.net_T, equal.net_T, year_bars, draws),
        change=difference_interval(own.net_T, base.net(ENSEMBLE), year_bars, draws),
        total_return=float(np.prod(1.0 + own.net_T) - 1.0),
        cost_frac=float(own.cost_T.sum()),
    )
    return row, np.column_stack((own.net_T, equal.net_T))


def cost_run(listening: Listening, plan: Plan, factor: float) -> Backtest:
    """Return the run at a multiple of all costs; the meta-learner learns with them too."""
    return trade(listening, replace(plan, costs=plan.costs.times(factor)))


def cost_runs(listening: Listening, plan: Plan) -> Iterator[tuple[str, Backtest]]:
    """Yield the run at each multiple of all costs."""
    for factor in COST_FACTORS:
        yield f"costs x {factor:g}", cost_run(listening, plan, factor)


def delay_runs(listening: Listening, plan: Plan) -> Iterator[tuple[str, Backtest]]:
    """Yield the run with orders filled later and later; decisions stay the same."""
    made = decide(listening, plan)
    for bars in DELAYS_BARS:
        changed = replace(plan, delay_bars=plan.delay_bars + bars)
        yield f"filled {bars} bars later", settle(listening, made, changed)


def ablation_runs(listening: Listening, plan: Plan) -> Iterator[tuple[str, Backtest]]:
    """Yield the run without each agent, without each regime, and without a part."""
    for name in listening.agent_names:
        yield f"without {name}", trade(listening, replace(plan, dropped=(name,)))
    for name in REGIMES:
        yield f"without regime {name}", trade(listening, replace(plan, dropped_regime=name))
    yield "regimes off", trade(listening, replace(plan, is_regime_known=False))
    blind = plan.meta.model_copy(update={"performance_prediction_enabled": False})
    yield "predictor off", trade(listening, replace(plan, meta=blind))


def controller_variant(base: Match, seed: int) -> Variant:
    """Return what the rule alone did: the forecast held by the no-trade band, no agent asked."""
    own = base.path(BAND_ALONE)
    year_bars, draws = base.run.year_bars, drawer(seed, "variant", BAND_ALONE)
    return Variant(
        name="RL off (no-trade band alone)",
        sharpe=sharpe_interval(own.net_T, year_bars, draws),
        lead=difference_interval(own.net_T, base.net(EQUAL), year_bars, draws),
        change=difference_interval(own.net_T, base.net(ENSEMBLE), year_bars, draws),
        total_return=float(np.prod(1.0 + own.net_T) - 1.0),
        cost_frac=float(own.cost_T.sum()),
    )


def start_variants(base: Match, seed: int) -> tuple[Variant, ...]:
    """Return the same path judged from later starts on."""
    own_T, equal_T, year_bars = base.net(ENSEMBLE), base.net(EQUAL), base.run.year_bars
    rows = []
    for frac in START_FRACS:
        draws = drawer(seed, "start", f"{frac}")
        part = slice(int(frac * len(own_T)), None)
        rows.append(
            Variant(
                name=f"from {frac:.1%} of the test on",
                sharpe=sharpe_interval(own_T[part], year_bars, draws),
                lead=difference_interval(own_T[part], equal_T[part], year_bars, draws),
                change=None,
                total_return=float(np.prod(1.0 + own_T[part]) - 1.0),
                cost_frac=float(base.paths[0].cost_T[part].sum()),
            )
        )
    return tuple(rows)
