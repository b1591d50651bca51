"""Honest approvals for tests: a real gate with wide limits, a healthy market around the intent."""

from __future__ import annotations

from config.settings import RiskLimits
from kernels.events import AccountState, OrderIntent, Verdict
from kernels.ledger import Ledger
from kernels.units import E8, Instrument
from risk.breaker import BreakerState
from risk.gate import Approved, Gate
from risk.views import MarketView, tally

NOW_NS = 1_700_000_000_000_000_000
WIDE = RiskLimits(
    order_notional_quote_max=1e9,
    position_notional_quote_max=1e9,
    gross_notional_quote_max=1e9,
    leverage_max=1e6,
    messages_burst_max=1_000_000,
)


def approve(
    intent: OrderIntent,
    instruments: tuple[Instrument, ...],
    now_ns: int = NOW_NS,
) -> Approved:
    """Let a fresh gate approve ``intent``; AssertionError with the denial if it does not."""
    count = len(instruments)
    ledger = Ledger(instruments, 10**9 * E8)
    lots = [0] * count
    if intent.reduce_only:
        lots[intent.instrument] = -int(intent.side) * intent.quantity_lots
    for each in instruments:
        ledger.mark(each.index, intent.price_ticks)
    ledger.adopt(
        AccountState(received_ns=now_ns, wallet_quote_e8=10**9 * E8, position_lots=tuple(lots))
    )
    market = MarketView(
        verdict=[Verdict.OK] * count,
        bid_ticks=[max(1, intent.price_ticks - 1)] * count,
        ask_ticks=[intent.price_ticks + 1] * count,
        bid_lots=[1] * count,
        ask_lots=[1] * count,
        mark_ticks=[intent.price_ticks] * count,
        quote_received_ns=[now_ns] * count,
        mark_received_ns=[now_ns] * count,
    )
    (answer,) = Gate(instruments, WIDE).review(
        [intent],
        ledger=ledger,
        market=market,
        working=tally(count, []),
        breaker=BreakerState.NORMAL,
        now_ns=now_ns,
    )
    assert isinstance(answer, Approved), answer
    return answer
