"""The account's own stream: orders and fills into the lanes, the venue's word on the account kept.

The stream repeats nothing it missed, so every connection is followed by a reconciliation, and so is
every frame that could not be read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ccxt.base.errors import BaseError

from daemon.clock import Clock
from daemon.lanes import Lanes
from daemon.venues.links import Link, OnUserConnect
from daemon.venues.market_rules import LISTEN_KEY_REFRESH_S
from daemon.venues.normalize import AccountReport, ColdFrame, FrameRefusedError, Normalizer
from daemon.venues.supervision import Supervisor
from daemon.venues.tap import Tap, refusal_of
from kernels.events import Funding

STREAM_ENDED = frozenset({"listenKeyExpired", "eventStreamTerminated"})
"""How the venue says that nothing more will come: on USD-M, on spot."""

Say = Callable[..., None]
"""Takes an event name, optionally its time, and fields."""


class UserStream:
    """Reader and keeper of the user stream.

    ``wallet_quote_e8`` and ``position_lots`` hold the venue's last word from the stream, None where
    it has not spoken; ``event_count`` counts frames about our account.
    """

    def __init__(
        self,
        *,
        exchange: Tap,
        normalizer: Normalizer,
        instrument_count: int,
        lanes: Lanes,
        clock: Clock,
        supervisor: Supervisor,
        on_connect: OnUserConnect | None,
        on_refused: Callable[[FrameRefusedError, int], None],
        say: Say,
    ) -> None:
        """Prepare; the link is attached by the feed that owns both."""
        self.wallet_quote_e8: int | None = None
        self.position_lots: list[int | None] = [None] * instrument_count
        self.event_count = 0
        self._exchange = exchange
        self._normalizer = normalizer
        self._lanes = lanes
        self._clock = clock
        self._supervisor = supervisor
        self._on_connect = on_connect
        self._on_refused = on_refused
        self._say = say
        self._reconciling: asyncio.Task[None] | None = None
        self._link: Link | None = None

    def attach(self, link: Link) -> None:
        """Take the link whose frames come here; it is dropped when its key expires."""
        self._link = link

    async def reconcile(self) -> None:
        """Let the owner of the account state catch up by REST."""
        if self._on_connect is not None:
            await self._on_connect()

    async def keep_listen_key(self) -> None:
        """Keep the stream open for ever; what the venue refuses to renew means a new connection."""
        while True:
            await asyncio.sleep(LISTEN_KEY_REFRESH_S)
            try:
                await self._exchange.rules.renew_user_stream()
            except BaseError as error:
                self._expired(refusal_of(error).reason)

    def read(self, frame_text: str) -> bool:
        """Take one raw frame; ccxt need not see any of them."""
        received_ns = self._clock.now_ns()
        try:
            events = self._normalizer.user(frame_text, received_ns)
        except FrameRefusedError as refusal:
            self._on_refused(refusal, received_ns)
            if self._reconciling is None or self._reconciling.done():
                # something of ours happened and we could not read it
                self._reconciling = self._supervisor.spawn("reconcile", self.reconcile())
            return True
        if isinstance(events, ColdFrame):
            if events.event in STREAM_ENDED:
                self._expired(events.event)
            elif events.request_id is not None and self._link is not None:
                self._link.on_answer(events)
            return True
        self.event_count += 1
        for event in events:
            if isinstance(event, AccountReport):
                self._on_account(event)
            else:
                self._lanes.put(event)
        return True

    def _expired(self, reason: str) -> None:
        self._say("user_stream_expired", reason=reason)
        if self._link is not None:
            self._supervisor.spawn("drop user", self._link.drop(reason))

    def _on_account(self, report: AccountReport) -> None:
        if report.wallet_quote_e8 is not None:
            self.wallet_quote_e8 = report.wallet_quote_e8
        for instrument, lots in report.positions:
            self.position_lots[instrument] = lots
        if report.reason == "FUNDING_FEE" and report.change_quote_e8:
            self._lanes.put(
                Funding(
                    instrument=self._funded_instrument(report),
                    event_ns=report.event_ns,
                    received_ns=report.received_ns,
                    amount_quote_e8=report.change_quote_e8,
                )
            )

    def _funded_instrument(self, report: AccountReport) -> int:
        """Name the instrument of a funding payment.

        The venue names it for isolated margin only; for cross margin it tells the balance alone,
        and the largest position known takes the payment: the wallet is exact either way.
        """
        if len(report.positions) == 1:
            return report.positions[0][0]
        count = len(self.position_lots)
        return max(range(count), key=lambda i: abs(self.position_lots[i] or 0))
