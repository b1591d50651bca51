"""What befalls an account without its client's doing: others' trades, liquidation, money moved.

No I/O and no clock; the caller hands in the venue's time.
"""

from __future__ import annotations

from collections.abc import Callable

from daemon.simulated import account_documents
from daemon.simulated.order_request import OrderRequest, VenueOrderType
from daemon.simulated.venue import Venue
from daemon.simulated.venue_order import WORKING, VenueOrder
from kernels.events import AccountState, Side
from kernels.matching import TimeInForce

NS_PER_MS = 1_000_000
DELEVERAGE_ID = "adl_autoclose"
LIQUIDATION_ID = "autoclose"
OUTSIDE_ID = "web"

Publish = Callable[[dict[str, object]], None]


class Intrusions:
    """Changes the account of one venue from outside."""

    def __init__(self, venue: Venue, publish: Publish) -> None:
        """Tell what is told through ``publish``, the way of all user events."""
        self._venue = venue
        self._publish = publish
        self._count = 0

    def change_balance(self, amount_e8: int, is_told: bool, now_ms: int) -> None:
        """Pay in (positive) or out."""
        reason = ("DEPOSIT" if amount_e8 > 0 else "WITHDRAW") if is_told else ""
        self._move(amount_e8, reason, now_ms)

    def clear_debt(self, now_ms: int) -> None:
        """Let the insurance fund bring a wallet below zero back to zero."""
        self._move(-self._venue.account.ledger.wallet_quote_e8, "INSURANCE_CLEAR", now_ms)

    def _move(self, amount_e8: int, reason: str, now_ms: int) -> None:
        """Change the wallet; told unless the reason is empty."""
        account = self._venue.account
        indices = range(len(self._venue.markets))
        account.ledger.adopt(
            AccountState(
                received_ns=now_ms * NS_PER_MS,
                wallet_quote_e8=account.ledger.wallet_quote_e8 + amount_e8,
                position_lots=tuple(account.position_lots(index) for index in indices),
            )
        )
        account.updated_ms = now_ms
        if reason:
            self._publish(account_documents.account_event(account, (), reason, now_ms, amount_e8))

    def trade(self, instrument: int, lots: int, is_told: bool, now_ms: int) -> VenueOrder | None:
        """Trade ``lots`` (negative sells) at the mark as somebody else on the account would."""
        return self._force(instrument, lots, OUTSIDE_ID, "TRADE", is_told, now_ms)

    def liquidate(self, instrument: int, now_ms: int) -> VenueOrder | None:
        """Cancel every order and close the position; None when there is no position."""
        self._venue.desk.cancel_all(instrument, now_ms)
        self._venue.conditional.cancel_all(instrument, now_ms)
        lots = -self._venue.account.position_lots(instrument)
        return self._force(instrument, lots, LIQUIDATION_ID, "CALCULATED", True, now_ms)

    def deleverage(self, instrument: int, share: float, now_ms: int) -> VenueOrder | None:
        """Close a share of the position, at least a lot; None when there is no position."""
        position_lots = self._venue.account.position_lots(instrument)
        size = max(1, int(abs(position_lots) * share)) if position_lots else 0
        lots = -size if position_lots > 0 else size
        return self._force(instrument, lots, DELEVERAGE_ID, "CALCULATED", True, now_ms)

    def fill_late(self, order: VenueOrder, now_ms: int) -> None:
        """Fill what was left of a cancelled order at its limit, or at the mark without one."""
        if order.status not in WORKING and order.open_lots > 0:
            self._fill(order, order.open_lots, now_ms)

    def overfill(self, order: VenueOrder, lots: int, now_ms: int) -> None:
        """Fill more than was ordered."""
        if lots > 0:
            self._fill(order, lots, now_ms)

    def _fill(self, order: VenueOrder, lots: int, now_ms: int) -> None:
        market = self._venue.markets[order.request.instrument]
        price_ticks = order.request.price_ticks or market.mark_ticks
        self._venue.desk.book_fill(order, price_ticks, lots, True, now_ms)

    def _force(
        self,
        instrument: int,
        lots: int,
        prefix: str,
        execution_type: str,
        is_told: bool,
        now_ms: int,
    ) -> VenueOrder | None:
        market = self._venue.markets[instrument]
        if lots == 0 or not market.mark_ticks:
            return None
        self._count += 1
        request = OrderRequest(
            instrument=instrument,
            side=Side.BUY if lots > 0 else Side.SELL,
            order_type=VenueOrderType.MARKET,
            time_in_force=TimeInForce.IOC,
            price_ticks=0,
            quantity_lots=abs(lots),
            reduce_only=False,
            client_order_id=f"{prefix}-{now_ms}-{self._count}",
        )
        order = self._venue.desk.record_outside_order(request, now_ms)
        self._venue.desk.book_fill(
            order, market.mark_ticks, abs(lots), False, now_ms, execution_type, is_told
        )
        return order
