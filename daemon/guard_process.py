"""The guard as a process: ``python -m daemon.guard_process`` under ``run``, or a service.

As a child it is told everything by one line on stdin, and the end of stdin is the end of its
daemon. As ``metaensemble guard`` it reads configuration and credentials like the daemon does.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from daemon import logs
from daemon.alert_opening import open_delivery
from daemon.clock import SystemClock
from daemon.guard import Guard
from daemon.guard_launch import Launch, parse_launch
from daemon.health import Health
from daemon.identity import is_foreign_id
from daemon.note import Note
from daemon.venues.emergency import EmergencyClient

if TYPE_CHECKING:
    from config.settings import Settings

EXIT_REFUSED = 2


class _Parent(asyncio.Protocol):
    """Watches stdin: its end is the end of the daemon."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def connection_lost(self, error: Exception | None) -> None:
        self._guard.on_parent_gone()


async def run(launch: Launch, settings: Settings) -> int:
    """Guard until there is nothing left to guard; 1 when something could not be proven."""
    clock = SystemClock()
    log = logs.configure(
        *(settings.log.format, settings.log.level, launch.run_id),
        repeats_max=settings.log.repeats_max,
    )
    log.hide(launch.api_key, launch.api_secret)
    delivery = open_delivery(settings.alerts, clock, log, launch.smtp_password)
    client = EmergencyClient(
        mode=settings.mode,
        api_key=launch.api_key,
        api_secret=launch.api_secret,
        loopback=launch.loopback,
        clock=clock,
        spares=is_foreign_id if settings.recovery.foreign == "ignore" else None,
    )
    generator = np.random.default_rng(int.from_bytes(os.urandom(8), "big"))
    guard = Guard(launch, settings, client=client, note=log.note, clock=clock, generator=generator)
    loop = asyncio.get_running_loop()
    # ctrl-C and a stopping service manager reach the daemon too, which still needs watching
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    loop.add_signal_handler(signal.SIGTERM, guard.on_terminate)
    if launch.is_child:  # a watchdog's signal for the daemon reaches its whole service
        signal.signal(signal.SIGABRT, signal.SIG_IGN)
    health = Health({} if launch.is_child else os.environ)  # a child is not the service's main

    def ready() -> None:
        if launch.is_child:
            print(json.dumps({"ready": True}), flush=True)
            return
        health.ready(f"guarding mode {settings.mode}")
        log.note(Note(event="guard_started", event_ns=clock.now_ns(), fields={"pid": os.getpid()}))

    if launch.is_child:
        await loop.connect_read_pipe(lambda: _Parent(guard), sys.stdin)
    fed = asyncio.create_task(health.feed_watchdog(lambda: guard.tick_count))
    try:
        async with delivery:
            await guard.serve(ready)
    finally:
        fed.cancel()
        await client.close()
        health.close()
        log.close()
    return guard.exit_code


def run_service(settings: Settings, launch: Launch) -> int:
    """Guard as a service of its own until it is told to end."""
    return asyncio.run(run(launch, settings))


def main() -> int:
    """Run as a child: the first line of stdin says everything."""
    try:
        launch, settings = parse_launch(sys.stdin.buffer.readline())
    except ValueError as error:
        print(f"the guard's first input line is no launch: {error}", file=sys.stderr)
        return EXIT_REFUSED
    assert Path(launch.socket_path).is_absolute()
    return asyncio.run(run(launch, settings))


if __name__ == "__main__":
    raise SystemExit(main())
