"""The emergency ladder in the desk: what trips it, how positions are closed, who ends it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from config.safety import BreakerSettings
from config.settings import Settings
from daemon.desk import SETTLE_NS, Desk
from daemon.effects import (
    AskAccount,
    CallGuard,
    CancelAll,
    CancelOrder,
    Effect,
    LatchBreaker,
    Note,
    SendOrder,
)
from daemon.ladder import Ladder
from daemon.notes import NoteBook
from kernels.events import (
    AccountState,
    Alarm,
    Command,
    CommandName,
    Fill,
    OrderStatus,
    OrderType,
    OrderUpdate,
    Side,
    Verdict,
)
from kernels.units import E8
from risk.breaker import Breaker, BreakerState, Trigger
from risk.views import ModelVerdict
from tests.fakes.gate_scene import INSTRUMENTS, NOW_NS, make_intent, make_market

S = 1_000_000_000
MS = 1_000_000
NOW = NOW_NS
MODEL = (ModelVerdict.OK, ModelVerdict.OK)


def make_desk(position_lots: tuple[int, int] = (0, 0), **breaker: int) -> Desk:
    settings = Settings(breaker=BreakerSettings(**breaker))
    opening = AccountState(
        received_ns=NOW, wallet_quote_e8=100_000 * E8, position_lots=position_lots
    )
    desk = Desk(
        instruments=INSTRUMENTS,
        settings=settings,
        run_id="0123456789ab",
        opening=opening,
        notes=NoteBook(INSTRUMENTS, NOW),
    )
    for index in range(2):
        desk.ledger.mark(index, make_market()[index].mark_ticks, NOW)
    desk.ledger.roll_day(NOW)
    return desk


def command(name: CommandName) -> Command:
    return Command(received_ns=NOW, name=name, reason="test")


def sent(effects: Sequence[Effect]) -> list[SendOrder]:
    return [effect for effect in effects if isinstance(effect, SendOrder)]


def end(desk: Desk, order: SendOrder, at_ns: int, status: OrderStatus, lots: int = 0) -> None:
    """Let the venue finish an order with so many lots filled."""
    intent = order.approved.intent
    if lots:
        desk.on_fill(
            Fill(
                instrument=intent.instrument,
                event_ns=at_ns,
                received_ns=at_ns,
                client_order_id=order.client_order_id,
                trade_id=at_ns,
                side=intent.side,
                price_ticks=intent.price_ticks,
                quantity_lots=lots,
                fee_quote_e8=0,
                is_maker=False,
            )
        )
    desk.on_update(
        OrderUpdate(
            instrument=intent.instrument,
            event_ns=at_ns,
            received_ns=at_ns,
            client_order_id=order.client_order_id,
            status=status,
            filled_lots=lots,
            code=-2010,
            reason="test",
        )
    )


def account(at_ns: int, position_lots: tuple[int, int] = (0, 0)) -> AccountState:
    return AccountState(
        received_ns=at_ns, wallet_quote_e8=100_000 * E8, position_lots=position_lots
    )


def test_state_is_latched_before_anything_follows() -> None:
    """The first effect of a change puts it on disk; the cancels come after."""
    desk = make_desk()
    effects = desk.on_command(command(CommandName.CANCEL))
    kinds = [type(effect) for effect in effects]
    assert desk.breaker.state.name == "CANCEL"
    assert kinds.index(LatchBreaker) < kinds.index(CancelAll)
    assert kinds.count(CancelAll) == len(INSTRUMENTS)


def test_flatten_closes_every_position_by_reduce_only_limits() -> None:
    """Long is sold, short is bought, each whole, each as a limit that cannot rest."""
    desk = make_desk((30, -40))
    desk.on_command(command(CommandName.FLATTEN))
    effects, planned = desk.close_positions(make_market(), NOW, 7)
    orders = [order.approved.intent for order in sent(effects)]
    assert planned == 2
    assert [(o.side, o.quantity_lots, o.reduce_only, o.order_type) for o in orders] == [
        (Side.SELL, 30, True, OrderType.IOC),
        (Side.BUY, 40, True, OrderType.IOC),
    ]
    assert [order.sequence for order in orders] == [7, 8]


def test_closing_waits_for_orders_under_way() -> None:
    """What an order may still fill is not closed a second time."""
    desk = make_desk((30, 0))
    desk.on_command(command(CommandName.FLATTEN))
    desk.close_positions(make_market(), NOW, 0)
    assert desk.close_positions(make_market(), NOW + 10 * S, 1) == ([], 0)


@pytest.mark.parametrize("status", [OrderStatus.EXPIRED, OrderStatus.REJECTED])
def test_refused_closing_order_is_repeated_further_out(status: OrderStatus) -> None:
    """Neither an empty book nor a refusing venue ends the closing."""
    desk = make_desk((30, 0))
    desk.on_command(command(CommandName.FLATTEN))
    prices: list[int] = []
    now_ns = NOW
    for sequence in range(4):
        effects, _ = desk.close_positions(make_market(), now_ns, sequence)
        (order,) = sent(effects)
        prices.append(order.approved.intent.price_ticks)
        end(desk, order, now_ns + MS, status)
        now_ns += S
    assert prices == sorted(set(prices), reverse=True)


def test_partly_closed_position_is_closed_further() -> None:
    """Only what is left is sold with the next order."""
    desk = make_desk((30, 0))
    desk.on_command(command(CommandName.FLATTEN))
    (first,) = sent(desk.close_positions(make_market(), NOW, 0)[0])
    end(desk, first, NOW + MS, OrderStatus.EXPIRED, lots=10)
    (second,) = sent(desk.close_positions(make_market(), NOW + S, 1)[0])
    assert second.approved.intent.quantity_lots == 20


def test_only_the_venue_ends_flatten() -> None:
    """Flat by our books asks the venue; its word, once things are at rest, leads to HALTED."""
    desk = make_desk((30, 0))
    desk.on_command(command(CommandName.FLATTEN))
    (order,) = sent(desk.close_positions(make_market(), NOW, 0)[0])
    end(desk, order, NOW + MS, OrderStatus.FILLED, lots=30)
    effects, _ = desk.close_positions(make_market(), NOW + S, 1)
    assert [type(effect) for effect in effects] == [AskAccount]
    assert desk.on_account(account(NOW + MS)) == ()
    assert desk.breaker.state.name == "FLATTEN"
    desk.on_account(account(NOW + 2 * SETTLE_NS))
    assert desk.breaker.state.name == "HALTED"
    assert desk.breaker.trigger is Trigger.FLAT


def test_position_that_only_the_venue_knows_is_closed_too() -> None:
    """Flat by our books and not by the venue's: its position is taken over and closed."""
    desk = make_desk()
    desk.on_command(command(CommandName.FLATTEN))
    for _ in range(2):
        desk.on_account(account(NOW + 2 * SETTLE_NS, (0, 25)))
    assert desk.breaker.state.name == "FLATTEN"
    (order,) = sent(desk.close_positions(make_market(), NOW + 3 * S, 0)[0])
    assert (order.approved.intent.instrument, order.approved.intent.quantity_lots) == (1, 25)


def test_guard_is_called_when_closing_gets_stuck() -> None:
    """After enough vain attempts the guard, which reaches beyond the collar, is asked; once."""
    desk = make_desk((30, 0), flatten_attempts_max=3)
    desk.on_command(command(CommandName.FLATTEN))
    calls: list[Effect] = []
    for attempt in range(6):
        effects, _ = desk.close_positions(make_market(), NOW + attempt * S, attempt)
        for order in sent(effects):
            end(desk, order, NOW + attempt * S + MS, OrderStatus.EXPIRED)
        calls.extend(effect for effect in effects if isinstance(effect, CallGuard))
    assert len(calls) == 1


def test_resting_orders_are_cancelled_at_once_from_cancel_on() -> None:
    """An order that would have been left to work is withdrawn."""
    desk = make_desk()
    intent = make_intent(order_type=OrderType.GTC)
    (order,) = sent(desk.review([intent], make_market(), NOW, MODEL))
    end(desk, order, NOW, OrderStatus.WORKING)
    assert desk.tend(NOW + MS) == []
    desk.on_command(command(CommandName.CANCEL))
    (cancel,) = desk.tend(NOW + 2 * MS)
    assert isinstance(cancel, CancelOrder)


def test_resume_lets_the_loss_begin_anew() -> None:
    """An operator who looked at a drawdown is not halted by the same one a moment later."""
    desk = make_desk((1000, 0))
    desk.ledger.mark(0, 400_000)
    desk.check_losses()
    assert desk.breaker.state.name == "FLATTEN"
    desk.on_command(command(CommandName.RESUME))
    assert desk.check_losses() == ()
    assert desk.breaker.state.name == "NORMAL"


@pytest.mark.parametrize("trigger", list(Trigger))
def test_every_trigger_of_the_shell_is_understood(trigger: Trigger) -> None:
    """An alarm carries a trigger's code; it changes the state as the table says and is noted."""
    desk = make_desk()
    effects = desk.on_alarm(Alarm(received_ns=NOW, code=trigger.value, reason="test"))
    changed = [e for e in effects if isinstance(e, Note) and e.event == "breaker_changed"]
    assert bool(changed) is (desk.breaker.state is not BreakerState.NORMAL)
    assert all(note.fields["trigger"] == trigger.value for note in changed)


def test_alarm_nobody_knows_is_taken_as_the_gravest() -> None:
    """A code without a meaning must not be ignored."""
    desk = make_desk()
    desk.on_alarm(Alarm(received_ns=NOW, code="gibberish", reason="test"))
    assert desk.breaker.state.name == "HALTED"


def test_second_cause_is_told_once() -> None:
    """A trigger that changes nothing any more is still said, but not with every drain."""
    desk = make_desk()
    desk.trip(Trigger.DISK_FULL, "first")
    second = desk.trip(Trigger.STALE_FEED, "second")
    assert [e.event for e in second if isinstance(e, Note)] == ["breaker_trigger"]
    assert desk.trip(Trigger.STALE_FEED, "third") == ()


def make_ladder() -> Ladder:
    return Ladder(
        2,
        Settings(breaker=BreakerSettings(feed_down_ms_max=1000, model_failures_max=3)),
        NoteBook(INSTRUMENTS, NOW),
    )


@pytest.mark.parametrize(
    ("verdict", "trigger"),
    [
        (Verdict.STALE, Trigger.STALE_FEED),
        (Verdict.RECONNECTING, Trigger.STALE_FEED),
        (Verdict.SKEWED, Trigger.CLOCK_SKEW),
    ],
)
def test_feed_that_is_down_for_long_trips(verdict: Verdict, trigger: Trigger) -> None:
    """One instrument is enough; the time begins anew when the feed was well in between."""
    ladder = make_ladder()
    ladder.watch_feeds([Verdict.OK, verdict], NOW)
    ladder.watch_feeds([Verdict.OK, Verdict.OK], NOW + 500 * MS)
    ladder.watch_feeds([Verdict.OK, verdict], NOW + 600 * MS)
    assert ladder.watch_feeds([Verdict.OK, verdict], NOW + 1599 * MS) == ()
    ladder.watch_feeds([Verdict.OK, verdict], NOW + 1600 * MS)
    assert ladder.breaker.state is BreakerState.REDUCE_ONLY
    assert ladder.breaker.trigger is trigger


def test_models_that_fail_in_a_row_trip() -> None:
    """A decision with a usable model in between begins the count anew."""
    ladder = make_ladder()
    for _ in range(2):
        ladder.model_failed(0, False)
    ladder.model_worked(0)
    for _ in range(2):
        assert ladder.model_failed(0, False) == ()
    ladder.model_failed(0, False)
    assert ladder.breaker.trigger is Trigger.MODEL_FAILURE


def test_policy_flatten_trips_with_the_first_failure() -> None:
    """Within one decision."""
    ladder = make_ladder()
    ladder.model_failed(1, True)
    assert ladder.breaker.state is BreakerState.FLATTEN


def test_earlier_latch_is_taken_over_and_state_survives_a_snapshot() -> None:
    """What a ladder remembers can be written down and taken over by another."""
    ladder = make_ladder()
    ladder.take_over(Breaker().apply(Trigger.DRAWDOWN, NOW, "before the restart"))
    ladder.watch_feeds([Verdict.OK, Verdict.STALE], NOW)
    ladder.may_close(1, NOW)
    other = make_ladder()
    other.restore(ladder.state)
    assert other.state == ladder.state
    assert other.breaker.state is BreakerState.HALTED
