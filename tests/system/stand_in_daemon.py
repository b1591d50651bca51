"""A daemon without a market: settings, credentials, log, journal and health as the real one has.

It shows that these work inside the unit's sandbox. SIGUSR1 makes its engine stand still.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import time

from config.load import ConfigError, load_credentials, load_settings
from daemon.effects import Note
from daemon.health import Health
from daemon.identity import client_order_id, new_run_id
from daemon.journal import Journal, journal_directory
from daemon.logs import configure, log_note
from kernels.events import OrderIntent, OrderType, Side

EX_CONFIG = 78


async def main(overrides: list[str]) -> int:
    """Run until SIGTERM; the exit status is the service's."""
    health = Health(os.environ)
    run_id = new_run_id(time.time_ns(), os.urandom(8))
    log = configure("auto", "info", run_id)
    try:
        settings = load_settings(None, None, overrides)
        credentials = load_credentials(settings, os.environ)
    except ConfigError as error:
        log_note(Note(event="config_refused", event_ns=time.time_ns(), fields={"why": str(error)}))
        log.close()
        return EX_CONFIG
    journal = Journal(
        journal_directory(settings.journal.directory, os.environ),
        run_id,
        settings.journal.sync,
        instruments=settings.instruments,
        started_ns=time.time_ns(),
    )
    intent = OrderIntent(
        sequence=0,
        instrument=0,
        side=Side.BUY,
        quantity_lots=1,
        price_ticks=1,
        order_type=OrderType.IOC,
        reduce_only=False,
        decided_ns=0,
        reason="stand-in",
    )
    journal.record_intent(client_order_id(run_id, 0), intent, 0)
    log_note(Note(event="order_denied", event_ns=time.time_ns(), fields={"detail": "stand-in"}))
    stop, is_standing_still, steps = asyncio.Event(), False, 0

    def stand_still() -> None:
        nonlocal is_standing_still
        is_standing_still = True

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, stand_still)
    feeding = asyncio.create_task(health.feed_watchdog(lambda: steps))
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    key = credentials.fingerprint if credentials else "none"
    earlier = len(journal.open_intents())
    health.ready(f"mode {settings.mode}, key {key}, earlier {earlier}, peak {peak_kb} kB")
    while not stop.is_set():
        await asyncio.sleep(0.05)
        steps += not is_standing_still
    health.stopping("stand-in stops")
    feeding.cancel()
    is_whole = journal.close(time.time_ns())
    log_note(Note(event="run_stopped", event_ns=time.time_ns()))
    log.close()
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
