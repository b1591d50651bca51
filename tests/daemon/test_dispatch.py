"""The dispatcher: journal before wire, and what cannot be written down is not sent."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.settings import MetaLearningSettings, Settings
from daemon import logs
from daemon.clock import ManualClock
from daemon.dispatch import Dispatcher
from daemon.effects import CancelAll, CancelOrder, Decided, Note, QueryOrder, SendOrder
from daemon.identity import client_order_id
from daemon.journal import Journal, JournalError
from daemon.lanes import Lanes
from daemon.metrics import Metrics
from daemon.probe import SendWatch
from kernels.events import (
    Alarm,
    OrderIntent,
    OrderStatus,
    OrderType,
    OrderUpdate,
    Side,
)
from kernels.units import E8, Instrument
from tests.fakes.approving import approve

RUN_ID = "0123456789ab"
INSTRUMENT = Instrument(
    index=0,
    symbol="BTC/USDT:USDT",
    venue_id="BTCUSDT",
    tick_size_e8=E8 // 10,
    lot_size_e8=E8 // 1000,
    lots_min=1,
    lots_max=1_000_000,
    notional_min_quote_e8=5 * E8,
    maker_fee_frac=0.0002,
    taker_fee_frac=0.0005,
)


class Recorder:
    """A gateway and a journal that write down who was called, in order."""

    def __init__(self, journal: Journal) -> None:
        self.calls: list[str] = []
        self.fails = False
        self._journal = journal

    def record_intents(self, *arguments: Any) -> None:
        self.calls.append("journal")
        if self.fails:
            raise JournalError("disk full")
        self._journal.record_intents(*arguments)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("record_"):
            return getattr(self._journal, name)

        def call(*arguments: Any) -> None:
            self.calls.append(name)

        return call


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path, RUN_ID, "ring", instruments=["BTC/USDT:USDT"], started_ns=1)
    yield opened
    opened.close(2)


def dispatcher_of(
    recorder: Recorder, lanes: Lanes, meta: MetaLearningSettings | None = None
) -> Dispatcher:
    clock = ManualClock()
    metrics = Metrics()
    return Dispatcher(
        settings=Settings(instruments=("BTC/USDT:USDT",), meta=meta or MetaLearningSettings()),
        instruments=(INSTRUMENT,),
        expert_names=("d3qn",),
        journal=recorder,  # type: ignore[arg-type]  # records the calls of the real one
        gateway=recorder,  # type: ignore[arg-type]  # no venue is needed to see the order of calls
        lanes=lanes,
        log=logs.configure("json", "info", RUN_ID, stream=io.StringIO()),
        metrics=metrics,
        clock=clock,
        send_watch=SendWatch(metrics),
        after_sends=lambda follow_up: follow_up(),
    )


def order() -> SendOrder:
    intent = OrderIntent(
        sequence=0,
        instrument=0,
        side=Side.BUY,
        quantity_lots=10,
        price_ticks=600_000,
        order_type=OrderType.IOC,
        reduce_only=False,
        decided_ns=1,
        reason="test",
    )
    approved = approve(intent, (INSTRUMENT,))
    return SendOrder(client_order_id=client_order_id(RUN_ID, 0), approved=approved)


def test_intent_is_written_before_the_order_goes_out(journal: Journal) -> None:
    """The journal comes first, always."""
    recorder = Recorder(journal)
    dispatcher_of(recorder, Lanes(1, 100)).carry_out([order()], 1)
    assert recorder.calls == ["journal", "submit", "follow_up"]


def test_order_that_cannot_be_written_down_is_not_sent(journal: Journal) -> None:
    """A failing journal rejects the order to the engine and stops new risk."""
    recorder, lanes = Recorder(journal), Lanes(1, 100)
    recorder.fails = True
    dispatcher_of(recorder, lanes).carry_out([order()], 1)
    assert recorder.calls == ["journal"]
    events = lanes.drain(10)
    updates = [event for event in events if isinstance(event, OrderUpdate)]
    assert [update.status for update in updates] == [OrderStatus.REJECTED]
    assert {e.code for e in events if isinstance(e, Alarm)} == {"journal_error"}


def test_every_kind_of_effect_reaches_its_place(journal: Journal) -> None:
    """Cancels and queries go to the gateway, alerts into the journal as well."""
    recorder = Recorder(journal)
    dispatcher = dispatcher_of(recorder, Lanes(1, 100))
    dispatcher.carry_out(
        [
            CancelOrder(client_order_id="a", instrument=0, reason="test"),
            CancelAll(instrument=0, reason="test"),
            QueryOrder(client_order_id="a", instrument=0),
            Note(event="order_unknown", event_ns=1, fields={}),
        ],
        1,
    )
    assert recorder.calls == ["cancel", "cancel_all", "query_unknown"]
    assert journal.flush(5.0)


@pytest.mark.parametrize(
    ("meta", "wanted"),
    [
        (MetaLearningSettings(), []),
        (MetaLearningSettings(meta_learning_debug=True), ["weights_updated"]),
        (MetaLearningSettings(detailed_logging=True), ["decision"]),
    ],
)
def test_what_is_logged_of_a_decision_is_a_setting(
    journal: Journal, meta: MetaLearningSettings, wanted: list[str]
) -> None:
    """Weights and whole decisions reach the log only where the settings ask for them."""
    decided = Decided(
        decided_ns=1,
        instrument=0,
        regime=0,
        regime_K=(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        weights_N=(1.0,),
        action_N=(2,),
        exposure=1.0,
        disagreement=0.0,
        target_lots=1,
        position_lots=0,
        mid_ticks=1.0,
        data_age_ns=0,
        outcome="hold",
    )
    dispatcher = dispatcher_of(Recorder(journal), Lanes(1, 100), meta)
    dispatcher.carry_out([decided], 1)
    lines = [json.loads(line) for line in dispatcher._log.recent(10)]
    assert [line["event"] for line in lines] == wanted
    assert all(line["weights"] == {"d3qn": 1.0} for line in lines)
    tracked = dispatcher.tracker.summary()
    assert (tracked["decision_count"], tracked["weight_diversity"]) == (1, 1.0)
    assert tracked["decision_distribution"] == {"SELL": 0.0, "HOLD": 0.0, "BUY": 1.0}
