"""The command ``alert``: bring one alert out by every configured way, without a daemon.

The service manager calls it when a service of ours has failed (metaensemble-alert@.service); by
hand it proves that alerts arrive.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from daemon.exit_codes import EXIT_CONFIG, EXIT_DONE, EXIT_FAILED

if TYPE_CHECKING:
    from config.settings import Settings

MONITORED = {
    "MONITOR_SERVICE_RESULT": "result",
    "MONITOR_EXIT_CODE": "ended_by",
    "MONITOR_EXIT_STATUS": "status",
    "MONITOR_INVOCATION_ID": "invocation",
}
"""What systemd tells a unit that it starts for another's failure (systemd.exec(5))."""


def register(
    add: Callable[[str, str, str], argparse.ArgumentParser],
    add_configuration: Callable[[argparse.ArgumentParser], None],
    settings_of: Callable[[argparse.Namespace], Settings],
) -> None:
    """Add the command."""
    parser = add(
        "alert",
        "bring one alert out by every way of the configuration, to see it arrive",
        "metaensemble alert --config /etc/metaensemble/live.yaml",
    )
    add_configuration(parser)
    parser.add_argument("--unit", metavar="NAME", help="say that this service has failed")
    parser.set_defaults(command=lambda options: _run(options, settings_of(options)))


def _run(options: argparse.Namespace, settings: Settings) -> int:
    import asyncio

    from config.load import ConfigError, load_smtp_password

    try:
        password = load_smtp_password(settings, os.environ)
    except ConfigError as error:
        print(f"metaensemble: {error}", file=sys.stderr)
        return EXIT_CONFIG
    return asyncio.run(_deliver(options.unit, settings, password))


async def _deliver(unit: str | None, settings: Settings, password: str) -> int:
    """Deliver and return 1 when any way failed, or when there is none."""
    from daemon import logs
    from daemon.alert_opening import open_delivery
    from daemon.clock import SystemClock
    from daemon.note import Note

    clock = SystemClock()
    log = logs.configure(settings.log.format, settings.log.level, "alert")
    delivery = open_delivery(settings.alerts, clock, log, password)
    fields = {name: os.environ[v] for v, name in MONITORED.items() if os.environ.get(v)}
    event = "unit_failed" if unit else "alert_tried"
    async with delivery:
        note = Note(event=event, event_ns=clock.now_ns(), fields={"unit": unit or "none", **fields})
        log.note(note)
    log.close()
    counts = delivery.counts()
    if not unit:
        print(f"delivered by {counts['delivered']} ways, failed by {counts['undelivered']}")
        if not any(counts.values()):
            print("no way is configured: alerts.webhook_url, alerts.email_to, alerts.command")
    is_heard = counts["delivered"] > 0 and counts["undelivered"] == 0
    return EXIT_DONE if is_heard or (unit and not any(counts.values())) else EXIT_FAILED
