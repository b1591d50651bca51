"""What the venue itself does when an account's margin goes: a call, then liquidation.

No I/O and no clock. As on the venue, cross margin: the equity is held against the maintenance
margin of all positions; at 80 % of it used a MARGIN_CALL is sent, once, and at 100 % every order
is cancelled and positions are closed, the one that needs most margin first, until what is left is
covered. A wallet that ends below zero is cleared by the insurance fund. Unlike the venue, the
liquidation engine closes at the mark price and takes the taker's fee, no clearance fee.
"""

from __future__ import annotations

from collections.abc import Callable

from daemon.simulated import account_documents
from daemon.simulated.intrusions import Intrusions
from daemon.simulated.venue import Venue

CALL_PERCENT = 80
"""Share of the equity that the maintenance margin may use before the venue calls."""

Publish = Callable[[dict[str, object]], None]


class MarginWatch:
    """Holds the account of one venue against its maintenance margin."""

    def __init__(self, venue: Venue, intrusions: Intrusions, publish: Publish) -> None:
        """Act through ``intrusions``; tell through ``publish``, the way of all user events."""
        self._venue = venue
        self._intrusions = intrusions
        self._publish = publish
        self._is_called = False
        self.liquidated_count = 0

    def look(self, now_ms: int) -> None:
        """Call or liquidate where that is due."""
        account = self._venue.account
        needed_e8 = self._needed_e8()
        is_short = needed_e8 * 100 >= account.equity_e8 * CALL_PERCENT
        if needed_e8 == 0 or not is_short:
            self._is_called = False
            return
        if needed_e8 >= account.equity_e8:
            self._liquidate(now_ms)
        elif not self._is_called:
            self._is_called = True
            self._publish(account_documents.margin_call(account, self._venue.markets, now_ms))

    def _needed_e8(self) -> int:
        account = self._venue.account
        return sum(account.maintenance_margin_e8(i) for i in range(len(self._venue.markets)))

    def _liquidate(self, now_ms: int) -> None:
        account, count = self._venue.account, len(self._venue.markets)
        for index in range(count):
            self._venue.desk.cancel_all(index, now_ms)
            self._venue.conditional.cancel_all(index, now_ms)
        while self._needed_e8() > 0 and self._needed_e8() >= account.equity_e8:
            largest = max(range(count), key=account.maintenance_margin_e8)
            if self._intrusions.liquidate(largest, now_ms) is None:
                break
            self.liquidated_count += 1
        if account.ledger.wallet_quote_e8 < 0 and self._needed_e8() == 0:
            self._intrusions.clear_debt(now_ms)
