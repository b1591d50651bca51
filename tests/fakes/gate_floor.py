"""A random walk over account, market and orders that holds every approval against the limits."""

from __future__ import annotations

from collections import Counter

import numpy as np

from config.settings import RiskLimits
from kernels.events import OrderIntent, OrderType, Side, Verdict
from kernels.units import E8
from risk.breaker import BreakerState
from risk.gate import Approved, Denied, Gate
from risk.reasons import DenialCode
from risk.views import WorkingView, tally
from tests.fakes.gate_scene import (
    BTC,
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

AGES_NS = (0, 10**9, 4 * 10**9, 10**10)
"""Ages of quotes and marks on a broken feed; the limits are 3 s and 5 s."""


class Floor:
    """A simulated account, market and order list that a random walk pushes around.

    Everything it asserts is computed from its own lists, not from the gate's scene.
    """

    def __init__(self, seed: int) -> None:
        """Draw limits tight enough that every one of them binds now and then."""
        self.draw = np.random.default_rng(seed)
        position = float(self.draw.uniform(5_000, 40_000))
        self.limits = RiskLimits(
            order_notional_quote_max=position * float(self.draw.uniform(0.2, 1.0)),
            position_notional_quote_max=position,
            gross_notional_quote_max=position * float(self.draw.uniform(1.0, 2.0)),
            leverage_max=float(self.draw.uniform(0.2, 3.0)),
            messages_per_s_max=float(self.draw.uniform(1.0, 20.0)),
            messages_burst_max=int(self.draw.integers(11, 20)),
            messages_reserve=int(self.draw.integers(1, 11)),
        )
        self.gate = Gate(INSTRUMENTS, self.limits)
        self.positions = [int(each) for each in self.draw.integers(-150, 150, 2)]
        if self.draw.random() < 0.3:
            self.positions = [0, 0]
        self.ticks = [BTC_TICKS, ETH_TICKS]
        self.orders: list[tuple[OrderIntent, int, bool]] = []  # intent, remaining lots, unknown
        self.wallet_quote = int(self.draw.integers(10_000, 100_000))
        self.now_ns = NOW_NS
        self.sequence = 0
        self.sent_ns: list[int] = []
        self.codes: Counter[DenialCode] = Counter()
        self.approved_count = 0

    def working(self) -> WorkingView:
        """Sum the living orders."""
        return tally(
            2,
            (
                make_order(
                    intent.instrument,
                    intent.side,
                    lots,
                    reduce_only=intent.reduce_only,
                    is_unknown=unknown,
                )
                for intent, lots, unknown in self.orders
            ),
        )

    def closing_lots(self, instrument: int, side: Side) -> int:
        """Sum what works on one side."""
        return sum(
            lots
            for intent, lots, _ in self.orders
            if intent.instrument == instrument and intent.side is side
        )

    def worst(self, instrument: int) -> int:
        """Worst absolute position, by filling each side alone."""
        position = self.positions[instrument]
        return max(
            abs(position + self.closing_lots(instrument, Side.BUY)),
            abs(position - self.closing_lots(instrument, Side.SELL)),
        )

    def random_intent(self) -> OrderIntent:
        """Draw an intent that is plausible about half of the time."""
        draw = self.draw
        at = int(draw.integers(0, 2))
        self.sequence += int(draw.random() < 0.98)
        scale = 1 if at == BTC else 20
        drift = int(draw.normal(0, 0.002) * self.ticks[at])
        reduce_only = bool(draw.random() < 0.4)
        side = Side.BUY if draw.random() < 0.5 else Side.SELL
        order_lots = self.limits.order_notional_quote_max / 60.0  # 60 quote: one BTC lot
        lots = int(order_lots * draw.uniform(-0.02, 1.1)) * scale
        if reduce_only and draw.random() < 0.7:
            side = Side.SELL if self.positions[at] > 0 else Side.BUY
            lots = max(1, abs(self.positions[at]) + int(draw.integers(-3, 2)))
        return make_intent(
            self.sequence,
            instrument=at,
            side=side,
            quantity_lots=lots,
            price_ticks=self.ticks[at] + drift,
            order_type=OrderType(int(draw.integers(0, 3))),
            reduce_only=reduce_only,
        )

    def scene(self) -> GateScene:
        """Show the gate what it may see, at times broken."""
        draw = self.draw
        broken = draw.random() < 0.2
        quoted_ns, marked_ns = (
            self.now_ns - broken * int(each) for each in draw.choice(AGES_NS, 2)
        )
        marks = tuple(0 if broken and draw.random() < 0.3 else each for each in self.ticks)
        verdict = Verdict(int(draw.integers(0, 8))) if broken else Verdict.OK
        states = (BreakerState.NORMAL,) * 20 + tuple(BreakerState)
        return GateScene(
            ledger=make_ledger(tuple(self.positions), self.wallet_quote, marks=self.ticks),
            market=make_market(
                verdict=(verdict, Verdict.OK),
                bid_ticks=tuple(each - 1 for each in self.ticks),
                ask_ticks=tuple(each + 1 for each in self.ticks),
                mark_ticks=marks,
                quote_received_ns=(quoted_ns, self.now_ns),
                mark_received_ns=(marked_ns, self.now_ns),
            ),
            working=self.working(),
            breaker=states[int(draw.integers(0, len(states)))],
            now_ns=self.now_ns,
        )

    def review(self) -> None:
        """Ask about up to three intents and hold every approval against the limits."""
        scene = self.scene()
        intents = tuple(self.random_intent() for _ in range(int(self.draw.integers(1, 4))))
        answers = scene.review(self.gate, *intents)
        self.codes.update(each.code for each in answers if isinstance(each, Denied))
        for intent in (each.intent for each in answers if isinstance(each, Approved)):
            self.approved_count += 1
            before = self.worst(intent.instrument)
            self.check_reduction(intent, scene)
            self.orders.append((intent, intent.quantity_lots, bool(self.draw.random() < 0.1)))
            self.sent_ns.append(self.now_ns)
            if intent.reduce_only:
                assert self.worst(intent.instrument) <= before
            else:
                self.check_new_risk(intent, scene)

    def check_reduction(self, intent: OrderIntent, scene: GateScene) -> None:
        """A reduction closes only, beside everything that works already."""
        if not intent.reduce_only:
            assert scene.breaker is BreakerState.NORMAL
            return
        position = self.positions[intent.instrument]
        assert position * int(intent.side) < 0
        assert scene.breaker is not BreakerState.HALTED
        taken = self.closing_lots(intent.instrument, intent.side)
        assert intent.quantity_lots + taken <= abs(position)

    def check_new_risk(self, intent: OrderIntent, scene: GateScene) -> None:
        """New risk came from good inputs and leaves every limit kept in the worst case."""
        at = intent.instrument
        market = scene.market
        assert market is not None
        assert market.verdict[at] is Verdict.OK
        assert self.now_ns - market.quote_received_ns[at] <= 3 * 10**9
        assert market.mark_ticks[at] > 0
        assert scene.working is not None
        assert not scene.working.has_unknown[at]
        assert abs(intent.price_ticks - self.ticks[at]) * 200 <= self.ticks[at]
        values = [
            self.worst(each) * self.ticks[each] * INSTRUMENTS[each].tick_lot_quote_e8 / E8
            for each in (BTC, ETH)
        ]
        one = intent.quantity_lots * self.ticks[at] * INSTRUMENTS[at].tick_lot_quote_e8 / E8
        rounding = 1.0 + 1e-12
        assert one <= self.limits.order_notional_quote_max * rounding
        assert values[at] <= self.limits.position_notional_quote_max * rounding
        assert sum(values) <= self.limits.gross_notional_quote_max * rounding
        assert sum(values) <= self.limits.leverage_max * self.wallet_quote * rounding

    def move(self) -> None:
        """Let time pass, prices move, orders fill, vanish or become unknown; send cancels."""
        draw = self.draw
        self.now_ns += int(draw.exponential(6e7))
        self.ticks = [max(10, int(each * (1 + draw.normal(0, 0.001)))) for each in self.ticks]
        living = []
        for intent, lots, unknown in self.orders:
            fate = draw.random()
            position = self.positions[intent.instrument]
            filled = int(draw.integers(1, lots + 1)) if fate < 0.4 else 0
            if intent.reduce_only:  # the venue's own flag: what would flip is cut off
                filled = min(filled, max(0, -position * int(intent.side)))
            self.positions[intent.instrument] += filled * int(intent.side)
            if fate < 0.7 and lots > filled:
                living.append((intent, lots - filled, unknown and fate > 0.1))
        self.orders = living
        if draw.random() < 0.3 and self.gate.allow_cancel(self.now_ns):
            self.sent_ns.append(self.now_ns)

    def check_messages(self) -> None:
        """No span of time holds more messages than burst plus rate times its length."""
        rate, burst = self.limits.messages_per_s_max, self.limits.messages_burst_max
        for first, first_ns in enumerate(self.sent_ns):
            for last in range(first, min(len(self.sent_ns), first + 60)):
                span_s = (self.sent_ns[last] - first_ns) / 1e9
                assert last - first + 1 <= burst + rate * span_s + 1e-6


def walk(seed: int, steps: int) -> Floor:
    """Push one floor around and hand it back."""
    floor = Floor(seed)
    for _ in range(steps):
        floor.review()
        floor.move()
    floor.check_messages()
    return floor
