"""What one review of the gate costs; run by make bench."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from config.settings import RiskLimits
from kernels.events import Side
from risk.gate import Approved
from risk.views import tally
from tests.fakes.gate_scene import BTC_TICKS, GateScene, make_intent, make_ledger, make_order


@pytest.mark.bench
def test_one_intent_beside_twenty_orders(record_property: Callable[[str, object], None]) -> None:
    """One approved intent with 20 working orders: p50 below 50 us (goal 10, measured 12)."""
    orders = [make_order(n % 2, Side.BUY if n % 3 else Side.SELL, 5) for n in range(20)]
    scene = GateScene(
        ledger=make_ledger((100, -1000)),
        working=tally(2, orders),
        limits=RiskLimits(messages_per_s_max=1e6, messages_burst_max=10**6),
    )
    gate = scene.gate()
    intents = [
        make_intent(n, quantity_lots=1 + n % 2000 % 400, price_ticks=BTC_TICKS + n % 2999)
        for n in range(20_000)
    ]
    spent_ns = []
    for n, intent in enumerate(intents):
        scene.now_ns += 10**5
        if n % 1000 == 0:
            gate = scene.gate()
        began_ns = time.perf_counter_ns()
        (answer,) = scene.review(gate, intent)
        spent_ns.append(time.perf_counter_ns() - began_ns)
        assert isinstance(answer, Approved), answer
    spent_ns.sort()
    for name, share in (("p50_ns", 0.5), ("p99_ns", 0.99)):
        record_property(name, spent_ns[int(share * len(spent_ns))])
        print(name, spent_ns[int(share * len(spent_ns))])
    assert spent_ns[len(spent_ns) // 2] < 50_000
