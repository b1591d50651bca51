"""Trading worlds: the daemon's own ledger to the last digit, one bill, seeded, ended."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as drawn

from strategy.evaluation.execution import Costs, holding_returns, trading_costs
from strategy.learning.environment import TradingWorlds, WorldRules
from strategy.learning.market_tape import MarketTape, tapes_of
from strategy.learning.training import TrainingPlan, prepare
from strategy.learning.world_steps import drawn_frac, fee_e8
from tests.fakes.drawn_tape import small_tape
from tests.naive.naive_worlds import NaiveWorld
from tests.strategy.learning.test_training import make_history

FREE = Costs(
    fee_frac=0.0, half_spread_frac=0.0, slippage_frac=0.0, funding_frac=0.0, half_ticks=0.0
)

RULES = drawn.builds(
    WorldRules,
    costs=drawn.builds(
        Costs,
        fee_frac=drawn.floats(0.0, 0.01),
        half_spread_frac=drawn.floats(0.0, 0.005),
        slippage_frac=drawn.floats(0.0, 0.005),
        funding_frac=drawn.floats(-0.01, 0.01),
        half_ticks=drawn.sampled_from([0.0, 1.0, 4.0]),
    ),
    wallet_quote=drawn.floats(10.0, 1e5),
    position_frac=drawn.floats(0.001, 3.0),
    is_short_allowed=drawn.booleans(),
    delay_bars=drawn.integers(0, 4),
    episode_bars=drawn.integers(1, 30),
    ruin_frac=drawn.floats(0.0, 0.95),
    notional_min_quote=drawn.sampled_from([0.0, 5.0, 2_000.0]),
    cost_factor_min=drawn.floats(0.3, 1.0),
    cost_factor_max=drawn.floats(1.0, 3.0),
)


@settings(max_examples=25)
@given(
    rules=RULES,
    seed=drawn.integers(0, 2**40),
    bars=drawn.integers(3, 40),
    volatility=drawn.sampled_from([0.001, 0.02, 0.2]),
    half_tick=drawn.sampled_from([0.0, 0.001]),
)
def test_worlds_are_the_daemons_ledger(
    rules: WorldRules, seed: int, bars: int, volatility: float, half_tick: float
) -> None:
    """Every world equals a plain account on ``Ledger``: equity, fees and ends, exactly."""
    tape = small_tape(bars, seed % 1_000, volatility=volatility, half_tick=half_tick)
    worlds = TradingWorlds(tape, 3, rules, seed=seed)
    worlds.reset()
    twins = [
        NaiveWorld(tape, rules, int(bar), float(factor))
        for bar, factor in zip(worlds.bar_W, worlds.cost_factor_W, strict=True)
    ]
    generator = np.random.default_rng(seed)
    for _ in range(40):
        action_W = generator.integers(0, 3, 3)
        moved = worlds.step(action_W)
        for w, twin in enumerate(twins):
            reward, is_ruined, is_over = twin.step(int(action_W[w]))
            assert moved.reward_W[w] == reward
            assert (moved.terminated_W[w], moved.truncated_W[w]) == (is_ruined, is_over)
            if is_ruined or is_over:
                held = int(np.sign(twin.ledger.position_lots(0)))
                check_state(tape, moved.final_WF[w], twin.bar, held)
                bar, factor = int(worlds.bar_W[w]), float(worlds.cost_factor_W[w])
                twins[w] = twin = NaiveWorld(tape, rules, bar, factor)
            assert round(worlds.equity_quote_W[w] * 1e8) == twin.ledger.equity_quote_e8
            assert worlds.position_lots_W[w] == twin.ledger.position_lots(0)
            assert round(worlds.fees_quote_W[w] * 1e8) == twin.ledger.fees_quote_e8
            check_state(tape, moved.obs_WF[w], twin.bar, int(np.sign(worlds.position_lots_W[w])))


def check_state(tape: MarketTape, state_F: np.ndarray, bar: int, held: int) -> None:
    """Hold a state against its row and position."""
    np.testing.assert_array_equal(state_F[:-3], tape.rows_TM[bar])
    np.testing.assert_array_equal(state_F[-3:], np.eye(3)[held + 1])


def test_the_bill_is_that_of_the_evaluation() -> None:
    """Rewards are the back-test's net returns: same fee, spread, slippage and funding."""
    # a whole tick of this tape: fills lie on its grid, the bill's fractions do not
    costs = Costs(half_spread_frac=5e-5, slippage_frac=5e-5, funding_frac=3e-4)
    # the market's own step is wider than that in half of all bars
    tape = small_tape(400, 5, volatility=0.0005)
    tape.half_tick_T[::2] = 3e-4
    rules = WorldRules(costs=costs, episode_bars=10_000, position_frac=0.01)
    worlds = TradingWorlds(tape, 1, rules)
    worlds.reset()
    action_T = np.random.default_rng(2).integers(0, 3, 399)
    reward_T = np.array([worlds.step(action_T[t : t + 1]).reward_W[0] for t in range(399)])
    position_T = np.asarray((action_T - 1) * rules.position_frac, np.float64)
    price_T = np.diff(tape.price_ticks_T) / tape.price_ticks_T[:-1]
    gross_T = position_T * holding_returns(price_T, 3_600.0, costs.funding_frac)
    trade_frac_T = costs.trade_fracs(tape.half_tick_T[:-1])
    wanted_T = gross_T - trading_costs(position_T, trade_frac_T)
    # a position bought once drifts with the price, which a share of equity does not
    assert reward_T.sum() == pytest.approx(wanted_T.sum(), rel=0.01)
    paid = WorldRules(costs=FREE, episode_bars=10_000, position_frac=0.01)
    free = TradingWorlds(tape, 1, paid)
    free.reset()
    free_T = np.array([free.step(action_T[t : t + 1]).reward_W[0] for t in range(399)])
    crossed = trading_costs(position_T, trade_frac_T).sum()
    funded = (tape.crossings_T[:-1] * position_T * costs.funding_frac).sum()
    assert (free_T - reward_T).sum() == pytest.approx(crossed + funded, rel=0.01)


def test_equal_seeds_give_equal_worlds_whatever_their_number() -> None:
    """A world depends on the seed and its own number; other seeds begin elsewhere."""
    tape = small_tape(3_000, 1)
    rules = WorldRules(episode_bars=20, cost_factor_min=0.5, cost_factor_max=3.0)
    few, many = TradingWorlds(tape, 4, rules, seed=9), TradingWorlds(tape, 64, rules, seed=9)
    few.reset()
    many.reset()
    action_TW = np.random.default_rng(3).integers(0, 3, (50, 64))
    for action_W in action_TW:
        one, other = few.step(action_W[:4]), many.step(action_W)
        np.testing.assert_array_equal(one.obs_WF, other.obs_WF[:4])
        np.testing.assert_array_equal(one.reward_W, other.reward_W[:4])
    first = many.reset().copy()
    np.testing.assert_array_equal(many.reset(), first)
    assert (many.reset(seed=10) != first).any()
    many.reset(first_bar=7)
    assert set(many.bar_W.tolist()) == {7}
    with pytest.raises(ValueError, match="row 2999"):
        many.reset(first_bar=2_999)


def test_beginnings_are_spread_evenly() -> None:
    """Episodes begin anywhere on the tape, costs are drawn within their bounds, independently."""
    drawn_2N = np.array(
        [[drawn_frac(7, w, e, s) for w in range(200) for e in range(50)] for s in (0, 1)]
    )
    for drawn_N in drawn_2N:
        counts_20 = np.histogram(drawn_N, 20, (0.0, 1.0))[0]
        assert ((counts_20 - 500) ** 2 / 500).sum() < 60
    assert abs(np.corrcoef(drawn_2N)[0, 1]) < 0.04


def test_ruin_ends_and_time_cuts_off() -> None:
    """A market that halves at every bar ruins who is long, and whoever is flat only runs out."""
    tape = small_tape(12, 0, volatility=0.0, drift=-0.7)
    worlds = TradingWorlds(tape, 2, WorldRules(episode_bars=3, ruin_frac=0.6))
    worlds.reset()
    first = worlds.step(np.array([2, 1]))
    assert first.terminated_W.tolist() == [True, False]
    assert not first.truncated_W.any()
    worlds.step(np.array([1, 1]))
    assert worlds.step(np.array([1, 1])).truncated_W.tolist() == [False, True]


def test_fees_are_cut_as_the_exchange_cuts_them() -> None:
    """Whole and rest apart give the exact product, also where it would not fit."""
    for notional_e8 in (1, 99_999_999, 123_456_789_012_345, 9 * 10**17):
        assert fee_e8(notional_e8, 50_000) == notional_e8 * 50_000 // 10**8


def test_what_cannot_be_played_is_refused() -> None:
    """Rules without sense, actions that do not exist, steps before a beginning."""
    tape = small_tape(10, 0)
    with pytest.raises(ValueError, match="position_frac"):
        WorldRules(position_frac=0.0)
    with pytest.raises(ValueError, match="cost factors"):
        WorldRules(cost_factor_min=2.0)
    worlds = TradingWorlds(tape, 2)
    with pytest.raises(ValueError, match="reset opens"):
        worlds.step(np.zeros(2, np.int64))
    worlds.reset()
    for wrong in ([0, 3], [-1, 0], [0]):
        with pytest.raises(ValueError, match="actions"):
            worlds.step(np.array(wrong))
    with pytest.raises(ValueError, match="not finite"):
        MarketTape(
            rows_TM=np.full((10, 2), np.nan, np.float32),
            price_ticks_T=tape.price_ticks_T,
            half_tick_T=tape.half_tick_T,
            crossings_T=tape.crossings_T,
            close_ns_T=tape.close_ns_T,
            interval_ns=1,
        )


def test_a_tape_is_a_live_row() -> None:
    """Features that fit, the filter's posterior, forecasts; the judged block begins after a gap."""
    history = make_history()
    prepared = prepare(history, TrainingPlan())
    taught, judged = tapes_of(history, prepared, 50)
    assert taught.input_count == judged.input_count == 50
    np.testing.assert_array_equal(taught.rows_TM[:, :38], prepared.rows_TF[:, :38])
    np.testing.assert_allclose(taught.rows_TM[:, 38:45].sum(axis=1), 1.0, atol=1e-5)
    assert taught.rows_TM[:, 38:45].std(axis=0).max() > 0.0
    np.testing.assert_array_equal(taught.rows_TM[:, 45:], prepared.rows_TF[:, -2:])
    np.testing.assert_array_equal(judged.rows_TM[:, 45:], prepared.judged_rows_TF[:, -2:])
    assert judged.close_ns_T[0] - taught.close_ns_T[-1] == 201 * taught.interval_ns
    np.testing.assert_array_equal(taught.half_tick_T, history.half_tick_T[: len(taught)])
    grown_T = np.diff(np.log(taught.price_ticks_T))
    np.testing.assert_allclose(grown_T, history.return_T[: len(taught) - 1], atol=2e-5)
    assert taught.crossings_T[:-1].sum() * 8 == pytest.approx(len(taught), abs=8)
    with pytest.raises(ValueError, match="12 to 62"):
        tapes_of(history, prepared, 63)
