"""What one review of the gate knows: inputs made whole, and what it has approved so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index

from config.settings import RiskLimits
from kernels.events import OrderIntent, Side
from kernels.ledger import LedgerReading
from kernels.units import Instrument
from risk.breaker import BreakerState
from risk.throttle import Throttle
from risk.views import MarketView

DuplicateKey = tuple[int, int, int, int]
"""(instrument, side, price_ticks, quantity_lots) of an approved order."""

Prices = tuple[int, int, int]
"""(bid_ticks, ask_ticks, mark_ticks), 0 where unknown."""


@dataclass(slots=True, kw_only=True)  # not frozen: one object serves all intents of a review
class Scene:
    """Everything the checks may know; owned by one review of the gate.

    The lots lists start as the working view and grow by what this review approves; ``worst_lots``
    is the largest absolute position that the orders alive can lead to, by instrument.
    """

    instruments: tuple[Instrument, ...]
    tick_lot_quote_e8: tuple[int, ...]
    limits: RiskLimits
    account: LedgerReading
    market: MarketView
    breaker: BreakerState
    now_ns: int
    buy_lots: list[int]
    sell_lots: list[int]
    worst_lots: list[int]
    has_unknown: Sequence[bool]
    approved_ns_by_key: dict[DuplicateKey, int]
    last_sequence: int
    throttle: Throttle
    prices_by_instrument: list[Prices | None]
    asked: OrderIntent | None = None
    asked_lots: int = 0
    asked_value_e8: int = 0
    asked_worst_e8: int = 0
    asked_gross_e8: int = 0

    def prices(self, instrument: int) -> Prices:
        """Give (bid, ask, mark) in ticks, 0 for each that is not known; read once per review."""
        known = self.prices_by_instrument[instrument]
        if known is None:
            market = self.market
            known = (
                whole(market.bid_ticks[instrument]),
                whole(market.ask_ticks[instrument]),
                whole(market.mark_ticks[instrument]),
            )
            self.prices_by_instrument[instrument] = known
        return known

    def weigh(self, intent: OrderIntent) -> None:
        """Fill the ``asked_*`` fields: what it means if the intent works too; once per intent.

        ``asked_lots`` is the largest absolute position its instrument can reach, ``asked_value_e8``
        the order's own value, ``asked_worst_e8`` that of the position, ``asked_gross_e8`` the sum
        with every other instrument's worst position. Its instrument is valued at the mark or the
        limit price, whichever is higher, the others at their marks.
        """
        if self.asked is intent:
            return
        at = intent.instrument
        highest = self.account.position_lots[at] + self.buy_lots[at]
        lowest = self.account.position_lots[at] - self.sell_lots[at]
        if intent.side is Side.BUY:
            highest += intent.quantity_lots
        else:
            lowest -= intent.quantity_lots
        self.asked_lots = max(abs(highest), abs(lowest))
        lot_quote_e8 = max(self.prices(at)[2], intent.price_ticks) * self.tick_lot_quote_e8[at]
        self.asked_value_e8 = lot_quote_e8 * intent.quantity_lots
        self.asked_worst_e8 = gross_e8 = lot_quote_e8 * self.asked_lots
        for other, lots in enumerate(self.worst_lots):
            if lots and other != at:
                gross_e8 += lots * self.prices(other)[2] * self.tick_lot_quote_e8[other]
        self.asked_gross_e8 = gross_e8
        self.asked = intent

    def count_as_working(self, intent: OrderIntent) -> None:
        """Let an approval count for the intents behind it."""
        self.weigh(intent)
        self.worst_lots[intent.instrument] = self.asked_lots
        self.asked = None
        lots = self.buy_lots if intent.side is Side.BUY else self.sell_lots
        lots[intent.instrument] += intent.quantity_lots
        self.throttle = self.throttle.spend()
        self.last_sequence = intent.sequence
        key = duplicate_key(intent)
        self.approved_ns_by_key.pop(key, None)  # so that the newest approval comes last
        self.approved_ns_by_key[key] = self.now_ns


def duplicate_key(intent: OrderIntent) -> DuplicateKey:
    """Name what makes two orders the same: instrument, side, price, quantity."""
    return (intent.instrument, int(intent.side), intent.price_ticks, intent.quantity_lots)


def whole(number: object) -> int:
    """Read a price, size or stamp as a positive int; 0 for what is none (negative, NaN, None)."""
    if type(number) is not int:
        try:
            number = index(number)  # type: ignore[arg-type]  # TypeError is the answer asked for
        except TypeError:
            return 0
    return number if number > 0 else 0


def whole_lots(lots: Sequence[int], reducing: Sequence[int], count: int) -> list[int] | None:
    """Read working lots as Python ints (numpy's wrap around in silence); None if inconsistent."""
    if len(lots) != count or len(reducing) != count:
        return None
    counted: list[int] = []
    for all_lots, reducing_lots in zip(lots, reducing, strict=True):
        if type(all_lots) is not int or type(reducing_lots) is not int:
            try:
                all_lots, reducing_lots = index(all_lots), index(reducing_lots)
            except TypeError:
                return None
        if not 0 <= reducing_lots <= all_lots:
            return None
        counted.append(all_lots)
    return counted


def worst_of(position_lots: list[int], buy_lots: list[int], sell_lots: list[int]) -> list[int]:
    """Largest absolute position each instrument can reach when one side fills entirely."""
    worst: list[int] = []
    for position, buying, selling in zip(position_lots, buy_lots, sell_lots, strict=True):
        highest, lowest = abs(position + buying), abs(position - selling)
        worst.append(highest if highest > lowest else lowest)
    return worst


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
