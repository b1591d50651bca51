"""What the exchange's process does: read its configuration, serve, watch its parent, report."""

from __future__ import annotations

import asyncio
import gc
import shutil
import signal
import sys
from pathlib import Path

import msgspec
import orjson
import uvloop

from config.fault_specs import FaultSpec
from config.load import ConfigError, load_fault_script
from config.settings import SimulatedSettings
from daemon.clock import SystemClock
from daemon.simulated.capture_source import CaptureError
from daemon.simulated.certificates import make_identity
from daemon.simulated.exchange_warmup import warm_up
from daemon.simulated.market_source import MarketSource
from daemon.simulated.process import REFUSED_EXIT_CODE, SOURCE_FINISHED, Launch, Ready
from daemon.simulated.server import HOST, ApiKeys, ExchangeServer
from daemon.simulated.sources import make_source

TERMINATE_GRACE_S = 15.0


class _RefusedError(Exception):
    """Input that cannot be served, in one line."""


class _Parent(asyncio.Protocol):
    """Watches stdin: its end is the end of the parent."""

    def __init__(self, gone: asyncio.Event) -> None:
        self._gone = gone

    def connection_lost(self, error: Exception | None) -> None:
        self._gone.set()


async def _serve(
    launch: Launch,
    settings: SimulatedSettings,
    source: MarketSource,
    faults: tuple[FaultSpec, ...],
) -> None:
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    # ctrl-C and a stopping service manager reach the child as well as its parent, which still
    # wants to cancel orders here: only the closing of stdin ends the exchange at once
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    loop.add_signal_handler(signal.SIGTERM, loop.call_later, TERMINATE_GRACE_S, gone.set)
    await loop.connect_read_pipe(lambda: _Parent(gone), sys.stdin)
    clock = SystemClock()
    identity = make_identity(Path(launch.directory), clock.now_ns())
    keys = ApiKeys(api_key=launch.api_key, api_secret=launch.api_secret)
    server = ExchangeServer(settings, source, keys, clock)
    try:
        port = await server.listen(settings.port, identity.context)
        plain_port = await server.listen(0, None) if launch.is_plain else 0
        control_port = await server.listen_for_control()
    except OSError as error:
        raise _RefusedError(f"cannot listen on port {settings.port}: {error.strerror}") from error
    server.start()
    armed = tuple(server.faults.arm(fault).name for fault in faults)
    gc.collect()
    gc.freeze()  # a recorded market is hundreds of thousands of objects that never die
    _say(
        msgspec.to_builtins(
            Ready(
                host=HOST,
                port=port,
                plain_port=plain_port,
                control_port=control_port,
                ca_pem_path=str(identity.ca_pem_path),
                faults=armed,
            )
        )
    )
    watch = asyncio.create_task(server.wait_failed())
    finish = asyncio.create_task(_tell_finish(server))
    parent = asyncio.create_task(gone.wait())
    try:
        await asyncio.wait((watch, parent), return_when=asyncio.FIRST_COMPLETED)
        if watch.done():
            watch.result()
    finally:
        for task in (watch, parent, finish):
            task.cancel()
        await server.stop()
        _say(server.report())


async def _tell_finish(server: ExchangeServer) -> None:
    """Say when the last frame of a recording has been sent; the exchange serves on."""
    await server.player.finished.wait()
    _say(SOURCE_FINISHED)


def _say(document: object) -> None:
    try:
        sys.stdout.write(orjson.dumps(document).decode() + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stderr.write("the simulated exchange lost its parent\n")


def main() -> int:
    """Run until stdin closes; 2 and one JSON line with the reason when the input is refused."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # while kernels compile; the loop has its own way
    try:
        launch = msgspec.json.decode(sys.stdin.buffer.readline(), type=Launch)
    except msgspec.DecodeError as error:
        return _refuse(f"the first input line is no configuration: {error}")
    try:
        return _run(launch)
    finally:
        shutil.rmtree(launch.directory, ignore_errors=True)  # the parent may be gone


def _run(launch: Launch) -> int:
    try:
        settings = SimulatedSettings.model_validate(launch.settings)
        source = make_source(settings, launch.instruments)
        faults = load_fault_script(Path(settings.faults)) if settings.faults else ()
    except (CaptureError, ConfigError, ValueError) as error:
        return _refuse(str(error))
    warm_up()
    try:
        uvloop.run(_serve(launch, settings, source, faults))
    except _RefusedError as error:
        return _refuse(str(error))
    return 0


def _refuse(reason: str) -> int:
    _say({"refused": reason})
    return REFUSED_EXIT_CODE
