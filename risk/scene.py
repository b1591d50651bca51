"""What one review of the gate knows: inputs made whole, and what it has approved so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import index

import numpy as np
from numpy.typing import NDArray

from config.settings import RiskLimits
from kernels.events import OrderIntent, OrderType, Side, Verdict
from kernels.units import Instrument
from risk.agent_latches import AgentLatches
from risk.bounds import Bounds
from risk.breaker import BreakerState
from risk.survey import survey
from risk.throttle import Throttle
from risk.views import (
    BUY_LOTS,
    RESTING_BUY_TICKS,
    RESTING_SELL_TICKS,
    SELL_LOTS,
    MarketView,
    ModelVerdict,
)

DuplicateKey = tuple[int, int, int, int]
"""(instrument, side, price_ticks, quantity_lots) of an approved order."""


@dataclass(slots=True, kw_only=True)  # not frozen: every approval changes it
class Memory:
    """All that outlives a review; ``approved_ns_by_key`` is in the order of the approvals."""

    throttle: Throttle
    agents: AgentLatches
    approved_ns_by_key: dict[DuplicateKey, int] = field(default_factory=dict)
    last_sequence: int = -1


class Scene:
    """Everything the checks may know; the gate keeps one and fills it anew for every review.

    ``begin`` sets what holds for the whole review, ``look`` what concerns one intent: its market
    (0 for every number that is not known), the account as ``risk.survey`` finds it, and the
    ``asked_*`` fields: what it means if the intent works too. ``asked_high_lots`` and
    ``asked_low_lots`` are the ends its position can reach, ``asked_value_e8`` is the order's own
    value, ``asked_worst_e8`` that of the worst position, gross and net those of all instruments.
    Its own instrument is valued at the mark or the limit price, whichever is higher, others at
    their marks.
    """

    __slots__ = (
        "ask_depth_lots",
        "ask_lots",
        "ask_ticks",
        "asked_gross_e8",
        "asked_high_lots",
        "asked_low_lots",
        "asked_net_e8",
        "asked_value_e8",
        "asked_worst_e8",
        "bid_depth_lots",
        "bid_lots",
        "bid_ticks",
        "bounds",
        "breaker",
        "buy_lots",
        "day_start_e8",
        "day_volume_lots",
        "day_volume_received_ns",
        "duplicate_key",
        "equity_e8",
        "instruments",
        "is_whole",
        "ledger_mark_ticks",
        "limits",
        "mark_received_ns",
        "mark_ticks",
        "market",
        "memory",
        "model",
        "now_ns",
        "oldest_mark_ns",
        "owns_table",
        "peak_e8",
        "position_lots",
        "quote_received_ns",
        "resting_buy_ticks",
        "resting_sell_ticks",
        "sell_lots",
        "state_S",
        "table_NC",
        "tick_lot_e8",
        "tick_lot_quote_e8",
        "unknown_count",
        "unmarked",
        "verdict",
    )

    instruments: tuple[Instrument, ...]
    tick_lot_quote_e8: tuple[int, ...]
    limits: RiskLimits
    bounds: Bounds
    memory: Memory
    market: MarketView
    model: Sequence[ModelVerdict] | None
    breaker: BreakerState
    now_ns: int
    state_S: NDArray[np.int64]
    table_NC: NDArray[np.int64]
    owns_table: bool
    # the market of the intent's instrument
    verdict: Verdict | None
    bid_ticks: int
    ask_ticks: int
    bid_lots: int
    ask_lots: int
    bid_depth_lots: int
    ask_depth_lots: int
    mark_ticks: int
    quote_received_ns: int
    mark_received_ns: int
    day_volume_lots: int
    day_volume_received_ns: int
    # the account
    is_whole: int
    position_lots: int
    buy_lots: int
    sell_lots: int
    unknown_count: int
    resting_buy_ticks: int
    resting_sell_ticks: int
    ledger_mark_ticks: int
    unmarked: int
    oldest_mark_ns: int
    equity_e8: int
    day_start_e8: int
    peak_e8: int
    # with the intent
    duplicate_key: DuplicateKey
    tick_lot_e8: int
    asked_high_lots: int
    asked_low_lots: int
    asked_value_e8: int
    asked_worst_e8: int
    asked_gross_e8: int
    asked_net_e8: int

    def look(self, intent: OrderIntent) -> None:
        """Read market and account around a well-formed intent."""
        at = intent.instrument
        # a plain int: an enum hashes in Python, 0.15 us a time
        self.duplicate_key = (at, int(intent.side), intent.price_ticks, intent.quantity_lots)
        row = self.market[at]
        # the common case is spelled out: eleven calls of ``whole`` would cost 0.4 us
        self.verdict = row.verdict
        self.bid_ticks = n if type(n := row.bid_ticks) is int and n > 0 else whole(n)
        self.ask_ticks = n if type(n := row.ask_ticks) is int and n > 0 else whole(n)
        self.mark_ticks = n if type(n := row.mark_ticks) is int and n > 0 else whole(n)
        if not intent.reduce_only:
            self.bid_lots = n if type(n := row.bid_lots) is int and n > 0 else whole(n)
            self.ask_lots = n if type(n := row.ask_lots) is int and n > 0 else whole(n)
            self.quote_received_ns = (
                n if type(n := row.quote_received_ns) is int and n > 0 else whole(n)
            )
            self.mark_received_ns = (
                n if type(n := row.mark_received_ns) is int and n > 0 else whole(n)
            )
            self.day_volume_lots = (
                n if type(n := row.day_volume_lots) is int and n > 0 else whole(n)
            )
            self.day_volume_received_ns = (
                n if type(n := row.day_volume_received_ns) is int and n > 0 else whole(n)
            )
            if intent.side > 0:
                self.ask_depth_lots = (
                    n if type(n := row.ask_depth_lots) is int and n > 0 else whole(n)
                )
            else:
                self.bid_depth_lots = (
                    n if type(n := row.bid_depth_lots) is int and n > 0 else whole(n)
                )
        (
            self.is_whole,
            self.position_lots,
            self.buy_lots,
            self.sell_lots,
            self.unknown_count,
            self.resting_buy_ticks,
            self.resting_sell_ticks,
            self.ledger_mark_ticks,
            others_gross_e8,
            others_high_e8,
            others_low_e8,
            self.unmarked,
            self.oldest_mark_ns,
            self.equity_e8,
            self.day_start_e8,
            self.peak_e8,
        ) = survey(self.state_S, self.table_NC, at)
        if not intent.reduce_only:
            self._ask(intent, others_gross_e8, others_high_e8, others_low_e8)

    def _ask(self, intent: OrderIntent, gross_e8: int, high_e8: int, low_e8: int) -> None:
        """Fill ``asked_*``: the intent on top of what the other instruments come to."""
        price_ticks, lots, mark_ticks = intent.price_ticks, intent.quantity_lots, self.mark_ticks
        highest = self.position_lots + self.buy_lots
        lowest = self.position_lots - self.sell_lots
        if intent.side > 0:
            highest += lots
        else:
            lowest -= lots
        self.asked_high_lots = highest
        self.asked_low_lots = lowest
        valued_ticks = mark_ticks if mark_ticks > price_ticks else price_ticks
        lot_e8 = valued_ticks * self.tick_lot_quote_e8[intent.instrument]
        self.asked_value_e8 = lot_e8 * lots
        self.asked_worst_e8 = worst_e8 = lot_e8 * (highest if highest > -lowest else -lowest)
        self.asked_gross_e8 = worst_e8 + gross_e8
        long_e8 = high_e8 + lot_e8 * highest
        short_e8 = -(low_e8 + lot_e8 * lowest)
        self.asked_net_e8 = long_e8 if long_e8 > short_e8 else short_e8

    def remember(self, intent: OrderIntent) -> None:
        """Let an approval count for every later intent, in this review or another."""
        memory = self.memory
        memory.throttle = memory.throttle.spend()
        memory.last_sequence = intent.sequence
        key, approved_ns_by_key = self.duplicate_key, memory.approved_ns_by_key
        if key in approved_ns_by_key:
            del approved_ns_by_key[key]  # so that the newest approval comes last
        approved_ns_by_key[key] = self.now_ns
        if intent.agent_share_A and not intent.reduce_only:
            memory.agents.count(intent.agent_share_A, self.now_ns)

    def count_as_working(self, intent: OrderIntent) -> None:
        """Let an approval count for the intents behind it in this review."""
        if not self.owns_table:
            self.table_NC = self.table_NC.copy()
            self.owns_table = True
        row = self.table_NC[intent.instrument]
        rests = intent.order_type is not OrderType.IOC
        if intent.side is Side.BUY:
            row[BUY_LOTS] += intent.quantity_lots
            if rests and intent.price_ticks > row[RESTING_BUY_TICKS]:
                row[RESTING_BUY_TICKS] = intent.price_ticks
        else:
            row[SELL_LOTS] += intent.quantity_lots
            held_ticks = row[RESTING_SELL_TICKS]
            if rests and (held_ticks == 0 or intent.price_ticks < held_ticks):
                row[RESTING_SELL_TICKS] = intent.price_ticks


def whole(number: object) -> int:
    """Read a price, size or stamp as a positive int; 0 for what is none (negative, NaN, None)."""
    if type(number) is not int:
        try:
            number = index(number)  # type: ignore[arg-type]  # TypeError is the answer asked for
        except TypeError:
            return 0
    return number if number > 0 else 0
