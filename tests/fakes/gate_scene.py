"""A quiet account and a healthy market for gate tests; every part can be bent by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from config.settings import RiskLimits
from kernels.events import AccountState, OrderIntent, OrderType, Side, Verdict
from kernels.ledger import NS_PER_DAY, Ledger
from kernels.units import E8, Instrument
from risk.breaker import BreakerState
from risk.gate import Approved, Denied, Gate
from risk.views import MarketView, ModelVerdict, StillMarket, WorkingOrder, WorkingView
from risk.working_tally import tally

NOW_NS = 19_675 * NS_PER_DAY + NS_PER_DAY // 2
BTC, ETH = 0, 1


def make_instrument(index: int, tick_size_e8: int, **changes: int) -> Instrument:
    """Build an instrument of 0.001 coin lots."""
    values: dict[str, Any] = {
        "lots_min": 1,
        "lots_max": 1_000_000,
        "notional_min_quote_e8": 5 * E8,
        **changes,
    }
    return Instrument(
        index=index,
        symbol=f"C{index}/USDT:USDT",
        venue_id=f"C{index}USDT",
        tick_size_e8=tick_size_e8,
        lot_size_e8=E8 // 1000,
        maker_fee_frac=0.0002,
        taker_fee_frac=0.0005,
        **values,
    )


INSTRUMENTS = (make_instrument(BTC, E8 // 10), make_instrument(ETH, E8 // 100))
BTC_TICKS, ETH_TICKS = 600_000, 260_000  # 60000.0 and 2600.00: one lot is 60 and 2.6 quote


def make_intent(sequence: int = 1, **changes: Any) -> OrderIntent:
    """Build an intent to buy 0.1 BTC (6000 quote) at the mid."""
    values: dict[str, Any] = {
        "instrument": BTC,
        "side": Side.BUY,
        "quantity_lots": 100,
        "price_ticks": BTC_TICKS,
        "order_type": OrderType.IOC,
        "reduce_only": False,
        "decided_ns": NOW_NS,
        "reason": "test",
        **changes,
    }
    return OrderIntent(sequence=sequence, **values)


def make_market(**changes: Any) -> tuple[StillMarket, ...]:
    """Build a market that is OK, fresh and one tick wide; changes are given by instrument."""
    values: dict[str, Any] = {
        "verdict": (Verdict.OK, Verdict.OK),
        "bid_ticks": (BTC_TICKS - 1, ETH_TICKS - 1),
        "ask_ticks": (BTC_TICKS + 1, ETH_TICKS + 1),
        "bid_lots": (10, 10),
        "ask_lots": (10, 10),
        "bid_depth_lots": (10_000, 100_000),
        "ask_depth_lots": (10_000, 100_000),
        "mark_ticks": (BTC_TICKS, ETH_TICKS),
        "quote_received_ns": (NOW_NS, NOW_NS),
        "mark_received_ns": (NOW_NS, NOW_NS),
        "day_volume_lots": (1_000_000, 10_000_000),
        "day_volume_received_ns": (NOW_NS, NOW_NS),
        **changes,
    }
    names = list(values)
    columns = zip(*values.values(), strict=True)
    return tuple(StillMarket(**dict(zip(names, column, strict=True))) for column in columns)


def make_ledger(
    position_lots: tuple[int, ...] = (0, 0),
    wallet_quote: int = 100_000,
    *,
    marks: Sequence[int] = (BTC_TICKS, ETH_TICKS),
    marked_ns: Sequence[int] = (NOW_NS, NOW_NS),
) -> Ledger:
    """Build an account taken over at ``marks`` (0: left unmarked), its day begun."""
    ledger = Ledger(INSTRUMENTS, 0)
    for instrument, (mark_ticks, received_ns) in enumerate(zip(marks, marked_ns, strict=True)):
        if mark_ticks:
            ledger.mark(instrument, mark_ticks, received_ns)
    ledger.adopt(
        AccountState(
            received_ns=NOW_NS, wallet_quote_e8=wallet_quote * E8, position_lots=position_lots
        )
    )
    ledger.roll_day(NOW_NS)
    return ledger


def make_order(instrument: int, side: Side, lots: int, **changes: Any) -> WorkingOrder:
    """Build a living order that is neither reduce-only nor of unknown fate."""
    values: dict[str, Any] = {"reduce_only": False, "is_unknown": False, **changes}
    return WorkingOrder(instrument=instrument, side=side, remaining_lots=lots, **values)


def no_orders() -> WorkingView:
    """Build the view of no living order."""
    return tally(len(INSTRUMENTS), [])


@dataclass(kw_only=True)
class GateScene:
    """All inputs of one review; ``answer`` asks a gate for one intent."""

    intent: OrderIntent = field(default_factory=make_intent)
    ledger: Ledger | None = field(default_factory=make_ledger)
    market: MarketView | None = field(default_factory=make_market)
    working: WorkingView | None = field(default_factory=no_orders)
    breaker: BreakerState | None = BreakerState.NORMAL
    model: Sequence[ModelVerdict] | None = (ModelVerdict.OK, ModelVerdict.OK)
    now_ns: int = NOW_NS
    limits: RiskLimits = field(default_factory=RiskLimits)
    instruments: tuple[Instrument, ...] = INSTRUMENTS
    earlier: tuple[OrderIntent, ...] = ()

    def gate(self) -> Gate:
        """Build a gate of these instruments and limits."""
        return Gate(self.instruments, self.limits)

    def review(self, gate: Gate, *intents: OrderIntent) -> tuple[Approved | Denied, ...]:
        """Ask about ``intents`` under these inputs."""
        return gate.review(
            intents,
            ledger=self.ledger,
            market=self.market,
            working=self.working,
            breaker=self.breaker,
            model=self.model,
            now_ns=self.now_ns,
        )

    def answer(self) -> Approved | Denied:
        """Ask a fresh gate about ``earlier``, one review each, then about the intent."""
        gate = self.gate()
        for intent in self.earlier:
            (first,) = self.review(gate, intent)
            assert isinstance(first, Approved), first
        (answer,) = self.review(gate, self.intent)
        return answer
