"""The command ``metaensemble record``: the venue's public streams into one file, no orders."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np

from config.settings import Settings
from daemon import logs
from daemon.clock import SystemClock
from daemon.exit_codes import EXIT_DONE, EXIT_FAILED, EXIT_REFUSED
from daemon.identity import new_run_id
from daemon.simulated.process import ExchangeError
from daemon.simulated.process import start as start_exchange
from daemon.venues.connect_spot import connect_feed
from daemon.venues.hosts import VenueError
from daemon.venues.recorder import Recorder


def run(settings: Settings, path: Path, duration_ns: int | None, *, as_json: bool) -> int:
    """Record until the time is up or a signal comes; return the process's exit code."""
    if path.exists():
        print(f"metaensemble: {path} exists already, nothing is overwritten", file=sys.stderr)
        return EXIT_REFUSED
    if settings.venue.startswith("ccxt:"):
        print(f"metaensemble: {settings.venue} has no raw streams to record", file=sys.stderr)
        return EXIT_REFUSED
    clock = SystemClock()
    run_id = new_run_id(clock.now_ns(), os.urandom(8))
    log = logs.configure(settings.log.format, settings.log.level, run_id)
    try:
        return asyncio.run(_record(settings, path, duration_ns, clock, log, as_json=as_json))
    except (VenueError, ExchangeError, OSError) as error:
        print(f"metaensemble: {error}", file=sys.stderr)
        return EXIT_FAILED
    finally:
        log.close()


async def _record(
    settings: Settings,
    path: Path,
    duration_ns: int | None,
    clock: SystemClock,
    log: logs.Log,
    *,
    as_json: bool,
) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        access = None
        if settings.venue == "sim":
            exchange = await start_exchange(settings.simulated, settings.instruments)
            stack.push_async_callback(exchange.stop)
            access = exchange.access
        venue, instruments = await connect_feed(settings, access, present_only=True)
        stack.push_async_callback(venue.close)
        recorder = Recorder(
            venue,
            instruments,
            path,
            clock,
            log.note,
            settings=settings.feed,
            generator=np.random.default_rng(int.from_bytes(os.urandom(8), "big")),
        )
        stack.push_async_callback(recorder.close)
        recorder.start()
        try:
            async with asyncio.timeout(None if duration_ns is None else duration_ns / 1e9):
                await stopping.wait()
        except TimeoutError:
            stopping.set()  # the time is up
    log.flush()
    counts = dict(sorted(recorder.line_counts.items()))
    facts = {
        "file": str(path),
        "bytes": path.stat().st_size,
        "lines": counts,
        "gaps": recorder.gap_count,
        "refused": recorder.refused_count,
    }
    if as_json:
        print(json.dumps(facts), flush=True)
    else:
        listed = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        print(f"{path}: {facts['bytes']:,} bytes; {listed}; {recorder.gap_count} gaps", flush=True)
    return EXIT_DONE if recorder.line_counts["snapshot"] else EXIT_FAILED
