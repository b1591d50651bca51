"""The exchange without its sockets: markets, account, orders, listen keys, timers.

Driven by the player (market frames), by REST (requests) and by housekeeping (time). Every call is
handed the venue's time in UNIX milliseconds; nothing here reads a clock or waits.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from daemon.simulated import account_documents, venue_errors
from daemon.simulated.accounts import Account
from daemon.simulated.conditional_desk import ConditionalDesk
from daemon.simulated.conditional_orders import PriceSource
from daemon.simulated.market_documents import FUNDING_RATE_E8, next_funding_ms
from daemon.simulated.market_source import SourceEvent
from daemon.simulated.order_desk import NS_PER_MS, OrderDesk, Publish
from daemon.simulated.venue_market import VenueMarket
from kernels.events import Funding, Trade
from kernels.units import E8, Instrument

LISTEN_KEY_MS = 60 * 60_000
LISTEN_KEY_BYTES = 32


class ListenKey:
    """The one user-stream key of the account: valid for an hour after each request for it."""

    def __init__(self) -> None:
        """Start without a key."""
        self._key = ""
        self._expires_ms = 0

    def obtain(self, now_ms: int) -> str:
        """Return the valid key, made anew when there is none, and extend it."""
        if not self.is_valid(self._key, now_ms):
            self._key = secrets.token_hex(LISTEN_KEY_BYTES)
        self._expires_ms = now_ms + LISTEN_KEY_MS
        return self._key

    def extend(self, now_ms: int) -> str:
        """Extend the valid key; -1125 when there is none."""
        if not self.is_valid(self._key, now_ms):
            raise venue_errors.unknown_listen_key()
        return self.obtain(now_ms)

    def is_valid(self, key: str, now_ms: int) -> bool:
        """Tell whether a key opens the user stream now."""
        return bool(key) and key == self._key and now_ms < self._expires_ms

    def end(self) -> str:
        """Forget the key; return it, empty when there was none."""
        key, self._key = self._key, ""
        return key

    def expired(self, now_ms: int) -> str:
        """Return and forget a key whose time is over, else an empty string."""
        return self.end() if self._key and now_ms >= self._expires_ms else ""


class Venue:
    """State of the whole exchange; ``publish_user`` takes user-stream documents."""

    def __init__(
        self,
        instruments: tuple[Instrument, ...],
        wallet_quote_e8: int,
        now_ms: int,
        publish_user: Publish,
        end_user_streams: Callable[[str, dict[str, object]], None],
    ) -> None:
        """Open with a flat account; ``end_user_streams`` sends the last event of a listen key."""
        self.instruments = instruments
        self.markets = tuple(VenueMarket(instrument) for instrument in instruments)
        self.account = Account(self.markets, wallet_quote_e8)
        self.desk = OrderDesk(self.markets, self.account, publish_user)
        self.conditional = ConditionalDesk(self.markets, self.account, self.desk, publish_user)
        self.listen_key = ListenKey()
        self._publish_user = publish_user
        self._end_user_streams = end_user_streams
        self._cancel_at_ms: dict[int, int] = {}
        self.funding_rates_e8 = [FUNDING_RATE_E8 for _ in instruments]
        self._funding_at_ms = next_funding_ms(now_ms)

    def apply(self, event: SourceEvent, now_ms: int) -> None:
        """Let one market event move book, queue and orders."""
        market = self.markets[event.instrument]
        was_open = market.is_open
        executions = market.apply(event, now_ms)
        if market.is_open and not was_open:
            self.account.mark(event.instrument)
        if executions:
            self.desk.settle(event.instrument, executions, now_ms)
        if isinstance(event, Trade):
            self.conditional.judge(event.instrument, PriceSource.CONTRACT_PRICE, now_ms)

    def renew_mark(self, instrument: int) -> bool:
        """Set the mark price to the mid and value the account; False while there is no book."""
        market = self.markets[instrument]
        if not (market.is_open and market.renew_mark()):
            return False
        self.account.mark(instrument)
        return True

    def set_countdown(self, instrument: int, countdown_ms: int, now_ms: int) -> None:
        """Arm (or with 0 disarm) the dead-man's switch of one instrument."""
        if countdown_ms:
            self._cancel_at_ms[instrument] = now_ms + countdown_ms
        else:
            self._cancel_at_ms.pop(instrument, None)

    def tick(self, now_ms: int) -> None:
        """Let time pass: dead-man's switches, mark prices, listen key, funding, the day."""
        for instrument in [key for key, due in self._cancel_at_ms.items() if due <= now_ms]:
            del self._cancel_at_ms[instrument]
            self.desk.cancel_all(instrument, now_ms)
        for market in self.markets:
            self.conditional.judge(market.instrument.index, PriceSource.MARK_PRICE, now_ms)
        self.conditional.tick(now_ms)
        self._tell_expired(self.listen_key.expired(now_ms), now_ms)
        if now_ms >= self._funding_at_ms:
            self._funding_at_ms = next_funding_ms(now_ms)
            self.pay_funding(now_ms)
        self.account.ledger.roll_day(now_ms * NS_PER_MS)

    def close_listen_key(self, now_ms: int) -> None:
        """End the user stream at the client's wish."""
        self._tell_expired(self.listen_key.end(), now_ms)

    def _tell_expired(self, key: str, now_ms: int) -> None:
        if key:
            document = {"e": "listenKeyExpired", "E": now_ms, "listenKey": key}
            self._end_user_streams(key, document)

    def pay_funding(
        self, now_ms: int, rate_e8: int | None = None, instrument: int | None = None
    ) -> None:
        """Charge every position, or one, its funding; longs pay.

        ``rate_e8`` is the share of the position's value; None is each contract's current rate.
        """
        for market in self.markets:
            index = market.instrument.index
            notional_e8 = self.account.notional_e8(index)
            if notional_e8 == 0 or instrument not in (None, index):
                continue
            applied_e8 = self.funding_rates_e8[index] if rate_e8 is None else rate_e8
            amount_e8 = -notional_e8 * applied_e8 // E8
            funding = Funding(
                instrument=index,
                event_ns=now_ms * NS_PER_MS,
                received_ns=now_ms * NS_PER_MS,
                amount_quote_e8=amount_e8,
            )
            self.account.book_funding(funding, now_ms)
            self._publish_user(
                account_documents.account_event(
                    self.account, (market,), "FUNDING_FEE", now_ms, amount_e8
                )
            )
