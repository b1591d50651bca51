"""The doctor's list before a first run at a real venue: keys, hosts, clock, rights, alerts, guard.

It asks the venue and sends no order. In mode sim there is nothing to ask, unless an exchange that
runs already is named (``simulated.attach``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from config.load import ConfigError, load_credentials, load_smtp_password
from config.settings import Settings
from daemon.clock import SystemClock
from daemon.findings import Row
from daemon.simulated.attach import attach
from daemon.simulated.process import ExchangeError

if TYPE_CHECKING:
    from config.credentials import Credentials
    from daemon.venues.connect import Access
    from daemon.venues.key_rights import KeyRights

NS_PER_MS = 1_000_000


def examine_venue(settings: Settings, environ: Mapping[str, str]) -> Iterator[Row]:
    """Yield the rows; asking a venue takes seconds at most."""
    yield judge_mode(settings)
    access, credentials = None, None
    try:
        credentials = load_credentials(settings, environ)
        if settings.venue == "sim" and settings.simulated.attach:
            access = attach(Path(settings.simulated.attach)).access
    except (ConfigError, ExchangeError) as error:
        yield Row(name="keys", state="fail", finding=str(error), advice="see README, Configuration")
        return
    if credentials is not None:
        finding = f"found, fingerprint {credentials.fingerprint}"
        yield Row(name="keys", state="ok", finding=finding)
    if settings.venue != "sim" or access is not None:
        yield from _ask_venue(settings, credentials, access)
    yield judge_alerts(settings, environ)
    yield judge_guard(settings)


def _ask_venue(
    settings: Settings, credentials: Credentials | None, access: Access | None
) -> Iterator[Row]:
    from daemon.venues.first_contact import first_contact  # ccxt is loaded only where it asks
    from daemon.venues.hosts import VenueError

    try:
        found = asyncio.run(first_contact(settings, credentials, access, SystemClock()))
    except (VenueError, OSError) as error:
        advice = "network, host name, firewall?"
        yield Row(name="venue", state="fail", finding=str(error), advice=advice)
        return
    finding = f"{settings.venue} ({settings.mode}) answers in {found.round_trip_ns / 1e6:.0f} ms"
    yield Row(name="venue", state="ok", finding=finding)
    yield judge_skew(found.skew_ns, found.round_trip_ns, settings.feed.skew_ms_max)
    yield Row(name="instruments", state="ok", finding=f"traded there: {', '.join(found.symbols)}")
    if found.rights_problem:
        yield Row(name="key rights", state="fail", finding=found.rights_problem)
    elif settings.mode != "paper":
        yield judge_rights(found.rights)


def judge_mode(settings: Settings) -> Row:
    """Say what a run with these settings would do with real money."""
    if settings.mode == "live":
        finding = "live and armed: with --live on the command line orders are REAL"
        return Row(
            name="mode", state="warn", finding=finding, advice="meant so? else mode: testnet"
        )
    finding = {
        "sim": "the built-in exchange: no key, no network, no money",
        "paper": "the venue's public feed, orders filled here: no key, no money",
        "testnet": "orders go to the venue's testnet: no money",
    }[settings.mode]
    return Row(name="mode", state="ok", finding=finding)


def judge_skew(skew_ns: int, round_trip_ns: int, skew_ms_max: int) -> Row:
    """Judge the venue's clock against ours; half of the round trip is not known better."""
    skew_ms, doubt_ms = skew_ns / NS_PER_MS, round_trip_ns / 2 / NS_PER_MS
    finding = f"the venue's is {skew_ms:+.0f} ms from ours, give or take {doubt_ms:.0f} ms"
    if abs(skew_ms) - doubt_ms > skew_ms_max:
        advice = "let this machine's clock be set by NTP: timedatectl set-ntp true"
        return Row(name="venue clock", state="fail", finding=finding, advice=advice)
    return Row(name="venue clock", state="ok", finding=finding)


def judge_rights(rights: KeyRights | None) -> Row:
    """Judge what the key may do; None: the venue has no such call."""
    if rights is None:
        return Row(name="key rights", state="ok", finding="a testnet key moves no money")
    if rights.refusal:
        return Row(name="key rights", state="fail", finding=rights.refusal)
    if rights.worries:
        return Row(name="key rights", state="warn", finding="; ".join(rights.worries))
    return Row(name="key rights", state="ok", finding="trades, cannot withdraw, bound to addresses")


def judge_alerts(settings: Settings, environ: Mapping[str, str]) -> Row:
    """Judge whether anybody would hear of trouble."""
    alerts = settings.alerts
    ways = [
        name
        for name, is_there in (
            (f"webhook ({alerts.webhook_format})", alerts.webhook_url),
            ("command", alerts.command),
            (f"mail to {len(alerts.email_to)}", alerts.email_to),
            ("life sign", alerts.heartbeat_url),
        )
        if is_there
    ]
    try:
        load_smtp_password(settings, environ)
    except ConfigError as error:
        return Row(name="alerts", state="fail", finding=str(error))
    if ways:
        return Row(name="alerts", state="ok", finding=", ".join(ways))
    if settings.mode == "sim":
        return Row(name="alerts", state="ok", finding="to the log only")
    advice = "set alerts.webhook_url, alerts.email_to or alerts.command"
    return Row(name="alerts", state="warn", finding="to the log only", advice=advice)


def judge_guard(settings: Settings) -> Row:
    """Judge who acts when the daemon cannot."""
    guard = settings.guard
    if settings.mode == "paper":
        return Row(name="guard", state="ok", finding="none: paper orders end with the daemon")
    if not guard.enabled:
        return Row(name="guard", state="warn", finding="none", advice="set guard.enabled: true")
    who = "run starts it" if guard.start == "child" else "metaensemble-guard.service"
    finding = f"{who}; on loss it {guard.on_loss}s"
    if settings.mode == "live" and guard.start == "child":
        advice = "for live trading let it be a service of its own: guard.start: service"
        return Row(name="guard", state="warn", finding=finding, advice=advice)
    return Row(name="guard", state="ok", finding=finding)
