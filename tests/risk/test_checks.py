"""Every check: denied just beyond its limit, approved at it, and missed when it is taken away."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import risk.checks
from kernels.events import Side, Verdict
from risk.breaker import NS_PER_MS, BreakerState
from risk.checks import new_risk_denial, reduction_denial, shape_denial
from risk.gate import Approved, Denied
from risk.reasons import DenialCode
from risk.working_tally import tally
from tests.fakes.gate_cases import (
    CASES,
    COARSE,
    COSTLY,
    FIRST_ONLY,
    LAST_ONLY,
    LONG,
    REDUCE,
    TIGHT_BUDGET,
    WIDE,
    WIDE_POSITION,
    Case,
    DisarmedScene,
    losing_ledger,
    reducing,
    resting,
    small_limits,
)
from tests.fakes.gate_scene import (
    BTC,
    BTC_TICKS,
    ETH,
    NOW_NS,
    GateScene,
    make_intent,
    make_ledger,
    make_market,
    make_order,
)

CHAINS = (shape_denial, new_risk_denial, reduction_denial)
CHECKS = sorted({name for chain in CHAINS for name in chain.__code__.co_names})
"""What the three chains call, by name."""


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
    assert {case.check for case in CASES} == set(CHECKS)
    assert {case.code for case in CASES} == set(DenialCode) - {DenialCode.INPUT_MISSING}


@pytest.mark.parametrize("check", CHECKS)
def test_removing_a_check_lets_its_scenes_through(
    check: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one check each of its scenes is approved: it alone holds them back."""
    monkeypatch.setattr(risk.checks, check, lambda intent, scene: None)
    cases = [case for case in CASES if case.check == check]
    assert cases
    for case in cases:
        answer = case.scene().answer()
        if check == "instrument_known":  # nothing can be read of an unknown instrument
            assert isinstance(answer, Denied)
            assert answer.code is DenialCode.INPUT_MISSING
        else:
            assert isinstance(answer, Approved), answer


@pytest.mark.parametrize(
    "name", sorted({*WIDE, "order_depth_frac_max", "order_day_volume_frac_max", "leverage_max"})
)
def test_a_limit_of_zero_permits_nothing(name: str) -> None:
    """0 means 0: no limit is switched off by it, and reductions still pass."""
    smaller = {"order_notional_quote_max", "position_notional_quote_max", "net_notional_quote_max"}
    zeros = {name, *(smaller if name in WIDE else ())}
    if name == "order_notional_quote_max":
        zeros = {name}
    elif name == "position_notional_quote_max":
        zeros = {"order_notional_quote_max", name}
    limits = small_limits(**dict.fromkeys(zeros, 0.0))
    assert isinstance(GateScene(limits=limits).answer(), Denied)
    assert isinstance(reducing(limits=limits).answer(), Approved)


@pytest.mark.parametrize(
    "name", ["daily_loss_frac_max", "drawdown_frac_max", "margin_use_frac_max", "price_collar_bps"]
)
def test_a_share_of_zero_permits_nothing(name: str) -> None:
    """No tolerance of loss, margin or distance is none, not any."""
    zeros = {name, "daily_loss_frac_max"} if name == "drawdown_frac_max" else {name}
    limits = small_limits(**dict.fromkeys(zeros, 0.0))
    scene = GateScene(limits=limits, intent=make_intent(price_ticks=BTC_TICKS + 1))
    assert isinstance(scene.answer(), Denied)


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
        ),
        ledger=make_ledger(marks=(BTC_TICKS, 0)),
    ),
    "oldest mark elsewhere": lambda: GateScene(
        ledger=make_ledger((0, 10), marked_ns=(NOW_NS, NOW_NS - 5000 * NS_PER_MS))
    ),
    "beside our own order": lambda: resting(Side.SELL, BTC_TICKS + 1),
    "with our own order": lambda: resting(Side.BUY, BTC_TICKS),
    "depth at limit": lambda: GateScene(market=make_market(ask_depth_lots=(400, 1))),
    "net at limit": lambda: GateScene(
        ledger=make_ledger((600, 0)),
        working=tally(2, [make_order(ETH, Side.BUY, 12_692)]),  # 74999.2
    ),
    "long and short": lambda: GateScene(ledger=make_ledger((600, -16_000))),
    "margin at limit": lambda: GateScene(
        ledger=make_ledger(wallet_quote=600), limits=small_limits(leverage_max=50.0)
    ),
    "other agents are disarmed": lambda: DisarmedScene(intent=make_intent(agent_share_A=LAST_ONLY)),
    "nobody's wish": DisarmedScene,
    "reduce without a model": lambda: reducing(model=None),
    "reduce through our own order in FLATTEN": lambda: reducing(
        breaker=BreakerState.FLATTEN,
        working=tally(2, [make_order(BTC, Side.BUY, 1, resting_ticks=BTC_TICKS)]),
    ),
    "reduce what a disarmed agent holds": lambda: DisarmedScene(
        intent=make_intent(**REDUCE, agent_share_A=FIRST_ONLY), ledger=make_ledger(LONG)
    ),
    "reduce in a thin book": lambda: reducing(market=make_market(bid_depth_lots=(0, 0))),
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
