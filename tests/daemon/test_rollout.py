"""The way of a model into the engine: stages, gates, rollback, and a replay that is exact."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from config.settings import MetaLearningSettings, ModelSettings, Settings
from daemon.decisions import UNNAMED, Decider
from daemon.effects import Decided, Effect, ModelMoved, SendOrder
from daemon.engine import Engine
from daemon.event_log import EventLog
from daemon.event_words import decode_state, encode
from daemon.replay import RecordedBundles, ReplayRefused, replay
from daemon.rollout import BundleName, Model, Rollout, Seat, Stage
from kernels.events import BundleOffered, BundleWithdrawn, Event
from strategy.runtime import Judgement
from strategy.shadow import Tally, action_shift
from tests.fakes.recorded_run import (
    INSTRUMENT,
    RUN_ID,
    SETTINGS,
    START_NS,
    WIDE,
    FeatureJudge,
    MemoryVenue,
    make_engine,
    make_facts,
    make_model,
    market_batches,
    opening_account,
    trade_in_memory,
)

KNOBS = ModelSettings(
    shadow_decisions=12, canary_decisions=12, probation_decisions=15, canary_frac=0.5
)
NEW = BundleName(name="new", sha256="2" * 64, path="/nowhere/new")
OLD = BundleName(name="old", sha256="1" * 64, path="/nowhere/old")
OFFER = BundleOffered(
    received_ns=START_NS, name=NEW.name, sha256=NEW.sha256, path=NEW.path, skip_shadow=False
)


class TurningJudge(FeatureJudge):
    """Judges like the others, until ``sound_calls`` are over; then in the way of its fault."""

    def __init__(self, fault: str = "", sound_calls: int = 10**9) -> None:
        self.fault, self.left = fault, sound_calls
        self.calls = 0

    def decide(self, obs_BF: NDArray[np.float32], held_BA: NDArray[np.int64]) -> Judgement:
        self.calls += 1
        self.left -= 1
        judgement = super().decide(obs_BF, held_BA)
        if self.left >= 0 or not self.fault:
            return judgement
        if self.fault == "raises":
            raise RuntimeError("out of order")
        if self.fault == "nan":
            healthy_BA = judgement.healthy_BA.copy()
            healthy_BA[:, 2] = False
            return replace(judgement, healthy_BA=healthy_BA)
        if self.fault == "posterior":
            return replace(judgement, regime_healthy_B=np.zeros(len(obs_BF), np.bool_))
        actions = np.zeros_like(judgement.action_BA)  # sell, whatever is seen
        return replace(judgement, action_BA=actions)


def model_of(judge: FeatureJudge) -> Model:
    return replace(make_model(), judge=judge)


def engine_with(
    judge: FeatureJudge, knobs: ModelSettings = KNOBS, *, votes_plainly: bool = False
) -> Engine:
    """Return an engine that can take the judge in under the name NEW."""
    fields: dict[str, Any] = {"model": knobs}
    if votes_plainly:
        fields["meta"] = MetaLearningSettings(meta_learning_enabled=False)
    chosen = Settings(**(SETTINGS.model_dump() | fields))
    shelf = {NEW.sha256: model_of(judge)}
    decider = Decider(make_model(), chosen, 1, OLD, lambda bundle: shelf.get(bundle.sha256))
    return Engine(
        instruments=(INSTRUMENT,),
        settings=chosen,
        run_id=RUN_ID,
        decider=decider,
        opening=opening_account(),
    )


def batches_with(*events: tuple[int, Event], turns: int = 1_500) -> Iterator[list[Event]]:
    """Yield the market with our events put before the numbered batches."""
    for number, batch in enumerate(market_batches(turns)):
        yield [each for at, each in events if at == number] + batch


def steps(effects: list[tuple[Effect, ...]]) -> list[str]:
    return [each.step for row in effects for each in row if isinstance(each, ModelMoved)]


def test_good_candidate_goes_the_whole_way() -> None:
    """Shadow, canary at reduced size, probation, settled; the old model stays loaded."""
    engine = engine_with(TurningJudge(), votes_plainly=True)
    effects = trade_in_memory(engine, batches_with((100, OFFER)))
    assert steps(effects) == ["shadow", "canary", "probation", "settled"]
    rollout = engine.decider.rollout
    assert rollout.active.bundle == NEW
    assert rollout.previous is not None
    assert rollout.previous.bundle == OLD
    flat = [each for row in effects for each in row]
    moves = [at for at, each in enumerate(flat) if isinstance(each, ModelMoved)]
    exposures = [
        max(abs(each.exposure) for each in flat[first:last] if isinstance(each, Decided))
        for first, last in zip(moves, [*moves[1:], len(flat)], strict=True)
    ]
    assert 0.0 < exposures[1] <= KNOBS.canary_frac * exposures[0]
    assert max(exposures[2:]) > KNOBS.canary_frac


def test_shadow_changes_nothing_that_is_sent() -> None:
    """While a candidate is in shadow every decision and order is the one without it."""
    forever = KNOBS.model_copy(update={"shadow_decisions": 10**6})
    judge = TurningJudge("sells", 5)
    alone = trade_in_memory(engine_with(judge, forever), batches_with())
    beside = trade_in_memory(engine_with(judge, forever), batches_with((100, OFFER)))
    assert steps(beside) == ["shadow"]
    without = [
        kept for row in beside if (kept := tuple(e for e in row if not isinstance(e, ModelMoved)))
    ]
    assert without == alone
    assert judge.calls > 50


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("nan", "unhealthy in shadow"),
        ("posterior", "unhealthy in shadow"),
        ("raises", "unhealthy in shadow"),
        ("sells", "from those of the old model"),
    ],
)
def test_bad_candidate_ends_in_shadow(fault: str, reason: str) -> None:
    """Sick numbers end a shadow at once, other actions at its end; it never decides."""
    knobs = KNOBS.model_copy(update={"action_shift_frac_max": 0.3})
    engine = engine_with(TurningJudge(fault, 0), knobs)
    effects = trade_in_memory(engine, batches_with((100, OFFER)))
    moves = [each for row in effects for each in row if isinstance(each, ModelMoved)]
    assert [move.step for move in moves] == ["shadow", "dropped"]
    assert reason in moves[1].reason
    assert engine.decider.rollout.active.bundle == OLD


@pytest.mark.parametrize("stage", [Stage.CANARY, Stage.PROBATION])
@pytest.mark.parametrize("fault", ["nan", "posterior", "raises"])
def test_sick_model_is_replaced_within_its_own_decision(stage: Stage, fault: str) -> None:
    """The answer of a model that turned bad is not used: the old one gives this decision."""
    sound = KNOBS.shadow_decisions + (3 if stage is Stage.CANARY else KNOBS.canary_decisions + 3)
    judge = TurningJudge(fault, sound)
    engine = engine_with(judge)
    effects = trade_in_memory(engine, batches_with((100, OFFER)))
    assert steps(effects)[-1] == "rolled_back"
    assert judge.calls == sound + 1
    assert engine.decider.rollout.active.bundle == OLD
    decided = [each for row in effects for each in row if isinstance(each, Decided)]
    assert all(any(each.weights_N) for each in decided), "no decision without a sound ensemble"


def test_changed_habits_roll_back_within_ten_decisions() -> None:
    """A model that only sells after its shadow is found by its histogram."""
    judge = TurningJudge("sells", KNOBS.shadow_decisions)
    engine = engine_with(judge, KNOBS.model_copy(update={"action_shift_frac_max": 0.3}))
    effects = trade_in_memory(engine, batches_with((100, OFFER)))
    assert steps(effects) == ["shadow", "canary", "rolled_back"]
    assert judge.calls <= KNOBS.shadow_decisions + 10


def test_settled_model_that_turns_bad_is_rolled_back_too() -> None:
    """The last good bundle stays loaded after probation, and comes back after three decisions."""
    sound = 12 + 12 + 15 + 5
    judge = TurningJudge("nan", sound)
    engine = engine_with(judge)
    effects = trade_in_memory(engine, batches_with((100, OFFER)))
    assert steps(effects)[-2:] == ["settled", "rolled_back"]
    assert judge.calls == sound + KNOBS.unsound_decisions_max


def test_operator_promotes_and_withdraws() -> None:
    """A promotion skips shadow and canary, a withdrawal brings the old model back, both exact."""
    engine = engine_with(TurningJudge())
    wide = KNOBS.model_copy(update={"probation_decisions": 10**6})
    engine = engine_with(TurningJudge(), wide)
    effects = trade_in_memory(
        engine,
        batches_with(
            (100, replace(OFFER, skip_shadow=True)),
            (300, OFFER),
            (600, BundleWithdrawn(received_ns=START_NS, sha256=NEW.sha256, reason="operator")),
            (700, BundleWithdrawn(received_ns=START_NS, sha256=NEW.sha256, reason="again")),
        ),
    )
    assert steps(effects) == ["probation", "refused", "rolled_back"]


def test_loss_rolls_back() -> None:
    """Equity lost since it decides counts against the newcomer; less than the limit is allowed."""
    rollout = Rollout(
        Seat(bundle=OLD, model=make_model()), KNOBS, lambda _: model_of(TurningJudge())
    )
    rollout.offer(replace(OFFER, skip_shadow=True), 1_000_000)
    judgement = FeatureJudge().decide(np.ones((1, 59), np.float32), np.ones((1, 5), np.int64))
    assert rollout.fault_of(judgement, 990_001) is None
    reason = rollout.fault_of(judgement, 989_000)
    assert reason is not None
    assert "lost" in reason


def test_what_is_not_loaded_or_has_other_agents_is_refused() -> None:
    """An offer without its model changes nothing."""
    others = {NEW: replace(make_model(), agent_names=("one", "two"))}
    for shelf in ({}, others):
        rollout = Rollout(Seat(bundle=OLD, model=make_model()), KNOBS, shelf.get)
        before = rollout.state
        (move,) = rollout.offer(OFFER, 1)
        assert move.step == "refused"
        assert rollout.state == before


def test_state_in_the_middle_of_a_rollout_comes_back() -> None:
    """Restored as canary, an engine goes on exactly as the one that never stopped."""
    batches = list(batches_with((100, OFFER)))
    for at in (150, 300, 420, 900):
        kept = engine_with(TurningJudge())
        venue = MemoryVenue()
        trade_in_memory(kept, iter(batches[:at]), venue=venue)
        restored = engine_with(TurningJudge())
        restored.restore(decode_state(encode(kept.state)))
        waiting = list(venue.waiting)
        effects = trade_in_memory(kept, iter(batches[at:]), venue=venue)
        again = trade_in_memory(
            restored, iter(batches[at:]), venue=MemoryVenue(waiting, venue_trades(venue, effects))
        )
        assert again == effects
        assert encode(restored.state) == encode(kept.state)


def venue_trades(venue: MemoryVenue, effects: list[tuple[Effect, ...]]) -> int:
    """Number of the last trade before these effects."""
    sent = sum(isinstance(each, SendOrder) for row in effects for each in row)
    return venue.trade_id - sent


@given(
    st.lists(st.tuples(*[st.integers(0, 500)] * 3), min_size=2, max_size=2),
)
@settings(max_examples=60, deadline=None)
def test_action_shift_is_a_distance(votes: list[tuple[int, int, int]]) -> None:
    """In [0, 1], symmetric, 0 for the same shares, 1 for opposite ones."""
    first, second = (Tally(votes=each) for each in votes)
    shift = action_shift(first, second)
    assert 0.0 <= shift <= 1.0 + 1e-12
    assert shift == action_shift(second, first)
    assert action_shift(first, first) == 0.0
    assert action_shift(Tally(votes=(5, 0, 0)), Tally(votes=(0, 0, 9))) == 1.0


def test_replay_of_a_missing_bundle_is_refused(tmp_path: Path) -> None:
    """A log that names a bundle which is gone says so instead of guessing."""
    engine = make_engine()
    shelf = {NEW.sha256: make_model()}
    engine.decider.rollout = Rollout(
        Seat(bundle=UNNAMED, model=make_model()), KNOBS, lambda each: shelf.get(each.sha256)
    )
    log = EventLog(tmp_path / "log", make_facts(), WIDE, started_ns=START_NS)
    trade_in_memory(engine, batches_with((100, OFFER), turns=300), log)
    assert log.close()
    (segment,) = (tmp_path / "log").glob("*.events")
    with pytest.raises(ReplayRefused, match="/nowhere/new"):
        replay([segment], make_model())
    shutil.rmtree(tmp_path / "log")
    with pytest.raises(ReplayRefused):
        RecordedBundles(make_facts())(NEW)


def test_every_loaded_model_has_a_meta_learner_of_its_own() -> None:
    """A candidate collects evidence in shadow; what belongs to no loaded model is forgotten."""
    engine = engine_with(TurningJudge())
    batches = list(batches_with((100, OFFER)))
    trade_in_memory(engine, iter(batches[:200]))
    states = engine.decider.panel.learner_states
    assert set(states) == {OLD.sha256, NEW.sha256}
    assert states[NEW.sha256][0].bars == states[OLD.sha256][0].bars > 0
    assert engine.decider.rollout.active.bundle == OLD
    withdrawn = BundleWithdrawn(received_ns=engine.now_ns, sha256=NEW.sha256, reason="test")
    trade_in_memory(engine, iter([[withdrawn, *batches[200]], *batches[201:320]]))
    assert set(engine.decider.panel.learner_states) == {OLD.sha256}
