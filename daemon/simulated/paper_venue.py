"""The venue of paper mode: the simulated exchange's desk and account on somebody else's market.

Orders, matching, queue, fees, margin and funding are those of ``daemon.simulated.venue``; only the
market events come from the live feed, in the order in which the engine gets them. Whoever has the
same events and sends the same orders gets the same fills here and there. While the feed has no
book that it can vouch for, the venue is out of reach: requests about orders end in -1001.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from config.settings import PaperSettings
from daemon.clock import Clock
from daemon.simulated import order_documents, venue_errors
from daemon.simulated.intrusions import Intrusions
from daemon.simulated.margin_watch import MarginWatch
from daemon.simulated.paper_latency import RoundTrips
from daemon.simulated.paper_log import PaperLog, expire
from daemon.simulated.private_calls import PrivateCalls
from daemon.simulated.rest import Route, private_routes
from daemon.simulated.venue import Venue
from kernels.events import (
    DepthDiff,
    DepthSnapshot,
    Event,
    FeedStatus,
    MarkPrice,
    Quote,
    Trade,
    Verdict,
)
from kernels.units import E8, Instrument, from_e8

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
HOUSEKEEPING_S = 0.05
UNKNOWN_BOOKS = frozenset({Verdict.GAP, Verdict.RECONNECTING, Verdict.AUDIT_FAILED})
_MARKET = (Quote, Trade, DepthDiff, DepthSnapshot)


class PaperVenue:
    """One account on live markets; ``deliver`` takes the text of each event of its user stream."""

    def __init__(
        self,
        instruments: tuple[Instrument, ...],
        settings: PaperSettings,
        clock: Clock,
        path: Path,
    ) -> None:
        """Open the account that lies at ``path``, or a new one; PaperLogError where that fails."""
        self._clock = clock
        self.deliver: Callable[[str], object] | None = None
        self.round_trips = RoundTrips(
            uses_measured=settings.latency == "measured",
            median_ms=settings.round_trip_ms,
            sigma=settings.round_trip_sigma,
            seed=settings.seed,
        )
        self.venue = Venue(
            instruments,
            round(settings.wallet_quote * E8),
            self._now_ms(),
            self._publish,
            lambda _, document: self._publish(document),
        )
        self._log = PaperLog(path, self.venue, secrets.token_hex(16))
        for order in self._log.unended:
            expire(order, self._now_ms())
            market = self.venue.markets[order.request.instrument]
            self._log.keep(
                order_documents.order_event(order, market, order.status, order.updated_ms)
            )
        self._margin = MarginWatch(self.venue, Intrusions(self.venue, self._publish), self._publish)
        self._routes: dict[tuple[str, str], Route] = private_routes(PrivateCalls(self.venue))
        self._is_unknown = [False for _ in instruments]

    @property
    def account_name(self) -> str:
        """Name of the account, the same after a restart."""
        return self._log.account_name

    def take(self, event: Event) -> None:
        """Let one event of the feed move book, queue, orders and marks."""
        if isinstance(event, _MARKET):
            self.venue.apply(event, self._now_ms())
        elif isinstance(event, MarkPrice):
            self.venue.markets[event.instrument].set_mark(event.mark_ticks)
            self.venue.account.mark(event.instrument)
            self.venue.funding_rates_e8[event.instrument] = round(event.funding_rate_frac * E8)
        elif isinstance(event, FeedStatus):
            self._is_unknown[event.instrument] = event.verdict in UNKNOWN_BOOKS

    async def answer(self, method: str, path: str, parameters: Mapping[str, object]) -> Any:
        """Answer a signed request as the venue would; VenueError for what it refuses.

        Requests about orders first take their way to the book.
        """
        route = self._routes.get((method, path))
        if route is None:
            raise venue_errors.unknown_path(method, path)
        words = {name: str(value) for name, value in parameters.items()}
        if route.is_order:
            now_ns = self._clock.monotonic_ns()
            await asyncio.sleep((self.round_trips.arrival_ns(now_ns) - now_ns) / NS_PER_S)
            if any(
                is_unknown and each.venue_id == words.get("symbol")
                for each, is_unknown in zip(self.venue.instruments, self._is_unknown, strict=True)
            ):
                raise venue_errors.unavailable()
        return orjson.loads(orjson.dumps(await route.call(words, self._now_ms())))

    async def keep_house(self) -> None:
        """Let time pass for ever: dead-man's switches, funding, margin, the day."""
        while True:
            now_ms = self._now_ms()
            self.venue.tick(now_ms)
            self._margin.look(now_ms)
            await asyncio.sleep(HOUSEKEEPING_S)

    def report(self) -> dict[str, Any]:
        """Sum up the account, under the names that the simulated exchange uses."""
        account = self.venue.account
        trips_ms = sorted(each / NS_PER_MS for each in self.round_trips.measured_ns)
        return {
            **self.venue.desk.counts.words(len(self.venue.desk.working_orders())),
            "liquidations": self._margin.liquidated_count,
            "position_lots": {
                each.symbol: account.position_lots(each.index) for each in self.venue.instruments
            },
            "wallet_quote": from_e8(account.ledger.wallet_quote_e8),
            "equity_quote": from_e8(account.ledger.equity_quote_e8),
            "fees_quote": from_e8(account.ledger.fees_quote_e8),
            "funding_quote": from_e8(account.ledger.funding_quote_e8),
            "round_trips_measured": len(trips_ms),
            "round_trip_ms_median": trips_ms[len(trips_ms) // 2] if trips_ms else None,
        }

    def close(self) -> None:
        """Let go of the account's file; what it holds is complete at every moment."""
        self._log.close()

    def _publish(self, document: dict[str, object]) -> None:
        self._log.keep(document)
        if self.deliver is not None:
            text = orjson.dumps(document).decode()
            asyncio.get_running_loop().call_soon(self._hand_over, text)

    def _hand_over(self, text: str) -> None:
        """Deliver in the loop's own turn: a fill must not overtake the trade that made it."""
        if self.deliver is not None:
            self.deliver(text)

    def _now_ms(self) -> int:
        return self._clock.now_ns() // NS_PER_MS
