"""Mode paper at the seam of the real venue: private requests and the user stream end in here.

The public half is ccxt's and the venue's own. Whatever would need a key is answered by
``daemon.simulated.paper_venue`` in this process, so gateway, recovery, ledger and journal cannot
tell it from a venue, and no such request can leave: there is no key, and no code that sends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ccxt.base.errors import ExchangeError

from config.settings import PaperSettings
from daemon.clock import Clock
from daemon.lanes import Lanes
from daemon.simulated.paper_venue import PaperVenue
from daemon.simulated.venue_errors import VenueError as VenueRefusal
from daemon.venues.outcomes import classify
from daemon.venues.tap import (
    BYTES_HANDED_OVER,
    ForbiddenHostError,
    FrameReader,
    Stream,
    TapBinanceUsdm,
)
from kernels.events import Event
from kernels.units import Instrument

_PRIVATE_PATHS = {
    "fapiPrivate": "/fapi/v1/",
    "fapiPrivateV2": "/fapi/v2/",
    "fapiPrivateV3": "/fapi/v3/",
}
_PUBLIC_APIS = frozenset({"fapiPublic", "fapiPublicV2", "fapiPublicV3", "fapiData"})
_PING = "ping"
_USER_STREAM = "paper://user/"


class PaperRefusedError(ExchangeError):  # type: ignore[misc]  # ccxt ships no types
    """A refusal of the paper venue, judged as one of the real venue."""

    def __init__(self, refusal: VenueRefusal) -> None:
        """Carry code and status to ``refusal_of``."""
        super().__init__(str(refusal))
        self.tap_refusal = classify(refusal.status, refusal.code, refusal.message)


class PaperStream(Stream):
    """The user stream of the paper account: lost only when somebody closes it."""

    def __init__(self, paper: PaperVenue, on_frame: FrameReader) -> None:
        """Let the venue deliver to this reader from now on."""
        self._paper = paper
        self._closed = asyncio.get_running_loop().create_future()
        paper.deliver = on_frame

    async def send(self, words: Mapping[str, Any] | str) -> None:
        """Say nothing: the stream of an account takes no requests."""

    async def lost(self) -> str:
        """Wait for the end."""
        await asyncio.wait((self._closed,))
        return "closed by us"

    async def close(self) -> None:
        """End the deliveries."""
        self._paper.deliver = None
        if not self._closed.done():
            self._closed.set_result(None)


class PaperBinanceUsdm(TapBinanceUsdm):
    """Binance USD-M whose account exists here only."""

    _paper: PaperVenue | None = None

    def open_account(
        self, instruments: tuple[Instrument, ...], settings: PaperSettings, clock: Clock, path: Path
    ) -> PaperVenue:
        """Open the account that lies at ``path``; the caller closes it. PaperLogError."""
        self._clock = clock
        self._paper = PaperVenue(instruments, settings, clock, path)
        return self._paper

    @property
    def paper(self) -> PaperVenue:
        """The venue behind the private half."""
        assert self._paper is not None, "the account is opened before anybody asks for it"
        return self._paper

    @property
    def account_id(self) -> str:
        """Name the paper account; it is the same after a restart."""
        return self._paper.account_name if self._paper is not None else ""

    async def request(
        self,
        path: str,
        api: Any = "public",
        method: str = "GET",
        params: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> Any:
        """Send public requests on; answer the others here, or refuse them."""
        name = api if isinstance(api, str) else api[0]
        if name in _PUBLIC_APIS:
            return await self._ask_venue(path, api, method, dict(params or {}), dict(config or {}))
        prefix = _PRIVATE_PATHS.get(name)
        if prefix is None or self._paper is None:
            raise ForbiddenHostError(f"{method} {name} {path} needs a key, and mode paper has none")
        handed_over = BYTES_HANDED_OVER.get()
        if handed_over is not None:
            handed_over()
        try:
            return await self._paper.answer(method, prefix + path, params or {})
        except VenueRefusal as refusal:
            raise PaperRefusedError(refusal) from None

    async def _ask_venue(
        self, path: str, api: Any, method: str, params: dict[str, Any], config: dict[str, Any]
    ) -> Any:
        if path != _PING or self._paper is None:
            return await super().request(path, api, method, params, config)
        started_ns = self._clock.monotonic_ns()
        answer = await super().request(path, api, method, params, config)
        self._paper.round_trips.add(self._clock.monotonic_ns() - started_ns)
        return answer

    def get_private_ws_url(self, kind: str, listen_key: str) -> str:
        """Return the address of the user stream, which leads nowhere outside."""
        return _USER_STREAM + listen_key

    async def open_stream(self, url: str, on_frame: FrameReader) -> Stream:
        """Open the account's own stream here, any other at the venue."""
        if url.startswith(_USER_STREAM):
            return PaperStream(self.paper, on_frame)
        return await super().open_stream(url, on_frame)


class PaperLanes(Lanes):
    """Lanes that show the paper venue every event of the feed in the order the engine gets them."""

    def __init__(self, instrument_count: int, events_max: int, paper: PaperVenue) -> None:
        """Make empty lanes."""
        super().__init__(instrument_count, events_max)
        self._paper = paper

    def put(self, event: Event) -> bool:
        """Add an event; what was taken moves the paper market as well."""
        is_taken = super().put(event)
        if is_taken:
            self._paper.take(event)
        return is_taken
