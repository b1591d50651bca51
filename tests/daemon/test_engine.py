"""The engine: when it decides, what it refuses to decide on, and that it is a pure fold."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from config.safety import BreakerSettings
from config.settings import DecisionSettings, MetaLearningSettings
from daemon.effects import CancelAll, Decided, Note, SendOrder
from kernels.events import (
    Command,
    CommandName,
    DrainEnd,
    Side,
    Verdict,
)
from kernels.features import DEFAULT_FEATURE_NAMES
from risk.breaker import BreakerState, Trigger
from risk.reasons import DenialCode
from strategy.observation import Normalisation
from tests.fakes.scripted_engine import (
    HOLD,
    SELL,
    START,
    S,
    ScriptedJudge,
    fill_of,
    fold,
    make_engine,
    of,
    quote,
    second,
    status,
    warm,
)


def test_decides_once_a_bar_and_sends_through_the_gate() -> None:
    """A unanimous BUY becomes one approved buy order within the sizing."""
    engine = make_engine(ScriptedJudge())
    effects = warm(engine, 4)
    (send,) = of(effects, SendOrder)
    assert send.approved.intent.side is Side.BUY
    assert engine.decision_count == len(of(effects, Decided)) >= 1
    assert engine.desk.orders.open_orders()[0].client_order_id == send.client_order_id


def test_second_decision_waits_for_the_first_order() -> None:
    """While an order is in flight no second one is planned."""
    engine = make_engine(ScriptedJudge())
    effects = warm(engine, 8)
    assert len(of(effects, SendOrder)) == 1
    assert of(effects, Decided)[-1].outcome == "in_flight"


def test_fill_reaches_the_position_and_the_target_holds() -> None:
    """After the fill the position equals the target and nothing more is ordered."""
    engine = make_engine(ScriptedJudge())
    (send,) = of(warm(engine, 4), SendOrder)
    effects = fold(engine, fill_of(send, START + 4 * S - 5))
    for number in range(4, 8):
        effects += fold(engine, second(number))
    assert engine.desk.ledger.position_lots(0) == send.approved.intent.quantity_lots
    assert of(effects, SendOrder) == []
    assert of(effects, Decided)[-1].outcome == "hold"


@pytest.mark.parametrize("verdict", [v for v in Verdict if v is not Verdict.OK])
def test_no_decision_on_a_feed_that_is_not_ok(verdict: Verdict) -> None:
    """Every verdict but OK stops decisions, in words."""
    engine = make_engine(ScriptedJudge())
    warm(engine, 3)
    before = engine.decision_count
    fold(engine, [status(START + 3 * S, verdict)])
    effects = [e for n in range(3, 6) for e in fold(engine, second(n))]
    assert engine.decision_count == before
    assert engine.skip_counts[f"feed_{verdict.name.lower()}"] == 3
    assert [n.event for n in of(effects, Note)] == ["decision_skipped"]


def test_no_decision_on_data_that_waited_too_long() -> None:
    """An engine that lags behind its lanes does not trade on what it sees."""
    engine = make_engine(ScriptedJudge())
    warm(engine, 3)
    late = second(3)
    late[-1] = DrainEnd(received_ns=START + 4 * S, drained_count=3)
    assert of(fold(engine, late), Decided) == []
    assert engine.skip_counts["data_too_old"] == 1


def test_too_few_healthy_agents_abstain_and_reduce() -> None:
    """With the fallback on, an ensemble without weights goes flat and says so."""
    judge = ScriptedJudge()
    engine = make_engine(judge)
    (send,) = of(warm(engine, 4), SendOrder)
    fold(engine, fill_of(send, START + 4 * S - 5))
    judge.healthy_A[:3] = False
    effects = fold(engine, second(4))
    assert {n.event for n in of(effects, Note)} >= {"agent_unhealthy", "ensemble_abstained"}
    (reduction,) = of(effects, SendOrder)
    assert reduction.approved.intent.reduce_only
    assert reduction.approved.intent.side is Side.SELL


def test_without_the_fallback_an_abstaining_ensemble_keeps_the_position() -> None:
    """``emergency_fallback_enabled: false`` means hands off, and it is still said."""
    judge = ScriptedJudge()
    meta = MetaLearningSettings(emergency_fallback_enabled=False)
    engine = make_engine(judge, meta=meta)
    (send,) = of(warm(engine, 4), SendOrder)
    fold(engine, fill_of(send, START + 4 * S - 5))
    judge.healthy_A[:3] = False
    effects = fold(engine, second(4))
    assert "ensemble_abstained" in {n.event for n in of(effects, Note)}
    assert of(effects, SendOrder) == []


@pytest.mark.parametrize(
    ("policy", "lots_left", "state"),
    [
        ("hold", True, BreakerState.NORMAL),
        ("reduce", False, BreakerState.NORMAL),
        ("flatten", False, BreakerState.FLATTEN),
    ],
)
def test_model_that_raises_is_met_by_the_policy_within_one_decision(
    policy: Literal["hold", "reduce", "flatten"], lots_left: bool, state: BreakerState
) -> None:
    """The daemon goes on, the position is kept, reduced or closed at once, and it is said."""
    judge = ScriptedJudge()
    engine = make_engine(judge, breaker=BreakerSettings(model_failure_policy=policy))
    (send,) = of(warm(engine, 4), SendOrder)
    fold(engine, fill_of(send, START + 4 * S - 5))
    judge.raises = True
    effects = fold(engine, second(4)) + fold(engine, second(5))
    assert "model_failed" in {note.event for note in of(effects, Note)}
    assert engine.desk.breaker.state is state
    reductions = [order.approved.intent for order in of(effects, SendOrder)]
    assert bool(reductions) is not lots_left
    assert all(intent.reduce_only for intent in reductions)


def test_model_that_keeps_failing_ends_new_risk() -> None:
    """After enough decisions in a row without a model the breaker trips, and stays tripped."""
    judge = ScriptedJudge()
    engine = make_engine(judge, breaker=BreakerSettings(model_failures_max=3))
    warm(engine, 3)
    judge.raises = True
    for number in range(3, 6):
        fold(engine, second(number))
    assert engine.desk.breaker.state is BreakerState.REDUCE_ONLY
    assert engine.desk.breaker.trigger is Trigger.MODEL_FAILURE
    judge.raises = False
    effects = [effect for number in range(6, 9) for effect in fold(engine, second(number))]
    assert all(order.approved.intent.reduce_only for order in of(effects, SendOrder))


def test_halted_sends_nothing_and_stop_cancels_everything() -> None:
    """A halt by an operator ends orders; STOP ends decisions."""
    engine = make_engine(ScriptedJudge())
    warm(engine, 2)
    halt = Command(received_ns=START + 2 * S, name=CommandName.HALT, reason="test")
    assert of(fold(engine, [halt]), CancelAll)
    effects = [e for n in range(2, 6) for e in fold(engine, second(n))]
    assert of(effects, SendOrder) == []
    assert of(effects, Decided)[-1].outcome == "breaker"
    stop = Command(received_ns=START + 6 * S, name=CommandName.STOP, reason="test")
    assert of(fold(engine, [stop]), CancelAll)
    assert of(fold(engine, second(7)), Decided) == []


def test_flip_closes_first() -> None:
    """From long to short, the first order only closes."""
    judge = ScriptedJudge()
    engine = make_engine(judge)
    (send,) = of(warm(engine, 4), SendOrder)
    fold(engine, fill_of(send, START + 4 * S - 5))
    judge.action = SELL
    (closing,) = of(fold(engine, second(4)), SendOrder)
    assert closing.approved.intent.reduce_only
    assert closing.approved.intent.quantity_lots == send.approved.intent.quantity_lots


def test_reduce_only_breaker_never_adds() -> None:
    """In REDUCE_ONLY a BUY target from flat stays flat."""
    engine = make_engine(ScriptedJudge())
    warm(engine, 2)
    reduce = Command(received_ns=START + 2 * S, name=CommandName.REDUCE, reason="test")
    fold(engine, [reduce])
    effects = [e for n in range(2, 6) for e in fold(engine, second(n))]
    assert engine.desk.breaker.state is BreakerState.REDUCE_ONLY
    assert of(effects, SendOrder) == []


def test_event_trigger_decides_between_bars_with_a_gap() -> None:
    """With ``trigger: event`` market events decide, no closer than ``min_gap_ms``."""
    judge = ScriptedJudge(HOLD)
    decision = DecisionSettings(trigger="event", min_gap_ms=250, warm_up_bars=1)
    engine = make_engine(judge, decision=decision)
    warm(engine, 3)
    before = engine.decision_count
    for step in range(10):
        at_ns = START + 3 * S + step * S // 10
        fold(engine, [quote(at_ns), DrainEnd(received_ns=at_ns + 1, drained_count=1)])
    assert engine.decision_count - before == 4


def test_slow_judgement_takes_no_new_risk_until_a_quick_one() -> None:
    """Over 50 ms for the last judgement: the buy is denied for the model, then sent after all."""
    engine = make_engine(ScriptedJudge())
    events = [event for number in range(4) for event in second(number)]
    slow = [
        replace(event, judgement_ns=50_000_000 + 1) if isinstance(event, DrainEnd) else event
        for event in events
    ]
    effects = fold(engine, [status(START), *slow])
    assert of(effects, Decided)
    assert not of(effects, SendOrder)
    assert set(engine.desk.denied_counts) == {DenialCode.MODEL_NOT_OK.value}
    quick = [
        replace(event, judgement_ns=50_000_000) if isinstance(event, DrainEnd) else event
        for event in second(4)
    ]
    assert len(of(fold(engine, quick), SendOrder)) == 1


def test_size_falls_while_bars_are_wilder_than_foretold() -> None:
    """The decision itself takes less the moment that moves outgrow the deviation known before."""
    engine = make_engine(ScriptedJudge())
    warm(engine, 3)
    calm = [e for n in range(3, 60) for e in fold(engine, second(n, 600_000 + n % 2 * 10))]
    wild = [e for n in range(60, 70) for e in fold(engine, second(n, 600_000 + n % 2 * 200))]
    before, after = of(calm, Decided)[-1], of(wild, Decided)[-1]
    assert before.trust_frac > 0.9
    assert after.trust_frac < 0.5 * before.trust_frac
    assert 0.0 < after.exposure < 0.5 * before.exposure


def test_same_events_give_the_same_effects() -> None:
    """Two engines fed the same events are indistinguishable, bit for bit."""
    runs = []
    for _ in range(2):
        engine = make_engine(ScriptedJudge())
        effects = [str(effect) for effect in warm(engine, 3)]
        rng = np.random.default_rng(5)
        for number in range(3, 40):
            bid_ticks = 600_000 + int(rng.integers(-500, 500))
            effects += [str(effect) for effect in fold(engine, second(number, bid_ticks))]
        state = engine.markets[0].features.state.tobytes()
        runs.append((effects, state, engine.desk.ledger.state.tobytes()))
    assert runs[0] == runs[1]


def test_cold_features_enter_as_neutral() -> None:
    """Until a feature is warm the model sees the training mean, whatever its raw value says."""
    judge = ScriptedJudge(HOLD)
    engine = make_engine(judge)
    count = len(DEFAULT_FEATURE_NAMES)
    normalisation = Normalisation(mean_F=np.full(count, 3.0), scale_F=np.ones(count))
    object.__setattr__(engine.decider.rollout.active.model, "normalisation", normalisation)
    warm(engine, 4)
    cold_F = engine.markets[0].features.cold_F()
    assert 0 < cold_F.sum() < count
    assert np.all(judge.seen[-1][0, :count][cold_F] == 0.0)
    assert np.any(judge.seen[-1][0, :count][~cold_F] != 0.0)
    fold(engine, [event for number in range(4, 60) for event in second(number)])
    names = np.array(DEFAULT_FEATURE_NAMES)[engine.markets[0].features.cold_F()]
    assert 0 < len(names) < cold_F.sum(), "only what needs a depth book is still cold"
