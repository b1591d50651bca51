"""The order desk: what fills, answers, losses and commands do to ledger, orders and breaker."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest

from config.safety import BreakerSettings
from config.settings import ExecutionSettings, RecoverySettings, RiskLimits, Settings
from daemon.desk import SETTLE_NS, Desk
from daemon.effects import CancelAll, CancelOrder, Effect, Note, QueryOrder, SendOrder
from daemon.identity import client_order_id, parse_client_order_id
from daemon.notes import NoteBook
from kernels.events import (
    AccountState,
    Command,
    CommandName,
    Fill,
    MarkPrice,
    OrderIntent,
    OrderStatus,
    OrderType,
    OrderUpdate,
    Side,
    Verdict,
)
from kernels.units import E8, Instrument
from risk.breaker import BreakerState
from risk.views import ModelVerdict, StillMarket

RUN_ID = "0123456789ab"
MODEL = (ModelVerdict.OK,)
S = 1_000_000_000
NOW = 1_700_000_000 * S

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


def make_desk(
    limits: RiskLimits | None = None,
    position_lots: int = 0,
    breaker: BreakerSettings | None = None,
) -> Desk:
    settings = Settings(
        instruments=("BTC/USDT:USDT",),
        limits=limits or RiskLimits(),
        breaker=breaker or BreakerSettings(),
        execution=ExecutionSettings(unknown_query_ms=1000, working_ms_max=2000),
    )
    opening = AccountState(
        received_ns=NOW, wallet_quote_e8=100_000 * E8, position_lots=(position_lots,)
    )
    desk = Desk(
        instruments=(INSTRUMENT,),
        settings=settings,
        run_id=RUN_ID,
        opening=opening,
        notes=NoteBook((INSTRUMENT,), NOW),
    )
    desk.ledger.mark(0, 600_000)
    desk.ledger.roll_day(NOW)
    return desk


def market() -> tuple[StillMarket, ...]:
    row = StillMarket(
        verdict=Verdict.OK,
        bid_ticks=599_999,
        ask_ticks=600_001,
        bid_lots=5000,
        ask_lots=5000,
        bid_depth_lots=9000,
        ask_depth_lots=9000,
        mark_ticks=600_000,
        quote_received_ns=NOW,
        mark_received_ns=NOW,
        day_volume_lots=1_000_000,
        day_volume_received_ns=NOW,
    )
    return (row,)


def intent(lots: int = 10, sequence: int = 0, **changes: Any) -> OrderIntent:
    fields: dict[str, Any] = {
        "sequence": sequence,
        "instrument": 0,
        "side": Side.BUY,
        "quantity_lots": lots,
        "price_ticks": 600_010,
        "order_type": OrderType.IOC,
        "reduce_only": False,
        "decided_ns": NOW,
        "reason": "test",
    }
    return OrderIntent(**(fields | changes))


def send(desk: Desk, lots: int = 10, sequence: int = 0, now_ns: int = NOW) -> str:
    (effect,) = desk.review([intent(lots, sequence)], market(), now_ns, MODEL)
    assert isinstance(effect, SendOrder)
    return effect.client_order_id


def update(name: str, status: OrderStatus, filled_lots: int = -1, at_ns: int = NOW) -> OrderUpdate:
    return OrderUpdate(
        instrument=0,
        event_ns=at_ns,
        received_ns=at_ns,
        client_order_id=name,
        status=status,
        filled_lots=filled_lots,
        code=-2019,
        reason="test",
    )


def fill(name: str, lots: int = 10, trade_id: int = 1) -> Fill:
    return Fill(
        instrument=0,
        event_ns=NOW,
        received_ns=NOW,
        client_order_id=name,
        trade_id=trade_id,
        side=Side.BUY,
        price_ticks=600_001,
        quantity_lots=lots,
        fee_quote_e8=E8,
        is_maker=False,
    )


def notes(effects: tuple[Effect, ...] | list[Effect]) -> list[str]:
    return [effect.event for effect in effects if isinstance(effect, Note)]


def test_approved_order_is_named_after_run_and_sequence() -> None:
    """The client order id can be taken apart again into what made it."""
    name = send(make_desk(), sequence=7)
    identity = parse_client_order_id(name)
    assert identity is not None
    assert (identity.run_id, identity.sequence) == (RUN_ID, 7)


def test_denied_order_is_counted_every_time_and_noted_once() -> None:
    """A denial that repeats does not flood the log."""
    desk = make_desk()
    too_large = [intent(lots=500_000, sequence=s) for s in range(2)]
    first = desk.review(too_large[:1], market(), NOW, MODEL)
    second = desk.review(too_large[1:], market(), NOW + S, MODEL)
    assert notes(first) == ["order_denied"]
    assert second == []
    assert sum(desk.denied_counts.values()) == 2
    assert desk.orders.open_orders() == []


def test_fill_moves_the_position_once() -> None:
    """The same execution seen on two channels is one execution."""
    desk = make_desk()
    name = send(desk)
    assert notes(desk.on_fill(fill(name))) == ["order_filled"]
    assert desk.on_fill(fill(name)) == ()
    assert desk.ledger.position_lots(0) == 10


def test_fill_of_a_foreign_order_is_booked_and_stops_new_risk() -> None:
    """It moved our account, so it is booked; nobody of us sent it, so nothing new is opened."""
    desk = make_desk()
    effects = desk.on_fill(fill("web-order"))
    assert desk.ledger.position_lots(0) == 10
    assert desk.breaker.state is BreakerState.REDUCE_ONLY
    assert "order_illegal_transition" in notes(effects)


@pytest.mark.parametrize("policy", ["adopt", "ignore", "halt"])
def test_order_of_another_that_appears_while_we_trade(
    policy: Literal["adopt", "ignore", "halt"],
) -> None:
    """It is told each time; adopt cancels it, halt ends trading, and ignore does neither."""
    desk = make_desk()
    desk.use(Settings(recovery=RecoverySettings(foreign=policy)))
    effects = desk.on_update(update("web-order", OrderStatus.WORKING))
    assert "order_foreign" in notes(effects)
    cancels = [each for each in effects if isinstance(each, CancelOrder)]
    assert [each.client_order_id for each in cancels] == ["web-order"] * (policy == "adopt")
    wanted = BreakerState.HALTED if policy == "halt" else BreakerState.NORMAL
    assert desk.breaker.state is wanted
    assert desk.on_update(update("web-order", OrderStatus.CANCELLED)) == ()


def test_unknown_order_is_asked_about_after_the_pause_and_not_before() -> None:
    """Evidence is fetched on a schedule."""
    desk = make_desk()
    name = send(desk)
    desk.on_update(update(name, OrderStatus.UNKNOWN))
    assert desk.tend(NOW + S - 1) == []
    assert desk.tend(NOW + S) == [QueryOrder(client_order_id=name, instrument=0)]
    assert desk.tend(NOW + S + 1) == []


def test_answer_without_fills_is_asked_about() -> None:
    """A venue that says FILLED owes us the executions."""
    desk = make_desk()
    name = send(desk)
    desk.on_update(update(name, OrderStatus.FILLED, 10))
    assert desk.tend(NOW + S) == [QueryOrder(client_order_id=name, instrument=0)]


def test_resting_order_is_cancelled_when_it_worked_too_long() -> None:
    """A passive order does not wait for ever, and its cancel is not repeated at once."""
    desk = make_desk()
    name = send(desk)
    desk.on_update(update(name, OrderStatus.WORKING, 0))
    assert desk.tend(NOW + 2 * S - 1) == []
    (cancel,) = desk.tend(NOW + 2 * S)
    assert isinstance(cancel, CancelOrder)
    assert cancel.client_order_id == name
    assert desk.tend(NOW + 2 * S + 1) == []


def test_storm_of_rejections_stops_new_risk() -> None:
    """A venue that keeps refusing is a sign that something is wrong with us."""
    limits = RiskLimits(rejects_in_window_max=3)
    desk = make_desk(limits)
    for sequence in range(3):
        at_ns = NOW + sequence * S
        (effect,) = desk.review([intent(sequence=sequence)], market(), at_ns, MODEL)
        assert isinstance(effect, SendOrder)
        desk.on_update(update(effect.client_order_id, OrderStatus.REJECTED, 0, at_ns))
    assert desk.breaker.state is BreakerState.REDUCE_ONLY


@pytest.mark.parametrize(
    ("policy", "state"), [("halt", BreakerState.HALTED), ("flatten", BreakerState.FLATTEN)]
)
def test_drawdown_limit_cancels_everything(
    policy: Literal["halt", "flatten"], state: BreakerState
) -> None:
    """A loss beyond the drawdown limit cancels all; positions are closed or kept, as chosen."""
    desk = make_desk(
        RiskLimits(daily_loss_frac_max=0.01, drawdown_frac_max=0.01),
        position_lots=1000,
        breaker=BreakerSettings(drawdown_policy=policy),
    )
    desk.ledger.mark(0, 570_000)
    effects = desk.check_losses()
    assert desk.breaker.state is state
    assert CancelAll(instrument=0, reason="drawdown limit") in effects


def test_account_that_differs_twice_at_rest_replaces_ours() -> None:
    """The venue is the truth, but a single difference may be a race."""
    desk = make_desk()
    theirs = AccountState(
        received_ns=NOW + 2 * SETTLE_NS, wallet_quote_e8=99_000 * E8, position_lots=(5,)
    )
    assert desk.on_account(theirs) == ()
    assert "position_mismatch" in notes(desk.on_account(theirs))
    assert desk.ledger.position_lots(0) == 5
    assert desk.breaker.state is BreakerState.REDUCE_ONLY


def test_account_is_not_compared_while_orders_are_open() -> None:
    """Whatever is in flight may explain a difference: it is asked about, once a while."""
    desk = make_desk()
    identity = send(desk)
    theirs = AccountState(
        received_ns=NOW + 100 * S, wallet_quote_e8=99_000 * E8, position_lots=(5,)
    )
    (asked,) = desk.on_account(theirs)
    assert asked == QueryOrder(client_order_id=identity, instrument=0)
    for _ in range(3):
        assert desk.on_account(theirs) == ()
    assert desk.ledger.position_lots(0) == 0


@pytest.mark.parametrize(
    ("command", "state"),
    [
        (CommandName.HALT, BreakerState.HALTED),
        (CommandName.REDUCE, BreakerState.REDUCE_ONLY),
        (CommandName.STOP, BreakerState.NORMAL),
    ],
)
def test_commands_move_the_breaker(command: CommandName, state: BreakerState) -> None:
    """An operator's word reaches the breaker; STOP cancels without latching anything."""
    desk = make_desk()
    effects = desk.on_command(Command(received_ns=NOW, name=command, reason="test"))
    assert desk.breaker.state is state
    cancels = [effect for effect in effects if isinstance(effect, CancelAll)]
    assert bool(cancels) is (command is not CommandName.REDUCE)


def test_operator_resumes_after_a_halt() -> None:
    """Only a command leads back to NORMAL."""
    desk = make_desk()
    desk.on_command(Command(received_ns=NOW, name=CommandName.HALT, reason="test"))
    desk.check_losses()
    desk.on_command(Command(received_ns=NOW, name=CommandName.RESUME, reason="checked"))
    assert desk.breaker.state is BreakerState.NORMAL


ONE_AGENT = (1.0, 0.0, 0.0, 0.0, 0.0)


def test_agent_that_loses_too_much_is_disarmed_until_resumed() -> None:
    """The loss belongs to who wished for the position; others may go on, and RESUME re-arms."""
    desk = make_desk(RiskLimits(agent_daily_loss_frac_max=0.001))
    desk.roll_day(NOW)
    (effect,) = desk.review([intent(agent_share_A=ONE_AGENT)], market(), NOW, MODEL)
    assert isinstance(effect, SendOrder)
    desk.on_fill(fill(effect.client_order_id))
    assert desk.agents.position_lots(0, 0) == 10
    assert desk.check_losses() == ()
    fallen = MarkPrice(
        instrument=0, event_ns=NOW, received_ns=NOW, mark_ticks=500_000, funding_rate_frac=0.0
    )
    desk.on_mark(fallen)
    assert notes(desk.check_losses()) == ["agent_disarmed"]
    assert desk.check_losses() == ()
    assert desk.armed_agents == (False, True, True, True, True)
    desk.on_command(Command(received_ns=NOW, name=CommandName.RESUME, reason="looked at"))
    assert desk.check_losses() == ()
    assert desk.armed_agents == (True,) * 5


def test_losses_are_judged_whenever_they_may_have_moved() -> None:
    """A new limit, a mark, a new day and a restored state are each judged without another push."""
    desk = make_desk(RiskLimits(daily_loss_frac_max=0.001, drawdown_frac_max=0.5))
    desk.roll_day(NOW)
    (effect,) = desk.review([intent(agent_share_A=ONE_AGENT)], market(), NOW, MODEL)
    assert isinstance(effect, SendOrder)
    desk.on_fill(fill(effect.client_order_id))
    assert desk.check_losses() == () == desk.check_losses()
    desk.use(Settings(instruments=("BTC/USDT:USDT",), limits=RiskLimits(daily_loss_frac_max=0.0)))
    desk.check_losses()
    assert desk.breaker.state is BreakerState.REDUCE_ONLY  # a limit of 0 permits nothing
    again = make_desk(RiskLimits(daily_loss_frac_max=0.0, drawdown_frac_max=0.5))
    again.check_losses()
    again.restore(desk.state)
    again.on_command(Command(received_ns=NOW, name=CommandName.RESUME, reason="test"))
    again.check_losses()
    assert again.breaker.state is BreakerState.REDUCE_ONLY
    start_quote_e8 = desk.ledger.day_start_quote_e8
    desk.ledger.mark(0, 500_000, NOW)
    desk.roll_day(NOW + 1)
    assert desk.ledger.day_start_quote_e8 == start_quote_e8
    desk.roll_day(NOW + 86_400 * 10**9)
    assert desk.ledger.day_start_quote_e8 < start_quote_e8


def test_agent_that_orders_too_often_is_disarmed() -> None:
    """The order after the last permitted one is denied, and the latch is told once."""
    desk = make_desk(RiskLimits(agent_executions_max=1))
    first, second = (
        [intent(10 + sequence, sequence, agent_share_A=ONE_AGENT)] for sequence in range(2)
    )
    assert notes(desk.review(first, market(), NOW, MODEL)) == ["agent_disarmed"]
    assert notes(desk.review(second, market(), NOW, MODEL)) == ["order_denied"]
    assert desk.denied_counts["agent_disarmed"] == 1


def test_without_a_verdict_on_the_models_only_reductions_pass() -> None:
    """Whoever reviews without having asked the models can close, not open."""
    desk = make_desk(position_lots=10)
    (denied,) = desk.review([intent()], market(), NOW)
    assert notes([denied]) == ["order_denied"]
    closing = intent(10, 1, side=Side.SELL, reduce_only=True, price_ticks=599_990)
    (effect,) = desk.review([closing], market(), NOW)
    assert isinstance(effect, SendOrder)


def test_state_of_the_desk_holds_the_agents() -> None:
    """A desk restored after a restart knows who is disarmed and who holds what."""
    desk, twin = make_desk(RiskLimits(agent_executions_max=1)), make_desk()
    desk.review([intent(agent_share_A=ONE_AGENT)], market(), NOW, MODEL)
    twin.restore(desk.state)
    assert twin.armed_agents == desk.armed_agents == (False, True, True, True, True)


def test_a_post_only_order_that_would_have_taken_is_no_sign_of_trouble() -> None:
    """Any number of -5022 leaves the breaker alone; other codes still count as a storm."""
    for code, state in ((-5022, BreakerState.NORMAL), (-2019, BreakerState.REDUCE_ONLY)):
        desk = make_desk(RiskLimits(rejects_in_window_max=3, duplicate_window_ms=1))
        for sequence in range(6):
            name = client_order_id(RUN_ID, sequence)
            desk.orders.add(name, intent(sequence=sequence), NOW + sequence)
            desk.on_update(replace(update(name, OrderStatus.REJECTED), code=code))
        assert desk.breaker.state is state
