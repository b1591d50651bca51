"""Every check: denied just beyond its limit, approved at it, and missed when it is taken away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

import risk.gate
from config.settings import RiskLimits
from kernels.events import OrderType, Side, Verdict
from kernels.ledger import NS_PER_DAY, Ledger
from kernels.units import E8
from risk.breaker import NS_PER_MS, BreakerState
from risk.checks import CHECKS, Check
from risk.gate import Approved, Denied
from risk.reasons import DenialCode
from risk.views import tally
from tests.fakes.gate_scene import (
    BTC,
    BTC_TICKS,
    ETH,
    ETH_TICKS,
    INSTRUMENTS,
    NOW_NS,
    GateScene,
    make_instrument,
    make_intent,
    make_ledger,
    make_market,
    make_order,
)


@dataclass(frozen=True)
class Case:
    """A scene that exactly one check denies: without that check it would be approved."""

    check: str
    code: DenialCode
    scene: Callable[[], GateScene]


def losing_ledger(loss_quote: int, *, days_ago: int) -> Ledger:
    """Build an account of 100000 that lost so much, today or some days ago."""
    ledger = make_ledger((1000, 0))
    ledger.roll_day(NOW_NS - days_ago * NS_PER_DAY)
    ledger.mark(BTC, BTC_TICKS - loss_quote * 10)  # 1 BTC: 10 ticks are one quote
    if days_ago:
        ledger.roll_day(NOW_NS + NS_PER_DAY)
    return ledger


def small_limits(**changes: float) -> RiskLimits:
    """Build the default limits with changes."""
    return RiskLimits.model_validate(changes)


WIDE_POSITION = small_limits(
    order_notional_quote_max=1e6, position_notional_quote_max=1e6, gross_notional_quote_max=1e6
)
LONG = (100, 0)
SELL = {"side": Side.SELL}
REDUCE = {"side": Side.SELL, "reduce_only": True}
COARSE = (make_instrument(BTC, E8 // 10, lots_min=10, lots_max=99), INSTRUMENTS[ETH])
COSTLY = (make_instrument(BTC, E8 // 10, notional_min_quote_e8=100 * E8), INSTRUMENTS[ETH])
TIGHT_BUDGET = small_limits(messages_burst_max=2, messages_reserve=1, messages_per_s_max=1e-6)


def reducing(**changes: object) -> GateScene:
    """Build a scene in which 0.1 BTC long is closed; fields can be bent."""
    scene = GateScene(intent=make_intent(**REDUCE), ledger=make_ledger(LONG))
    for name, value in changes.items():
        setattr(scene, name, value)
    return scene


def on_feed(verdict: Verdict | None) -> Callable[[], GateScene]:
    """Build a maker of scenes on a feed of this verdict."""
    return lambda: GateScene(market=make_market(verdict=(verdict, Verdict.OK)))


CASES = (
    Case(
        "instrument_known",
        DenialCode.INSTRUMENT_UNKNOWN,
        lambda: GateScene(intent=make_intent(instrument=-1, price_ticks=ETH_TICKS)),
    ),
    Case(
        "well_formed",
        DenialCode.MALFORMED,
        lambda: GateScene(intent=make_intent(price_ticks=float(BTC_TICKS))),
    ),
    Case(
        "well_formed",
        DenialCode.MALFORMED,
        lambda: GateScene(intent=make_intent(quantity_lots=1.5)),
    ),
    Case(
        "well_formed", DenialCode.MALFORMED, lambda: GateScene(intent=make_intent(order_type=None))
    ),
    Case("well_formed", DenialCode.MALFORMED, lambda: GateScene(intent=make_intent(reduce_only=0))),
    Case(
        "sequence_fresh",
        DenialCode.SEQUENCE_REUSED,
        lambda: GateScene(
            earlier=(make_intent(5),), intent=make_intent(5, price_ticks=BTC_TICKS + 1)
        ),
    ),
    Case(
        "breaker_permits",
        DenialCode.BREAKER_REDUCE_ONLY,
        lambda: GateScene(breaker=BreakerState.REDUCE_ONLY),
    ),
    Case(
        "breaker_permits",
        DenialCode.BREAKER_REDUCE_ONLY,
        lambda: GateScene(breaker=BreakerState.FLATTEN),
    ),
    Case(
        "breaker_permits",
        DenialCode.BREAKER_CANCEL,
        lambda: reducing(
            breaker=BreakerState.CANCEL, intent=make_intent(**REDUCE, order_type=OrderType.GTC)
        ),
    ),
    Case(
        "breaker_permits",
        DenialCode.BREAKER_HALTED,
        lambda: reducing(breaker=BreakerState.HALTED),
    ),
    Case(
        "truly_reduces",
        DenialCode.REDUCE_FROM_FLAT,
        lambda: GateScene(intent=make_intent(reduce_only=True)),
    ),
    Case(
        "truly_reduces",
        DenialCode.REDUCE_WRONG_SIDE,
        lambda: reducing(intent=make_intent(reduce_only=True)),
    ),
    Case(
        "truly_reduces",
        DenialCode.REDUCE_TOO_LARGE,
        lambda: reducing(intent=make_intent(**REDUCE, quantity_lots=101)),
    ),
    Case(
        "truly_reduces",
        DenialCode.REDUCE_TOO_LARGE,
        lambda: reducing(working=tally(2, [make_order(BTC, Side.SELL, 1, reduce_only=True)])),
    ),
    Case(
        "truly_reduces",
        DenialCode.REDUCE_TOO_LARGE,
        lambda: reducing(working=tally(2, [make_order(BTC, Side.SELL, 1, is_unknown=True)])),
    ),
    Case(
        "lots_filter",
        DenialCode.LOTS_FILTER,
        lambda: GateScene(instruments=COARSE, intent=make_intent(quantity_lots=9)),
    ),
    Case(
        "lots_filter",
        DenialCode.LOTS_FILTER,
        lambda: GateScene(instruments=COARSE, intent=make_intent(quantity_lots=100)),
    ),
    Case(
        "notional_filter",
        DenialCode.NOTIONAL_FILTER,
        lambda: GateScene(instruments=COSTLY, intent=make_intent(quantity_lots=1)),
    ),
    *(
        Case("feed_ok", DenialCode.FEED_NOT_OK, on_feed(verdict))
        for verdict in (*(each for each in Verdict if each is not Verdict.OK), None)
    ),
    Case(
        "price_known",
        DenialCode.QUOTE_MISSING,
        lambda: GateScene(market=make_market(bid_lots=(0, 1))),
    ),
    Case(
        "price_known",
        DenialCode.QUOTE_MISSING,
        lambda: GateScene(market=make_market(ask_ticks=(0, ETH_TICKS))),
    ),
    Case(
        "price_known",
        DenialCode.QUOTE_MISSING,
        lambda: GateScene(market=make_market(bid_ticks=(BTC_TICKS + 1, ETH_TICKS))),
    ),
    Case(
        "price_known",
        DenialCode.QUOTE_MISSING,
        lambda: GateScene(market=make_market(bid_ticks=(float("nan"), ETH_TICKS))),
    ),
    Case(
        "price_known",
        DenialCode.QUOTE_MISSING,
        lambda: reducing(market=make_market(bid_ticks=(0, 0), mark_ticks=(0, 0))),
    ),
    Case(
        "quote_fresh",
        DenialCode.QUOTE_STALE,
        lambda: GateScene(
            market=make_market(quote_received_ns=(NOW_NS - 3000 * NS_PER_MS - 1, NOW_NS))
        ),
    ),
    Case(
        "quote_fresh",
        DenialCode.QUOTE_STALE,
        lambda: GateScene(market=make_market(quote_received_ns=(NOW_NS + 1, NOW_NS))),
    ),
    Case(
        "quote_fresh",
        DenialCode.QUOTE_STALE,
        lambda: GateScene(market=make_market(quote_received_ns=(0, NOW_NS)), now_ns=NOW_NS),
    ),
    Case(
        "marks_known",
        DenialCode.MARK_MISSING,
        lambda: GateScene(market=make_market(mark_ticks=(0, ETH_TICKS))),
    ),
    Case(
        "marks_known",
        DenialCode.MARK_MISSING,
        lambda: GateScene(
            market=make_market(mark_ticks=(BTC_TICKS, 0)), ledger=make_ledger((0, 10))
        ),
    ),
    Case(
        "marks_fresh",
        DenialCode.MARK_STALE,
        lambda: GateScene(
            market=make_market(mark_received_ns=(NOW_NS - 5000 * NS_PER_MS - 1, NOW_NS))
        ),
    ),
    Case(
        "marks_fresh",
        DenialCode.MARK_STALE,
        lambda: GateScene(
            market=make_market(mark_received_ns=(NOW_NS, 0)),
            working=tally(2, [make_order(ETH, Side.BUY, 10)]),
        ),
    ),
    Case(
        "collar_mid",
        DenialCode.COLLAR_MID,
        lambda: GateScene(
            market=make_market(mark_ticks=(BTC_TICKS + 1000, ETH_TICKS)),
            intent=make_intent(price_ticks=BTC_TICKS + 3001),
        ),
    ),
    Case(
        "collar_mid",
        DenialCode.COLLAR_MID,
        lambda: reducing(intent=make_intent(**REDUCE, price_ticks=BTC_TICKS - 3001)),
    ),
    Case(
        "collar_mark",
        DenialCode.COLLAR_MARK,
        lambda: GateScene(
            market=make_market(
                bid_ticks=(BTC_TICKS + 999, 1), ask_ticks=(BTC_TICKS + 1001, ETH_TICKS)
            ),
            intent=make_intent(price_ticks=BTC_TICKS + 3001),
        ),
    ),
    Case(
        "collar_mark",
        DenialCode.COLLAR_MARK,
        lambda: reducing(
            market=make_market(bid_ticks=(0, 0)),
            intent=make_intent(**REDUCE, price_ticks=BTC_TICKS - 3001),
        ),
    ),
    Case(
        "fate_known",
        DenialCode.UNKNOWN_ORDER,
        lambda: GateScene(working=tally(2, [make_order(BTC, Side.SELL, 1, is_unknown=True)])),
    ),
    Case(
        "equity_known",
        DenialCode.EQUITY_MISSING,
        lambda: GateScene(ledger=make_ledger((0, 10), marks=(BTC_TICKS, 0))),
    ),
    Case(
        "order_notional",
        DenialCode.ORDER_NOTIONAL,
        lambda: GateScene(limits=small_limits(order_notional_quote_max=5999.99)),
    ),
    Case(
        "position_notional",
        DenialCode.POSITION_NOTIONAL,
        lambda: GateScene(
            ledger=make_ledger((400, 0)), working=tally(2, [make_order(BTC, Side.BUY, 334)])
        ),
    ),
    Case(
        "position_notional",
        DenialCode.POSITION_NOTIONAL,
        lambda: GateScene(
            intent=make_intent(**SELL),
            ledger=make_ledger((-400, 0)),
            working=tally(2, [make_order(BTC, Side.SELL, 334)]),
        ),
    ),
    Case(
        "gross_notional",
        DenialCode.GROSS_NOTIONAL,
        lambda: GateScene(
            ledger=make_ledger((700, 0)),  # 42000, with the order 48000
            working=tally(2, [make_order(ETH, Side.SELL, 16154)]),  # 42000.4
        ),
    ),
    Case(
        "leverage",
        DenialCode.LEVERAGE,
        lambda: GateScene(ledger=make_ledger(wallet_quote=5999)),
    ),
    Case(
        "daily_loss",
        DenialCode.DAILY_LOSS,
        lambda: GateScene(ledger=losing_ledger(5_000, days_ago=0), limits=WIDE_POSITION),
    ),
    Case(
        "drawdown",
        DenialCode.DRAWDOWN,
        lambda: GateScene(ledger=losing_ledger(15_000, days_ago=1), limits=WIDE_POSITION),
    ),
    Case(
        "not_duplicate",
        DenialCode.DUPLICATE,
        lambda: GateScene(earlier=(make_intent(1),), intent=make_intent(2)),
    ),
    Case(
        "message_budget",
        DenialCode.MESSAGE_BUDGET,
        lambda: GateScene(
            limits=TIGHT_BUDGET,
            earlier=(make_intent(1),),
            intent=make_intent(2, price_ticks=BTC_TICKS + 1),
        ),
    ),
)


def case_name(case: Case) -> str:
    """Name a case by its check and code."""
    return f"{case.check}-{case.code}"


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_scene_is_denied_by_its_code(case: Case) -> None:
    """The scene is denied for the reason it was built for, with a sentence."""
    answer = case.scene().answer()
    assert isinstance(answer, Denied)
    assert answer.code is case.code
    assert answer.detail


def test_every_check_and_code_has_a_case() -> None:
    """No check and no reason is left without a scene."""
    assert {case.check for case in CASES} == {check.__name__ for check in CHECKS}
    assert {case.code for case in CASES} == set(DenialCode) - {DenialCode.INPUT_MISSING}
    assert len(set(CHECKS)) == len(CHECKS)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_removing_a_check_lets_its_scenes_through(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one check each of its scenes is approved: it alone holds them back."""
    without = tuple(each for each in CHECKS if each is not check)
    monkeypatch.setattr(risk.gate, "CHECKS", without)
    scenes = [case.scene() for case in CASES if case.check == check.__name__]
    assert scenes
    for scene in scenes:
        assert isinstance(scene.answer(), Approved)


EDGES: dict[str, Callable[[], GateScene]] = {
    "plain": GateScene,
    "oldest quote": lambda: GateScene(
        market=make_market(quote_received_ns=(NOW_NS - 3000 * NS_PER_MS, NOW_NS))
    ),
    "oldest mark": lambda: GateScene(
        market=make_market(mark_received_ns=(NOW_NS - 5000 * NS_PER_MS, NOW_NS))
    ),
    "other feed broken": lambda: GateScene(
        market=make_market(
            verdict=(Verdict.OK, Verdict.GAP),
            mark_ticks=(BTC_TICKS, 0),
            mark_received_ns=(NOW_NS, 0),
        )
    ),
    "collar above": lambda: GateScene(intent=make_intent(price_ticks=BTC_TICKS + 3000)),
    "collar below": lambda: GateScene(intent=make_intent(price_ticks=BTC_TICKS - 3000)),
    "unknown elsewhere": lambda: GateScene(
        working=tally(2, [make_order(ETH, Side.BUY, 1, is_unknown=True)])
    ),
    "order at limit": lambda: GateScene(limits=small_limits(order_notional_quote_max=6000.0)),
    "position at limit": lambda: GateScene(
        ledger=make_ledger((400, 0)), working=tally(2, [make_order(BTC, Side.BUY, 333)])
    ),
    "gross at limit": lambda: GateScene(
        ledger=make_ledger((700, 0)), working=tally(2, [make_order(ETH, Side.SELL, 16153)])
    ),
    "leverage at limit": lambda: GateScene(ledger=make_ledger(wallet_quote=6000)),
    "loss below limit": lambda: GateScene(
        ledger=losing_ledger(4_999, days_ago=0), limits=WIDE_POSITION
    ),
    "drawdown below limit": lambda: GateScene(
        ledger=losing_ledger(14_999, days_ago=1), limits=WIDE_POSITION
    ),
    "numpy views": lambda: GateScene(
        market=make_market(
            bid_ticks=np.array([BTC_TICKS - 1, 1]),
            ask_ticks=np.array([BTC_TICKS + 1, 1]),
            mark_ticks=np.array([BTC_TICKS, 1]),
        ),
        working=tally(2, []),
    ),
    "smallest lot": lambda: GateScene(instruments=COARSE, intent=make_intent(quantity_lots=10)),
    "reduce all": reducing,
    "reduce in REDUCE_ONLY": lambda: reducing(breaker=BreakerState.REDUCE_ONLY),
    "reduce in FLATTEN": lambda: reducing(breaker=BreakerState.FLATTEN),
    "reduce by IOC in CANCEL": lambda: reducing(breaker=BreakerState.CANCEL),
    "reduce dust": lambda: reducing(
        instruments=COSTLY, intent=make_intent(**REDUCE, quantity_lots=1)
    ),
    "reduce on an old broken feed": lambda: reducing(
        market=make_market(
            verdict=(Verdict.STALE, Verdict.GAP),
            quote_received_ns=(1, 1),
            mark_received_ns=(0, 0),
            mark_ticks=(0, 0),
            bid_lots=(0, 0),
        )
    ),
    "reduce on the mark alone": lambda: reducing(market=make_market(bid_ticks=(0, 0))),
    "reduce what lost everything": lambda: reducing(ledger=make_ledger(LONG, wallet_quote=0)),
    "reduce beside an UNKNOWN": lambda: reducing(
        working=tally(2, [make_order(BTC, Side.BUY, 900, is_unknown=True)])
    ),
    "reduce more than an order may be": lambda: reducing(
        ledger=make_ledger((2000, 0)), intent=make_intent(**REDUCE, quantity_lots=2000)
    ),
    "reduce from the reserve": lambda: reducing(
        limits=TIGHT_BUDGET, earlier=(make_intent(0),), intent=make_intent(1, **REDUCE)
    ),
    "reduce short": lambda: reducing(
        ledger=make_ledger((-100, 0)), intent=make_intent(reduce_only=True)
    ),
}


@pytest.mark.parametrize("name", EDGES)
def test_scene_at_its_limit_is_approved(name: str) -> None:
    """What is exactly allowed passes, and so does every proven reduction."""
    scene = EDGES[name]()
    answer = scene.answer()
    assert isinstance(answer, Approved), answer
    assert answer.intent is scene.intent
    assert answer.approved_ns == NOW_NS
