"""The command ``metaensemble watch``: the feed of a venue alone, its verdicts and counts.

No model, no journal, no order: the way to see what an exchange delivers before anything is trusted
to it, and the only use of an exchange that ccxt offers but whose orders are not verified.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import Any

import numpy as np

from config.settings import Settings
from daemon import logs
from daemon.clock import SystemClock
from daemon.exit_codes import EXIT_DONE, EXIT_FAILED
from daemon.identity import new_run_id
from daemon.lanes import Lanes
from daemon.simulated.process import ExchangeError
from daemon.simulated.process import start as start_exchange
from daemon.venues.connect_generic import close_generic, open_generic, watched_markets
from daemon.venues.connect_spot import connect_feed
from daemon.venues.feeds import Feed
from daemon.venues.generic import GenericFeed
from daemon.venues.hosts import VenueError
from kernels.events import FeedStatus, Verdict

DRAIN_S = 0.1
DRAIN_EVENTS = 100_000
GENERIC_PREFIX = "ccxt:"


def run(settings: Settings, duration_ns: int | None, *, as_json: bool) -> int:
    """Watch until the time is up or a signal comes; 1 when the feed was never OK."""
    clock = SystemClock()
    log = logs.configure(
        settings.log.format, settings.log.level, new_run_id(clock.now_ns(), os.urandom(8))
    )
    try:
        facts = asyncio.run(_watch(settings, duration_ns, clock, log))
    except (VenueError, ExchangeError, OSError) as error:
        print(f"metaensemble: {error}", file=sys.stderr)
        return EXIT_FAILED
    finally:
        log.close()
    if as_json:
        print(json.dumps(facts), flush=True)
    else:
        counts = ", ".join(f"{count:,} {name}" for name, count in facts["events"].items())
        print(f"{facts['venue']}: {counts or 'nothing came'}")
        for symbol, verdict in facts["verdicts"].items():
            print(f"  {symbol} {verdict}", flush=True)
    return EXIT_DONE if facts["was_ok"] else EXIT_FAILED


async def _watch(
    settings: Settings, duration_ns: int | None, clock: SystemClock, log: logs.Log
) -> dict[str, Any]:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    verdicts = [Verdict.WARMING] * len(settings.instruments)
    was_ok = [False] * len(settings.instruments)
    lanes = Lanes(len(settings.instruments), settings.feed.lane_events_max)
    async with AsyncExitStack() as stack:
        feed = await _open_feed(settings, lanes, clock, log, stack)
        stack.push_async_callback(feed.close)
        began_ns = clock.monotonic_ns()
        await feed.start()
        while not stopping.is_set():
            await lanes.wait(DRAIN_S)
            for event in lanes.drain(DRAIN_EVENTS):
                if isinstance(event, FeedStatus):
                    verdicts[event.instrument] = event.verdict
                    was_ok[event.instrument] |= event.verdict is Verdict.OK
            if duration_ns is not None and clock.monotonic_ns() - began_ns >= duration_ns:
                break
            await asyncio.sleep(0)  # a lane that never empties must not starve the sockets
    log.flush()
    named = zip(settings.instruments, verdicts, strict=True)
    return {
        "venue": settings.venue,
        "verdicts": {symbol: verdict.name for symbol, verdict in named},
        "was_ok": all(was_ok),
        "events": dict(sorted(lanes.counts.items())),
        "counters": asdict(feed.counters),
    }


async def _open_feed(
    settings: Settings, lanes: Lanes, clock: SystemClock, log: logs.Log, stack: AsyncExitStack
) -> Feed | GenericFeed:
    """Open the venue without keys; ``stack`` closes what was opened."""
    generator = np.random.default_rng(int.from_bytes(os.urandom(8), "big"))
    if settings.venue.startswith(GENERIC_PREFIX):
        exchange = await open_generic(settings.venue.removeprefix(GENERIC_PREFIX), settings.feed)
        stack.push_async_callback(close_generic, exchange)
        markets = watched_markets(exchange, settings.instruments)
        return GenericFeed(
            exchange, markets, lanes, settings.feed, clock, log.note, generator=generator
        )
    access = None
    if settings.venue == "sim":
        simulated = await start_exchange(settings.simulated, settings.instruments)
        stack.push_async_callback(simulated.stop)
        access = simulated.access
    venue, instruments = await connect_feed(settings, access)
    stack.push_async_callback(venue.close)
    return Feed(venue, instruments, lanes, settings.feed, clock, log.note, generator=generator)
