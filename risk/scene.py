"""What one review of the gate knows: inputs made whole, and what it has approved so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index

from config.settings import RiskLimits
from kernels.events import OrderIntent, Side
from kernels.ledger import Ledger
from kernels.units import Instrument
from risk.breaker import BreakerState
from risk.throttle import Throttle
from risk.views import MarketView


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """One approval as the duplicate check remembers it."""

    approved_ns: int
    instrument: int
    side: Side
    price_ticks: int
    quantity_lots: int


@dataclass(slots=True, kw_only=True)  # not frozen: one object serves all intents of a review
class Scene:
    """Everything the checks may know; owned by one review of the gate.

    The lots lists start as the working view and grow by what this review approves; ``worst_lots``
    is the largest absolute position that the orders alive can lead to, by instrument.
    """

    instruments: tuple[Instrument, ...]
    limits: RiskLimits
    ledger: Ledger
    market: MarketView
    breaker: BreakerState
    now_ns: int
    position_lots: list[int]
    buy_lots: list[int]
    sell_lots: list[int]
    worst_lots: list[int]
    has_unknown: Sequence[bool]
    recent: list[Recent]
    last_sequence: int
    throttle: Throttle

    def worst_lots_with(self, intent: OrderIntent) -> int:
        """Largest absolute position of the intent's instrument, with the intent working too."""
        at = intent.instrument
        position, buy_lots, sell_lots = (
            self.position_lots[at],
            self.buy_lots[at],
            self.sell_lots[at],
        )
        if intent.side is Side.BUY:
            buy_lots += intent.quantity_lots
        else:
            sell_lots += intent.quantity_lots
        return max(abs(position + buy_lots), abs(position - sell_lots))

    def worst_notional_e8(self, intent: OrderIntent) -> int:
        """Value of that worst case, at the mark or the limit price, whichever is higher."""
        at = intent.instrument
        price_ticks = max(known_ticks(self.market.mark_ticks, at), intent.price_ticks)
        return self.instruments[at].notional_quote_e8(price_ticks, self.worst_lots_with(intent))

    def worst_gross_e8(self, intent: OrderIntent) -> int:
        """Sum over instruments of the worst position each may reach, with the intent working."""
        gross_e8 = self.worst_notional_e8(intent)
        for at, lots in enumerate(self.worst_lots):
            if lots and at != intent.instrument:
                mark_ticks = known_ticks(self.market.mark_ticks, at)
                gross_e8 += self.instruments[at].notional_quote_e8(mark_ticks, lots)
        return gross_e8

    def count_as_working(self, intent: OrderIntent) -> None:
        """Let an approval count for the intents behind it."""
        self.worst_lots[intent.instrument] = self.worst_lots_with(intent)
        lots = self.buy_lots if intent.side is Side.BUY else self.sell_lots
        lots[intent.instrument] += intent.quantity_lots
        self.throttle = self.throttle.spend()
        self.last_sequence = intent.sequence
        self.recent.append(
            Recent(
                approved_ns=self.now_ns,
                instrument=intent.instrument,
                side=intent.side,
                price_ticks=intent.price_ticks,
                quantity_lots=intent.quantity_lots,
            )
        )


def known_ticks(ticks: Sequence[int], instrument: int) -> int:
    """Read a price, size or stamp as a positive int; 0 for what is none (negative, NaN, None)."""
    try:
        return max(0, int(ticks[instrument]))
    except (TypeError, ValueError, OverflowError):
        return 0


def whole_lots(lots: Sequence[int], reducing: Sequence[int], count: int) -> list[int] | None:
    """Read working lots as Python ints (numpy's wrap around in silence); None if inconsistent."""
    try:
        whole = [index(each) for each in lots]
        part = [index(each) for each in reducing]
    except TypeError:
        return None
    if len(whole) != count or len(part) != count:
        return None
    for all_lots, reducing_lots in zip(whole, part, strict=True):
        if not 0 <= reducing_lots <= all_lots:
            return None
    return whole


def is_complete(market: MarketView, count: int) -> bool:
    """Tell whether every field of the market speaks of every instrument."""
    return (
        len(market.verdict) == count
        and len(market.bid_ticks) == count
        and len(market.ask_ticks) == count
        and len(market.bid_lots) == count
        and len(market.ask_lots) == count
        and len(market.mark_ticks) == count
        and len(market.quote_received_ns) == count
        and len(market.mark_received_ns) == count
    )
