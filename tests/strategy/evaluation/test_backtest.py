"""The back-test decides as the daemon does, pays for it, and never looks ahead."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import numpy as np
import pytest

from config.settings import MetaLearningSettings
from kernels.events import REGIMES
from strategy.bundle import load
from strategy.controllers import CONTROLLER_NAMES
from strategy.ensemble import combine
from strategy.evaluation.backtest import (
    Backtest,
    Listening,
    MismatchError,
    Plan,
    decide,
    expert_positions,
    listen,
    rebalancing,
    trade,
)
from strategy.evaluation.execution import Costs, SizeRule, held_positions
from strategy.evaluation.streaming import differing_rows, stream
from strategy.evaluation.truncation import truncation_leaks
from strategy.learning.bar_history import History, history_of
from strategy.learning.forecasts import Forecast
from strategy.residual_model import ResidualModel
from strategy.runtime import Runtime
from strategy.shadow_accounts import ShadowAccounts
from strategy.shipped_filter import shipped_tables
from tests.fakes.small_bundle import FEATURE_NAMES, small_recipe
from tests.strategy.learning.test_training import HOUR_NS, bars_of

BARS = 700
NO_COSTS = Costs(
    fee_frac=0.0, half_spread_frac=0.0, slippage_frac=0.0, funding_frac=0.0, half_ticks=0.0
)


def forecast_tables() -> dict[str, np.ndarray]:
    """Return a forecast that says something, and the shipped regime filter."""
    weight_F = np.random.default_rng(8).normal(0.0, 0.3, len(FEATURE_NAMES))
    forecast = Forecast(
        weight_F=weight_F,
        scale=0.5,
        slow_scale=0.2,
        decay=0.9,
        slope=1.0,
        reward_2=np.array([0.02, 0.05]),
    )
    return {**forecast.to_tables(), **shipped_tables()}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """Return a small untrained bundle for hourly bars, compiled, with a forecast and a filter."""
    from strategy.archive import write_bundle

    path = tmp_path_factory.mktemp("backtest") / "small"
    write_bundle(path, small_recipe(bar_interval_ms=3_600_000, tables=forecast_tables()))
    return Runtime(load(path, FEATURE_NAMES, now_ns=0), form="compiled")


def history_with(
    open_ns_T: np.ndarray, prices_T4: np.ndarray, volume_T: np.ndarray, ns: int = HOUR_NS
) -> History:
    return history_of(
        open_ns_T,
        prices_T4,
        volume_T,
        interval_ns=ns,
        feature_names=FEATURE_NAMES,
        half_spread_frac=1e-4,
    )


@pytest.fixture(scope="module")
def history() -> History:
    """Return drawn hours, forty of them missing."""
    bars = bars_of(seed=5, bars=BARS)
    keep_T = np.ones(BARS, np.bool_)
    keep_T[400:440] = False
    open_ns_T, prices_T4, volume_T = (part[keep_T] for part in bars)
    return history_with(open_ns_T, prices_T4, volume_T)


@pytest.fixture(scope="module")
def listening(runtime: Runtime, history: History) -> Listening:
    """Ask the bundle once."""
    return listen(runtime, history)


@pytest.fixture(scope="module")
def run(listening: Listening) -> Backtest:
    """Trade once as planned by default."""
    return trade(listening, Plan())


def test_decides_as_the_daemon_does(
    runtime: Runtime, history: History, listening: Listening, run: Backtest
) -> None:
    """The live classes, asked bar by bar, give the same votes, weights, and exposure."""
    followed, rows = run.followed, len(run)
    streamed = stream(runtime, history, MetaLearningSettings(), run.trade_frac_T, rows)
    assert differing_rows(streamed, followed.weight_TN, followed.action_TN) == 0
    for t in range(0, rows, 20):
        sure_N = np.concatenate((listening.heard.confidence_TA[t], np.ones(3, np.float32)))
        target = combine(followed.action_TN[t], followed.weight_TN[t], sure_N, 1.0, 5)
        assert followed.exposure_T[t] == pytest.approx(target.exposure, abs=1e-12)
        assert followed.disagreement_T[t] == pytest.approx(target.disagreement, abs=1e-12)
        assert followed.confidence_T[t] == pytest.approx(target.confidence, abs=1e-12)
    assert rows > 500
    assert np.ptp(followed.weight_TN, axis=0).max() > 0.01
    assert (followed.action_TN[:, :5] != 1).mean() > 0.2
    other_TN = followed.action_TN.copy()
    other_TN[17, 2] = (other_TN[17, 2] + 1) % 3
    assert differing_rows(streamed, followed.weight_TN, other_TN) == 1


def test_size_is_cut_by_how_well_returns_are_foretold(
    history: History, listening: Listening, run: Backtest
) -> None:
    """The accounts' own interval, fed bar by bar, and the whole of trust is the three factors."""
    accounts, begin = ShadowAccounts(1), 0
    for t in range(len(run)):
        for return_frac in history.bars_M3[begin : history.bar_end_T[t], 0].tolist():
            accounts.scale_by(return_frac)
        begin = history.bar_end_T[t]
        assert run.followed.calibration_T[t] == accounts.calibration_frac
    rows = slice(0, len(run))
    agreed_T = 1.0 - run.followed.disagreement_T[rows]
    trust_T = listening.known_T[rows] * agreed_T * run.followed.calibration_T[rows]
    np.testing.assert_array_equal(run.trust_T, trust_T)
    assert run.followed.calibration_T.min() < 0.9


def test_residual_network_is_heard_live_and_in_batch(
    runtime: Runtime, history: History, listening: Listening, run: Backtest
) -> None:
    """A bundle with a network weighs otherwise than without, and both ways of playing agree."""
    draws = np.random.default_rng(3)
    model = ResidualModel(
        into_MHF=draws.standard_normal((2, 4, 3 + len(REGIMES) + 1)),
        code_MNH=draws.standard_normal((2, 8, 4)),
        out_MH=draws.standard_normal((2, 4)),
        bias_M=draws.standard_normal(2),
        half_life_H=np.array([2.0, 8.0, 30.0]),
        window_bars=50,
        slope=0.8,
        oof_correlation=0.1,
    )
    heard = trade(replace(listening, residual=model), Plan()).followed
    other = copy(runtime)
    tables = {**runtime.bundle.tables, **model.to_tables()}
    other.bundle = replace(runtime.bundle, tables=tables)
    streamed = stream(other, history, MetaLearningSettings(), run.trade_frac_T, 300)
    assert differing_rows(streamed, heard.weight_TN, heard.action_TN) == 0
    assert differing_rows(streamed, run.followed.weight_TN, heard.action_TN) > 200


def test_money_adds_up_in_a_loop_by_hand(run: Backtest, history: History) -> None:
    """Gross, costs and funding of every bar, from closes and positions alone."""
    costs, held, equity = run.plan.costs, 0.0, 1.0
    for t, position in enumerate(run.position_T.tolist()):
        price_return = history.close_T[t + 1] / history.close_T[t] - 1.0
        earned = position * (price_return - costs.funding_frac / 8.0)
        half = max(costs.half_spread_frac, history.half_tick_T[t])
        paid = (costs.fee_frac + half + costs.slippage_frac) * abs(position - held)
        held, equity = position, equity * (1.0 + earned - paid)
        assert run.net_T[t] == pytest.approx(earned - paid, abs=1e-15)
        assert run.equity_T[t] == pytest.approx(equity, rel=1e-12)
    assert run.cost_T.sum() > 0.0
    assert (np.abs(run.position_T) <= run.plan.size.share_max + 1e-12).all()


def test_no_decision_knows_a_later_bar(runtime: Runtime) -> None:
    """Without the bars after a cut every earlier position is the same, bit for bit."""
    open_ns_T, prices_T4, volume_T = bars_of(seed=6, bars=500)
    known_TF = np.column_stack((open_ns_T // HOUR_NS, prices_T4, volume_T))

    def positions(known_TF: np.ndarray) -> np.ndarray:
        hours_T = known_TF[:, 0].astype(np.int64) * HOUR_NS
        part = history_with(hours_T, known_TF[:, 1:5], known_TF[:, 5])
        made = decide(listen(runtime, part), Plan())
        position_T = made.positions(Plan())
        warm = len(known_TF) - len(position_T)
        rows_TK = np.column_stack((position_T, made.followed.weight_TN))
        return np.vstack((np.full((warm, rows_TK.shape[1]), np.nan), rows_TK))

    assert truncation_leaks(positions, known_TF, [300, 421, 499]) == ()
    whole_TK = positions(known_TF)
    assert np.isfinite(whole_TK[-1]).all()
    assert np.abs(whole_TK[-200:, 0]).max() > 0.0


def test_the_mixture_keeps_its_bound(run: Backtest) -> None:
    """Log wealth of what was played is the log of the candidates' mean wealth, to rounding."""
    followed = run.followed
    mixed = np.logaddexp.reduce(followed.log_wealth_J)
    assert followed.log_wealth_T[-1] == pytest.approx(mixed, abs=1e-9)
    played_T = np.sum(followed.weight_TN[:-1] * followed.paid_TN[1:], axis=1)
    own = np.log1p(followed.kappa * played_T)[followed.is_learned_T[1:]].sum()
    assert followed.log_wealth_T[-1] == pytest.approx(own, abs=1e-9)


def test_what_is_left_out_carries_nothing(listening: Listening, run: Backtest) -> None:
    """A dropped agent has neither weight nor target; without regimes the weights differ."""
    without = trade(listening, Plan(dropped=("ppo",)))
    place = without.agent_names.index("ppo")
    assert not without.followed.weight_TN[:, place].any()
    assert not without.target_TA[:, place].any()
    no_crisis = trade(listening, Plan(dropped_regime="crisis"))
    assert not np.array_equal(no_crisis.followed.weight_TN, run.followed.weight_TN)
    blind = trade(listening, Plan(is_regime_known=False))
    assert not np.array_equal(blind.followed.weight_TN, run.followed.weight_TN)
    with pytest.raises(MismatchError, match="no agent 'dqn'"):
        trade(listening, Plan(dropped=("dqn",)))
    assert set(expert_positions(run, "momentum").tolist()) <= {-1.0, 0.0, 1.0}
    assert not expert_positions(run, CONTROLLER_NAMES[0]).any()
    with pytest.raises(KeyError):
        expert_positions(run, "nobody")


def test_no_spread_is_narrower_than_the_price_step(runtime: Runtime) -> None:
    """In cents at 4 quote a trade costs half a cent more; live and batch know it alike."""
    open_ns_T, prices_T4, volume_T = bars_of(seed=6, bars=500)
    cents_T4 = np.round(prices_T4 / np.median(prices_T4) * 4.0, 2)
    coarse = history_with(open_ns_T, cents_T4, volume_T)
    listening = listen(runtime, coarse)
    run = trade(listening, Plan())
    fine = Costs().trade_frac - Costs().half_spread_frac
    np.testing.assert_allclose(run.trade_frac_T, fine + 0.005 / coarse.close_T[:-1], rtol=1e-9)
    moved_T = np.abs(np.diff(run.position_T, prepend=0.0))
    np.testing.assert_array_equal(run.cost_T, run.trade_frac_T * moved_T)
    streamed = stream(runtime, coarse, MetaLearningSettings(), run.trade_frac_T, 100)
    assert differing_rows(streamed, run.followed.weight_TN, run.followed.action_TN) == 0
    deaf = trade(listening, Plan(costs=Costs(half_ticks=0.0)))
    np.testing.assert_array_equal(deaf.trade_frac_T, Costs().trade_frac)
    doubled_T = Costs().times(2.0).trade_fracs(listening.half_tick_T[:-1])
    np.testing.assert_allclose(doubled_T, 2.0 * run.trade_frac_T)


def test_costs_cost_and_delay_delays(listening: Listening, run: Backtest) -> None:
    """Without costs nothing is paid; a delay of one bar shifts positions by one."""
    free = trade(listening, Plan(costs=NO_COSTS))
    assert not free.cost_T.any()
    late = trade(listening, Plan(delay_bars=1))
    np.testing.assert_array_equal(late.position_T[1:], run.position_T[:-1])
    assert late.position_T[0] == 0.0
    assert Costs().times(2.0).trade_frac == pytest.approx(2.0 * Costs().trade_frac)
    with pytest.raises(ValueError, match="fee_frac"):
        Costs(fee_frac=-1e-4)
    with pytest.raises(ValueError, match="half_ticks"):
        Costs(half_ticks=-1.0)
    with pytest.raises(ValueError, match="funding_frac"):
        Costs(funding_frac=0.5)


def test_small_changes_are_left_and_flips_stop_at_flat() -> None:
    """The daemon's rule of trading, on a path of wishes."""
    wanted_T = np.array([0.5, 0.55, 0.65, -0.4, -0.4, 0.01, 0.0])
    held_T = held_positions(wanted_T, np.ones(7), 0.1)
    np.testing.assert_allclose(held_T, [0.5, 0.5, 0.65, 0.0, -0.4, 0.0, 0.0])
    with pytest.raises(ValueError, match="hysteresis"):
        held_positions(wanted_T, np.ones(7), 2.0)


def test_rebalancing_is_what_the_band_bears_on(listening: Listening) -> None:
    """By hand over the bars; the band saves turnover, and without one nothing is saved."""
    banded = trade(listening, Plan())
    size = replace(Plan().size, hysteresis_frac=0.0)
    free = trade(listening, replace(Plan(), size=size))
    years = len(free) * free.bar_ns / (365.25 * 86_400e9)
    traded = float(np.abs(np.diff(free.position_T, prepend=0.0)).sum() / years)
    found = rebalancing(banded)
    assert found.without_band == pytest.approx(traded)
    assert rebalancing(free).without_band == pytest.approx(traded)
    assert np.abs(np.diff(banded.position_T, prepend=0.0)).sum() / years < 0.95 * traded
    asked, followed = 0.0, banded.followed
    for t in range(1, len(banded)):
        change_N = followed.weight_TN[t] - followed.weight_TN[t - 1]
        vote_N = np.where(followed.action_TN[t - 1] < 0, 0, followed.action_TN[t - 1] - 1)
        asked += abs(float(change_N @ vote_N)) * banded.trust_T[t] * banded.size_T[t]
    assert found.by_weights == pytest.approx(asked / years)
    assert 0.0 < found.by_weights < found.without_band


def test_sizes_shrink_where_the_market_is_wild() -> None:
    """Volatility target over volatility, at most the base share; the unknown cuts nothing."""
    size_T = SizeRule(share_max=0.25, volatility_target_frac=0.2).sizes(np.array([0.0, 0.4, 2.0]))
    np.testing.assert_allclose(size_T, [0.25, 0.25, 0.1])


def test_what_does_not_belong_together_is_refused(runtime: Runtime) -> None:
    """Other bars than those of the training, and other features."""
    open_ns_T, prices_T4, volume_T = bars_of(seed=6, bars=400)
    other = history_with(open_ns_T // 2, prices_T4, volume_T, ns=HOUR_NS // 2)
    with pytest.raises(MismatchError, match="trained on bars of 3600 s, these last 1800 s"):
        listen(runtime, other)
    wider = history_of(
        open_ns_T,
        prices_T4,
        volume_T,
        interval_ns=HOUR_NS,
        feature_names=FEATURE_NAMES[:7],
        half_spread_frac=1e-4,
    )
    with pytest.raises(MismatchError, match="other features"):
        listen(runtime, wider)


def test_script_and_kernel_walk_alike(runtime: Runtime, history: History) -> None:
    """A bundle that has no compiled form is asked row by row and wants the same."""
    width = runtime.bundle.observation_count
    rows_TF = np.random.default_rng(3).normal(size=(40, width)).astype(np.float32)
    rows_TF[7, 0] = np.nan
    script, held_A, other_A = Runtime(runtime.bundle), np.ones(5, np.int64), np.ones(5, np.int64)
    one, two = runtime.walk(rows_TF, held_A), script.walk(rows_TF, other_A)
    np.testing.assert_array_equal(one.action_BA, two.action_BA)
    np.testing.assert_array_equal(one.healthy_BA, two.healthy_BA)
    np.testing.assert_array_equal(held_A, other_A)
    assert not one.healthy_BA[7].any()
    assert one.regime_BK.shape == (40, len(REGIMES))
