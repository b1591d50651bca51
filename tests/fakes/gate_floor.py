"""A random walk over account, market and orders that holds every approval against the limits."""

from __future__ import annotations

from collections import Counter

import numpy as np

from config.settings import RiskLimits
from kernels.events import Fill, OrderIntent, OrderType, Side, Verdict
from kernels.ledger import NS_PER_DAY
from kernels.units import E8
from risk.breaker import BreakerState
from risk.gate import Approved, Denied, Gate
from risk.reasons import DenialCode
from risk.views import ModelVerdict, WorkingView
from risk.working_tally import tally
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
TOLD_AGES_NS = (0, 60 * 10**9, 899 * 10**9, 901 * 10**9, 10**13)
"""Ages of quotes and marks on a broken feed; the limits are 3 s and 5 s."""

SHARES = ((), (1.0, 0.0, 0.0, 0.0, 0.0), (0.0, 0.5, 0.5, 0.0, 0.0), (0.2,) * 5)
ROUNDING = 1.0 + 1e-12


class Floor:
    """A simulated account, market and order list that a random walk pushes around.

    The gate sees a ledger that folds the fills and marks; everything asserted here is computed from
    the floor's own lists and its own cash book.
    """

    def __init__(self, seed: int) -> None:
        """Draw limits tight enough that every one of them binds now and then."""
        self.draw = np.random.default_rng(seed)
        self.volume_draw = np.random.default_rng((seed, 1))  # what is traded in a day, and its age
        uniform = self.draw.uniform
        position = float(uniform(5_000, 40_000))
        gross = position * float(uniform(1.0, 2.0))
        daily = float(uniform(0.005, 0.05))
        self.limits = RiskLimits(
            order_notional_quote_max=position * float(uniform(0.2, 1.0)),
            order_depth_frac_max=float(uniform(0.05, 1.0)),
            order_day_volume_frac_max=float(self.volume_draw.uniform(0.005, 0.1)),
            position_notional_quote_max=position,
            net_notional_quote_max=float(uniform(position, gross)),
            gross_notional_quote_max=gross,
            leverage_max=float(uniform(0.2, 3.0)),
            margin_use_frac_max=float(uniform(0.01, 0.2)),
            messages_per_s_max=float(uniform(1.0, 20.0)),
            messages_burst_max=int(self.draw.integers(11, 20)),
            messages_reserve=int(self.draw.integers(1, 11)),
            daily_loss_frac_max=daily,
            drawdown_frac_max=daily * float(uniform(1.0, 1.3)),
            agent_executions_max=int(self.draw.integers(4, 40)),
            agent_execution_window_ms=2000,
        )
        self.gate = Gate(INSTRUMENTS, self.limits)
        self.positions = [int(each) for each in self.draw.integers(-150, 150, 2)]
        if self.draw.random() < 0.3:
            self.positions = [0, 0]
        self.ticks = [BTC_TICKS, ETH_TICKS]
        self.orders: list[tuple[OrderIntent, int, bool]] = []  # intent, remaining lots, unknown
        wallet_quote = int(self.draw.integers(10_000, 100_000))
        self.ledger = make_ledger(tuple(self.positions), wallet_quote)
        self.cash_e8 = wallet_quote * E8 - sum(self.values_e8())
        self.day_e8 = self.peak_e8 = wallet_quote * E8
        self.now_ns = NOW_NS
        self.day = NOW_NS // NS_PER_DAY
        self.sequence = 0
        self.sent_ns: list[int] = []
        self.executed_ns: list[list[int]] = [[] for _ in range(5)]
        self.codes: Counter[DenialCode] = Counter()
        self.approved_count = 0

    def values_e8(self) -> list[int]:
        """Value both positions at their newest prices."""
        return [
            lots * ticks * each.tick_lot_quote_e8
            for lots, ticks, each in zip(self.positions, self.ticks, INSTRUMENTS, strict=True)
        ]

    def equity_e8(self) -> int:
        """Equity by the cash book: what was paid and received, and what is held."""
        return self.cash_e8 + sum(self.values_e8())

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
                    resting_ticks=0
                    if unknown or intent.order_type is OrderType.IOC
                    else intent.price_ticks,
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

    def ends(self, instrument: int) -> tuple[int, int]:
        """Highest and lowest position, by filling each side alone."""
        position = self.positions[instrument]
        return (
            position + self.closing_lots(instrument, Side.BUY),
            position - self.closing_lots(instrument, Side.SELL),
        )

    def worst(self, instrument: int) -> int:
        """Largest absolute position that can be reached."""
        return max(map(abs, self.ends(instrument)))

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
            agent_share_A=SHARES[int(draw.integers(0, len(SHARES)))],
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
        models = (ModelVerdict.OK,) * 90 + tuple(ModelVerdict)
        depth = tuple(int(each) for each in draw.integers(300, 4000, 2) * (1, 20))
        day = tuple(int(each) for each in self.volume_draw.integers(5_000, 200_000, 2) * (1, 20))
        is_silent = self.volume_draw.random() < 0.06
        told_ns = self.now_ns - is_silent * int(self.volume_draw.choice(TOLD_AGES_NS))
        return GateScene(
            ledger=self.ledger,
            market=make_market(
                verdict=(verdict, Verdict.OK),
                bid_ticks=tuple(each - 1 for each in self.ticks),
                ask_ticks=tuple(each + 1 for each in self.ticks),
                bid_depth_lots=depth,
                ask_depth_lots=depth,
                mark_ticks=marks,
                quote_received_ns=(quoted_ns, self.now_ns),
                mark_received_ns=(marked_ns, self.now_ns),
                day_volume_lots=day,
                day_volume_received_ns=(told_ns, self.now_ns),
            ),
            working=self.working(),
            breaker=states[int(draw.integers(0, len(states)))],
            model=(models[int(draw.integers(0, len(models)))],) * 2,
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
            self.check_own_orders(intent, scene)
            self.orders.append((intent, intent.quantity_lots, False))
            self.sent_ns.append(self.now_ns)
            if intent.reduce_only:
                assert self.worst(intent.instrument) <= before
            else:
                self.check_inputs(intent, scene)
                self.check_worst_case(intent)
                self.check_losses()
                self.check_agents(intent)

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

    def check_own_orders(self, intent: OrderIntent, scene: GateScene) -> None:
        """No order can trade with one of ours that is known to rest."""
        if intent.reduce_only and scene.breaker is BreakerState.FLATTEN:
            return
        for other, _, unknown in self.orders:
            meets = other.instrument == intent.instrument and other.side is not intent.side
            if meets and not unknown and other.order_type is not OrderType.IOC:
                assert int(intent.side) * (intent.price_ticks - other.price_ticks) < 0

    def check_inputs(self, intent: OrderIntent, scene: GateScene) -> None:
        """New risk came from good inputs."""
        at = intent.instrument
        assert scene.market is not None
        row = scene.market[at]
        assert row.verdict is Verdict.OK
        assert scene.model is not None
        assert scene.model[at] is ModelVerdict.OK
        assert self.now_ns - row.quote_received_ns <= 3 * 10**9
        assert self.now_ns - row.mark_received_ns <= 5 * 10**9
        assert row.mark_ticks > 0
        assert not any(unknown for each, _, unknown in self.orders if each.instrument == at)
        assert abs(intent.price_ticks - self.ticks[at]) * 200 <= self.ticks[at]
        assert intent.quantity_lots <= self.limits.order_depth_frac_max * row.ask_depth_lots
        assert self.now_ns - row.day_volume_received_ns <= 900 * 10**9
        assert intent.quantity_lots <= self.limits.order_day_volume_frac_max * row.day_volume_lots

    def check_worst_case(self, intent: OrderIntent) -> None:
        """New risk leaves every limit kept, whatever of the working orders is filled."""
        at, limits = intent.instrument, self.limits
        prices = [
            ticks * each.tick_lot_quote_e8 / E8
            for ticks, each in zip(self.ticks, INSTRUMENTS, strict=True)
        ]
        values = [self.worst(each) * prices[each] for each in (BTC, ETH)]
        highest = sum(self.ends(each)[0] * prices[each] for each in (BTC, ETH))
        lowest = sum(self.ends(each)[1] * prices[each] for each in (BTC, ETH))
        equity = self.equity_e8() / E8
        assert intent.quantity_lots * prices[at] <= limits.order_notional_quote_max * ROUNDING
        assert values[at] <= limits.position_notional_quote_max * ROUNDING
        assert sum(values) <= limits.gross_notional_quote_max * ROUNDING
        assert max(highest, -lowest) <= limits.net_notional_quote_max * ROUNDING
        assert sum(values) <= limits.leverage_max * equity * ROUNDING
        bound = sum(values) * limits.initial_margin_frac
        assert bound <= limits.margin_use_frac_max * equity * ROUNDING

    def check_losses(self) -> None:
        """New risk came while no loss limit was reached, by the floor's own cash book."""
        equity_e8 = self.equity_e8()
        assert self.ledger.equity_quote_e8 == equity_e8
        assert self.day_e8 - equity_e8 < self.limits.daily_loss_frac_max * self.day_e8 * ROUNDING
        lost_e8 = self.peak_e8 - equity_e8
        assert lost_e8 < self.limits.drawdown_frac_max * self.peak_e8 * ROUNDING

    def check_agents(self, intent: OrderIntent) -> None:
        """No agent with a share had used up its executions of any window, ever."""
        most = self.limits.agent_executions_max
        for executed_ns, share in zip(self.executed_ns, intent.agent_share_A, strict=False):
            if share > 0.0:
                for first, last in zip(executed_ns, executed_ns[most - 1 :], strict=False):
                    assert last - first >= 2 * 10**9
                executed_ns.append(self.now_ns)

    def move(self) -> None:
        """Let time pass, prices move, orders fill, vanish or become unknown; send cancels."""
        draw = self.draw
        self.now_ns += int(draw.exponential(6e7))
        if draw.random() < 0.04:
            self.now_ns += NS_PER_DAY // 3
        self.roll_day()
        jump = 0.02 if draw.random() < 0.06 else 0.001
        self.ticks = [max(10, int(each * (1 + draw.normal(0, jump)))) for each in self.ticks]
        for at, ticks in enumerate(self.ticks):
            self.ledger.mark(at, ticks, self.now_ns)
        # the ledger values one instrument after the other: its peak counts the states between
        self.peak_e8 = max(self.peak_e8, self.ledger.peak_quote_e8)
        living = []
        for intent, lots, unknown in self.orders:
            fate = draw.random()
            filled = int(draw.integers(1, lots + 1)) if fate < 0.4 else 0
            if intent.reduce_only:  # the venue's own flag: what would flip is cut off
                position = self.positions[intent.instrument]
                filled = min(filled, max(0, -position * int(intent.side)))
            if filled:
                self.fill(intent, filled)
            if fate < 0.7 and lots > filled:
                is_lost = unknown if fate > 0.1 else bool(draw.random() < 0.5)
                living.append((intent, lots - filled, is_lost))
        self.orders = living
        if draw.random() < 0.3 and self.gate.allow_cancel(self.now_ns):
            self.sent_ns.append(self.now_ns)

    def roll_day(self) -> None:
        """Start a loss day at midnight, in both books."""
        day = self.now_ns // NS_PER_DAY
        if day > self.day:
            self.day = day
            self.day_e8 = self.equity_e8()
        self.ledger.roll_day(self.now_ns)

    def fill(self, intent: OrderIntent, lots: int) -> None:
        """Execute some lots at the order's price for a fee, in both books."""
        at = intent.instrument
        fee_e8 = lots * 10**6
        self.positions[at] += lots * int(intent.side)
        paid_e8 = lots * intent.price_ticks * INSTRUMENTS[at].tick_lot_quote_e8
        self.cash_e8 -= int(intent.side) * paid_e8 + fee_e8
        self.ledger.apply_fill(
            Fill(
                instrument=at,
                event_ns=self.now_ns,
                received_ns=self.now_ns,
                client_order_id="",
                trade_id=0,
                side=intent.side,
                price_ticks=intent.price_ticks,
                quantity_lots=lots,
                fee_quote_e8=fee_e8,
                is_maker=False,
            )
        )
        self.peak_e8 = max(self.peak_e8, self.equity_e8())

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
