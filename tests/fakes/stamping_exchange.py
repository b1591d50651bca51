"""The exchange in a process of its own that stamps every quote as it is written, for a benchmark.

Run as ``python -m tests.fakes.stamping_exchange``: prints one JSON line with its ports, serves
until stdin closes, then prints update id and stamp of every quote. The stamps are CLOCK_MONOTONIC,
which every process of one machine shares.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import uvloop

from config.settings import SimulatedSettings
from daemon.clock import SystemClock
from daemon.simulated.certificates import make_identity
from daemon.simulated.exchange_warmup import warm_up
from daemon.simulated.server import ApiKeys, ExchangeServer
from daemon.simulated.sources import make_source
from tests.fakes.recording import NAMES

QUOTES = "btcusdt@bookTicker"


class Stamps:
    """When the quotes were handed to their sockets."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, int]] = []
        self._queued: list[bytes] = []

    def queue(self, stream: str, payload: bytes) -> Sequence[bytes]:
        """Remember a quote that waits for the write of its batch."""
        if stream.endswith(QUOTES):
            self._queued.append(payload)
        return (payload,)

    def send(self) -> None:
        """Stamp what is written now."""
        now_ns = time.monotonic_ns()
        self.sent += [(payload, now_ns) for payload in self._queued]
        self._queued.clear()


class BareTicker(asyncio.Protocol):
    """Sends nothing but the time, every 10 ms: what the machine alone needs from write to read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit from it
        self._tick()

    def _tick(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(b"%020d" % time.monotonic_ns())
            asyncio.get_running_loop().call_later(0.01, self._tick)


async def serve(directory: Path) -> None:
    """Serve over TLS and in plain text until stdin closes."""
    settings = SimulatedSettings(seed=5, latency_ms=0.0, market="volatile")
    clock = SystemClock()
    server = ExchangeServer(
        settings, make_source(settings, NAMES), ApiKeys(api_key="k", api_secret="s"), clock
    )
    identity = make_identity(directory, clock.now_ns())
    stamps = Stamps()
    hub = server._hub  # no public seam knows when a batch of messages is written
    hub.tamper = stamps.queue
    write_out = hub.flush

    def flush() -> None:
        stamps.send()
        write_out()

    hub.flush = flush  # type: ignore[method-assign]  # stamps the moment of the write
    bare = await asyncio.get_running_loop().create_server(BareTicker, "127.0.0.1", 0)
    ports = {
        "bare_port": bare.sockets[0].getsockname()[1],
        "port": await server.listen(0, identity.context),
        "plain_port": await server.listen(0, None),
        "ca_pem_path": str(identity.ca_pem_path),
    }
    server.start()
    print(json.dumps(ports), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    bare.close()
    await server.stop()
    print(json.dumps([(json.loads(payload)["u"], at_ns) for payload, at_ns in stamps.sent]))
    sys.stdout.flush()


def main() -> None:
    """Compile first, then serve."""
    warm_up()
    with tempfile.TemporaryDirectory() as directory:
        uvloop.run(serve(Path(directory)))


if __name__ == "__main__":
    main()
