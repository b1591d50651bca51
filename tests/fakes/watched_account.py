"""A simulated exchange that outlives the daemon, and an eye on its account that is not ours."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from config.settings import SimulatedSettings
from daemon.clock import SystemClock
from daemon.simulated import process
from daemon.venues.emergency import EmergencyClient, Loopback
from kernels.units import Instrument

SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT")


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedAccount:
    """An exchange of our own; ``access_path`` is what a daemon attaches to.

    ``control`` is the address where faults are armed.
    """

    access_path: Path
    control: str
    pid: int
    client: EmergencyClient
    instruments: tuple[Instrument, ...]

    async def open_orders(self) -> int:
        """Count what is open at the venue."""
        return sum([await self.client.open_order_count(each) for each in self.instruments])

    async def positions(self) -> tuple[int, ...]:
        """Read what is held at the venue."""
        return await self.client.position_lots(self.instruments)

    async def until(self, is_so: Callable[[int, tuple[int, ...]], bool], limit_s: float) -> float:
        """Wait until (open orders, positions) are as wanted; return how long that took."""
        began_s = time.monotonic()
        while True:
            found = await self.open_orders(), await self.positions()
            took_s = time.monotonic() - began_s
            if is_so(*found):
                return took_s
            assert took_s < limit_s, f"after {took_s:.1f} s: open orders and positions are {found}"
            await asyncio.sleep(0.25)  # the venue counts the weight of every question


@asynccontextmanager
async def watched_account(
    directory: Path, settings: SimulatedSettings | None = None
) -> AsyncIterator[WatchedAccount]:
    """Run an exchange that only this test can end."""
    exchange = await process.start(settings or SimulatedSettings(), SYMBOLS)
    access = exchange.access
    client = EmergencyClient(
        mode="sim",
        api_key=access.api_key,
        api_secret=access.api_secret,
        loopback=Loopback(host=access.host, port=access.port, ca_pem_path=access.ca_pem_path),
        clock=SystemClock(),
    )
    words = {
        "url": f"https://{access.host}:{access.port}",
        "ca_pem_path": access.ca_pem_path,
        "api_key": access.api_key,
        "api_secret": access.api_secret,
        "pid": access.pid,
    }
    access_path = directory / "access.json"
    access_path.write_text(json.dumps(words) + "\n")
    try:
        instruments = await client.load_instruments(SYMBOLS)
        yield WatchedAccount(
            access_path=access_path,
            control=f"http://{access.host}:{access.control_port}",
            pid=access.pid,
            client=client,
            instruments=instruments,
        )
    finally:
        await client.close()
        await exchange.stop()
