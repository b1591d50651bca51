"""Honest approvals for tests: a real gate with wide limits, a healthy market around the intent."""

from __future__ import annotations

from config.settings import RiskLimits
from kernels.events import AccountState, OrderIntent, Verdict
from kernels.ledger import Ledger
from kernels.units import E8, Instrument
from risk.breaker import BreakerState
from risk.gate import Approved, Gate
from risk.views import ModelVerdict, StillMarket
from risk.working_tally import tally

NOW_NS = 1_700_000_000_000_000_000
WIDE = RiskLimits(
    order_notional_quote_max=1e9,
    order_depth_frac_max=1.0,
    order_day_volume_frac_max=1.0,
    position_notional_quote_max=1e9,
    net_notional_quote_max=1e9,
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
        ledger.mark(each.index, intent.price_ticks, now_ns)
    ledger.adopt(
        AccountState(received_ns=now_ns, wallet_quote_e8=10**9 * E8, position_lots=tuple(lots))
    )
    row = StillMarket(
        verdict=Verdict.OK,
        bid_ticks=max(1, intent.price_ticks - 1),
        ask_ticks=intent.price_ticks + 1,
        bid_lots=1,
        ask_lots=1,
        bid_depth_lots=intent.quantity_lots,
        ask_depth_lots=intent.quantity_lots,
        mark_ticks=intent.price_ticks,
        quote_received_ns=now_ns,
        mark_received_ns=now_ns,
        day_volume_lots=intent.quantity_lots,
        day_volume_received_ns=now_ns,
    )
    (answer,) = Gate(instruments, WIDE).review(
        [intent],
        ledger=ledger,
        market=(row,) * count,
        working=tally(count, []),
        breaker=BreakerState.NORMAL,
        model=(ModelVerdict.OK,) * count,
        now_ns=now_ns,
    )
    assert isinstance(answer, Approved), answer
    return answer
