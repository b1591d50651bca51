"""What one review of the gate costs; run by make bench."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from config.settings import RiskLimits
from kernels.events import AccountState, Side
from kernels.ledger import Ledger
from kernels.units import E8
from risk.gate import Approved, Gate
from risk.views import ModelVerdict
from risk.working_tally import tally
from tests.fakes.gate_scene import (
    BTC_TICKS,
    NOW_NS,
    GateScene,
    make_instrument,
    make_intent,
    make_market,
    make_order,
)

SLACK = 1.5
"""A shared machine may be so much slower than a quiet one; the figures are printed as they are."""


def cost_ns(instrument_count: int) -> list[int]:
    """Time approvals beside 20 working orders, every instrument exposed; sorted, ns each.

    The sums of the orders are kept by the order table as orders change, outside of a review.
    """
    instruments = tuple(make_instrument(n, E8 // 10) for n in range(instrument_count))
    ledger = Ledger(instruments, 0)
    for instrument in instruments:
        ledger.mark(instrument.index, BTC_TICKS, NOW_NS)
    ledger.adopt(
        AccountState(
            received_ns=NOW_NS, wallet_quote_e8=10**7 * E8, position_lots=(1,) * instrument_count
        )
    )
    orders = [
        make_order(n % instrument_count, Side.BUY if n % 3 else Side.SELL, 5) for n in range(20)
    ]
    scene = GateScene(
        ledger=ledger,
        market=make_market()[:1] * instrument_count,
        model=(ModelVerdict.OK,) * instrument_count,
        working=tally(instrument_count, orders),
        limits=RiskLimits(
            messages_per_s_max=1e6, messages_burst_max=10**6, agent_executions_max=10**6
        ),
    )
    gate = Gate(instruments, scene.limits)
    intents = [
        make_intent(
            n,
            quantity_lots=1 + n % 2000 % 200,
            price_ticks=BTC_TICKS + n % 2999,
            agent_share_A=(0.2,) * 5,
        )
        for n in range(10_000)
    ]
    spent_ns = []
    for intent in intents:
        scene.now_ns += 10**5
        began_ns = time.perf_counter_ns()
        (answer,) = scene.review(gate, intent)
        spent_ns.append(time.perf_counter_ns() - began_ns)
        assert isinstance(answer, Approved), answer
    return sorted(spent_ns)


@pytest.mark.bench
def test_one_intent_beside_twenty_orders(record_property: Callable[[str, object], None]) -> None:
    """One approved intent with 20 working orders: p50 at most 10 us, on 2 instruments or 64."""
    medians = {}
    for instrument_count in (2, 16, 64):
        spent_ns = cost_ns(instrument_count)
        for name, share in (("p50_ns", 0.5), ("p99_ns", 0.99)):
            figure = spent_ns[int(share * len(spent_ns))]
            record_property(f"{name}_{instrument_count}", figure)
            print(f"{instrument_count} instruments: {name} {figure}")
        medians[instrument_count] = spent_ns[len(spent_ns) // 2]
    assert medians[2] <= 10_000 * SLACK
    assert medians[64] <= 1.15 * medians[2], "the cost grows with the number of instruments"
