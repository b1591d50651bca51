"""The gate as a whole: nothing exceeds a limit, nothing missing passes, nobody else approves."""

from __future__ import annotations

import ast
import copy
import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config.settings import RiskLimits
from kernels.events import OrderType, Side
from kernels.ledger import Ledger
from risk.breaker import BreakerState
from risk.gate import Approved, Denied, Gate
from risk.reasons import DenialCode
from risk.views import (
    BUY_LOTS,
    REDUCE_BUY_LOTS,
    REDUCE_SELL_LOTS,
    SELL_LOTS,
    UNKNOWN_COUNT,
    WorkingView,
)
from risk.working_tally import tally
from tests.fakes.approving import approve
from tests.fakes.gate_scene import (
    BTC_TICKS,
    ETH,
    ETH_TICKS,
    INSTRUMENTS,
    NOW_NS,
    GateScene,
    make_intent,
    make_ledger,
    make_market,
    make_order,
)

ROOT = Path(__file__).resolve().parents[2]
SELL_REDUCE = {"side": Side.SELL, "reduce_only": True}


@pytest.mark.parametrize("name", ["ledger", "market", "working", "breaker"])
@pytest.mark.parametrize("reduce_only", [False, True])
def test_missing_input_denies_everything(name: str, reduce_only: bool) -> None:
    """Without account, market, orders or breaker not even a reduction is provable."""
    scene = GateScene(ledger=make_ledger((100, 0)))
    scene.intent = make_intent(**SELL_REDUCE) if reduce_only else make_intent()
    assert isinstance(scene.answer(), Approved)
    setattr(scene, name, None)
    answer = scene.answer()
    assert isinstance(answer, Denied)
    assert answer.code is DenialCode.INPUT_MISSING


@pytest.mark.parametrize("count", [0, 1, 3])
def test_short_market_denies(count: int) -> None:
    """A market or orders that do not speak of every instrument are a missing input."""
    market = (make_market() * 2)[:count]
    for scene in (GateScene(market=market), GateScene(working=tally(count, []))):
        answer = scene.answer()
        assert isinstance(answer, Denied)
        assert answer.code is DenialCode.INPUT_MISSING


@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize(
    ("column", "number"),
    [
        (BUY_LOTS, -1),
        (SELL_LOTS, -1),
        (REDUCE_BUY_LOTS, 1),  # more reducers than orders: the totals exclude them
        (REDUCE_SELL_LOTS, -1),
        (UNKNOWN_COUNT, -1),
    ],
)
def test_inconsistent_orders_deny(row: int, column: int, number: int) -> None:
    """Working orders that cannot be true are a missing input, whatever instrument they are of."""
    table_NC = tally(2, []).table_NC.copy()
    table_NC[row, column] = number
    answer = GateScene(working=WorkingView(table_NC=table_NC)).answer()
    assert isinstance(answer, Denied)
    assert answer.code is DenialCode.INPUT_MISSING


@pytest.mark.parametrize("bad", [np.zeros((2, 7)), np.zeros((2, 6), np.int64), np.zeros(7, int)])
def test_orders_of_another_shape_are_no_view(bad: Any) -> None:
    """A table of another type or shape cannot become the gate's input."""
    with pytest.raises(ValueError, match="working orders"):
        WorkingView(table_NC=bad)


def test_foreign_account_denies() -> None:
    """An account over other instruments than the gate's is a missing input."""
    answer = GateScene(ledger=Ledger(INSTRUMENTS[:1], 10**13)).answer()
    assert isinstance(answer, Denied)
    assert answer.code is DenialCode.INPUT_MISSING


def test_absurd_sums_saturate() -> None:
    """Positions and orders beyond 64 bits count as too large instead of wrapping around."""
    orders = [make_order(ETH, Side.BUY, 2**62), make_order(ETH, Side.BUY, 2**62)]
    answer = GateScene(working=tally(2, orders)).answer()
    assert isinstance(answer, Denied)
    assert answer.code is DenialCode.GROSS_NOTIONAL
    assert answer.observed > 1e10


@pytest.mark.parametrize("absent", [float("nan"), float("inf"), None, 0, -5])
@pytest.mark.parametrize(
    "name",
    [
        "bid_ticks",
        "ask_ticks",
        "bid_lots",
        "ask_lots",
        "ask_depth_lots",
        "mark_ticks",
        "quote_received_ns",
        "mark_received_ns",
    ],
)
def test_absent_price_denies_new_risk(name: str, absent: float | None) -> None:
    """Each price, size or stamp that is no positive whole number denies new risk."""
    market = make_market(**{name: (absent, 1)})
    assert isinstance(GateScene(market=market).answer(), Denied)


def test_no_account_is_not_a_pass() -> None:
    """Fail-open case 1: an account that was never taken over allows nothing."""
    assert isinstance(GateScene(ledger=None).answer(), Denied)
    assert isinstance(GateScene(ledger=make_ledger(wallet_quote=0)).answer(), Denied)


def test_aggressive_order_without_price_is_not_a_pass() -> None:
    """Fail-open case 2: an order meant to take liquidity needs a known price like any other."""
    market = make_market(bid_ticks=(0, 0), ask_ticks=(0, 0), mark_ticks=(0, 0))
    for changes in ({}, SELL_REDUCE):
        scene = GateScene(
            market=market, intent=make_intent(**changes), ledger=make_ledger((100, 0))
        )
        assert isinstance(scene.answer(), Denied)


@pytest.mark.parametrize("state", list(BreakerState))
@pytest.mark.parametrize("side", list(Side))
def test_reducing_neither_opens_nor_flips(state: BreakerState, side: Side) -> None:
    """Fail-open case 3: from flat nothing opens, and an oversized order flips nothing."""
    flat = GateScene(breaker=state, intent=make_intent(side=side, reduce_only=True))
    assert isinstance(flat.answer(), Denied)
    lots = (-100 * int(side), 0)
    oversized = make_intent(side=side, reduce_only=True, quantity_lots=101)
    scene = GateScene(breaker=state, ledger=make_ledger(lots), intent=oversized)
    assert isinstance(scene.answer(), Denied)
    if state is not BreakerState.NORMAL:
        plain = GateScene(breaker=state, ledger=make_ledger(lots), intent=make_intent(side=side))
        assert isinstance(plain.answer(), Denied)


def test_one_review_counts_its_own_approvals() -> None:
    """Two halves of a limit pass, the third piece and a second full close do not."""
    scene = GateScene(ledger=make_ledger((0, 1000)))
    buys = [make_intent(n, quantity_lots=400, price_ticks=BTC_TICKS + n) for n in range(1, 4)]
    close = {"instrument": ETH, "quantity_lots": 1000, "price_ticks": ETH_TICKS, **SELL_REDUCE}
    again = {**close, "price_ticks": ETH_TICKS + 1}
    intents = (*buys, make_intent(7, **close), make_intent(8, **again))
    answers = scene.review(scene.gate(), *intents)
    codes = [each.code if isinstance(each, Denied) else None for each in answers]
    assert codes == [
        None,
        None,
        DenialCode.POSITION_NOTIONAL,
        None,
        DenialCode.REDUCE_TOO_LARGE,
    ]


def test_one_review_does_not_trade_with_itself() -> None:
    """Two agents' orders that would meet each other: the second is denied, where the first rests.

    An order that cannot rest can be met by nobody.
    """
    for order_type, code in ((OrderType.GTC, DenialCode.SELF_TRADE), (OrderType.IOC, None)):
        scene = GateScene(ledger=make_ledger((0, 0)))
        buy = make_intent(1, order_type=order_type, price_ticks=BTC_TICKS + 1)
        sell = make_intent(2, side=Side.SELL, price_ticks=BTC_TICKS)
        first, second = scene.review(scene.gate(), buy, sell)
        assert isinstance(first, Approved)
        assert getattr(second, "code", None) is code
    assert scene.working is not None
    assert not scene.working.table_NC.any(), "the review wrote into its input"


def test_replay_is_exact() -> None:
    """A gate restored from its state answers and remembers like the original."""
    scene = GateScene()
    gate = scene.gate()
    scene.review(gate, make_intent(1))
    assert gate.allow_cancel(NOW_NS + 1)
    twin = scene.gate()
    twin.restore(gate.state)
    scene.now_ns = NOW_NS + 2
    intents = (make_intent(1), make_intent(2), make_intent(3, price_ticks=BTC_TICKS + 1))
    codes = [getattr(each, "code", None) for each in scene.review(gate, *intents)]
    assert codes == [getattr(each, "code", None) for each in scene.review(twin, *intents)]
    assert codes == [DenialCode.SEQUENCE_REUSED, DenialCode.DUPLICATE, None]
    assert gate.state == twin.state


def test_memory_of_duplicates_is_bounded() -> None:
    """Approvals are forgotten once they left the window, and may be repeated then."""
    scene = GateScene(limits=RiskLimits(position_notional_quote_max=5e4))
    gate = scene.gate()
    for sequence in range(200):
        scene.now_ns = NOW_NS + sequence * 200_000_000
        stamps = (scene.now_ns, scene.now_ns)
        scene.market = make_market(quote_received_ns=stamps, mark_received_ns=stamps)
        scene.ledger = make_ledger(marked_ns=stamps)
        (answer,) = scene.review(gate, make_intent(sequence))
        assert isinstance(answer, Approved), answer
        assert len(gate.state.approved) == 1


def test_reload_is_no_refill() -> None:
    """New limits apply at once and give back no message."""
    gate = Gate(INSTRUMENTS, RiskLimits(messages_burst_max=3, messages_reserve=1))
    assert [gate.allow_cancel(NOW_NS) for _ in range(4)] == [True, True, True, False]
    gate.set_limits(RiskLimits(messages_burst_max=1000, order_notional_quote_max=10.0))
    assert not gate.allow_cancel(NOW_NS)
    assert gate.allow_cancel(NOW_NS + 10**9)
    (answer,) = GateScene(now_ns=NOW_NS + 10**9).review(gate, make_intent())
    assert isinstance(answer, Denied)


def test_cancels_use_the_reserve() -> None:
    """New orders stop at the reserve, cancels go on to the last message."""
    limits = RiskLimits(messages_burst_max=6, messages_reserve=4, messages_per_s_max=1e-6)
    scene = GateScene(limits=limits)
    gate = scene.gate()
    intents = [make_intent(n, price_ticks=BTC_TICKS + n) for n in range(4)]
    answers = scene.review(gate, *intents)
    assert [isinstance(each, Approved) for each in answers] == [True, True, False, False]
    assert [gate.allow_cancel(NOW_NS) for _ in range(5)] == [True] * 4 + [False]


def test_approved_has_one_maker() -> None:
    """Constructing, replacing, copying, pickling and subclassing an approval all raise."""
    intent = make_intent()
    approved = approve(intent, INSTRUMENTS)
    with pytest.raises(TypeError, match="by the gate only"):
        Approved(intent=intent, approved_ns=NOW_NS)
    with pytest.raises(TypeError, match="by the gate only"):
        Approved(intent=intent, approved_ns=NOW_NS, token=object())
    with pytest.raises(TypeError, match="by the gate only"):
        dataclasses.replace(approved, approved_ns=1)
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="copied or pickled"):
            duplicate(approved)
    with pytest.raises(TypeError, match="restored"):
        object.__new__(Approved).__setstate__([intent, NOW_NS])
    with pytest.raises(TypeError, match="subclassed"):
        type("Forged", (Approved,), {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        approved.approved_ns = 1  # type: ignore[misc]  # the point of the test


def test_nobody_else_makes_approvals() -> None:
    """No file of the rooms but the gate's calls Approved, its parts or what fills it."""
    makers = set()
    for room in ("config", "daemon", "kernels", "risk", "strategy"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and makes_approved(node):
                    makers.add(path.relative_to(ROOT).as_posix())
                name = getattr(node, "name", getattr(node, "attr", getattr(node, "id", "")))
                if name in {"_approved", "_SET_INTENT", "_SET_APPROVED_NS"}:
                    makers.add(path.relative_to(ROOT).as_posix())
    assert makers == {"risk/gate.py"}


def makes_approved(call: ast.Call) -> bool:
    """Tell whether a call constructs an Approved, in full or by ``__new__`` or ``replace``."""
    target = call.func
    name = target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")
    named = [getattr(each, "id", getattr(each, "attr", "")) for each in call.args]
    return name == "Approved" or (name in ("__new__", "replace") and "Approved" in named)
