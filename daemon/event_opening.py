"""Open the event log of a run: the facts a replay needs, the bounds from the settings."""

from __future__ import annotations

import hashlib
import platform
from importlib import metadata
from pathlib import Path

from config.load import settings_sha256
from config.settings import Settings
from daemon.event_log import DIRECTORY, FORMAT, EventLog, Retention
from daemon.event_words import RunFacts
from kernels.events import AccountState
from kernels.units import Instrument
from strategy.bundle import Bundle

NUMERIC_PACKAGES = ("numpy", "numba", "torch", "msgspec")
"""Whose versions may change a result in its last bit."""

MB = 1_000_000
NS_PER_S = 1_000_000_000
NS_PER_DAY = 86_400 * NS_PER_S


def open_event_log(
    settings: Settings,
    directory: Path,
    *,
    run_id: str,
    bundle: Bundle,
    runtime: str,
    instruments: tuple[Instrument, ...],
    opening: AccountState,
    account: str,
    started_ns: int,
) -> EventLog | None:
    """Open the log below the journal's directory, None where the settings switch it off.

    ``account`` is the fingerprint of the venue account, ``runtime`` the form of the models that
    was found faster. Raises OSError.
    """
    knobs = settings.journal
    if not knobs.events:
        return None
    facts = RunFacts(
        format=FORMAT,
        run_id=run_id,
        segment=0,
        started_ns=started_ns,
        settings=settings.model_dump(mode="json"),
        settings_sha256=settings_sha256(settings),
        bundle_path=str(bundle.path),
        bundle_sha256=bundle.sha256,
        runtime=runtime,
        instruments=instruments,
        opening=opening,
        versions=versions(),
        account=account,
    )
    retention = Retention(
        segment_bytes=knobs.segment_mb * MB,
        total_bytes=knobs.events_mb_max * MB,
        age_ns=knobs.events_days_max * NS_PER_DAY,
        state_interval_ns=knobs.state_interval_s * NS_PER_S,
    )
    return EventLog(directory / DIRECTORY, facts, retention, started_ns=started_ns)


def account_fingerprint(api_key: str) -> str:
    """Name a venue account without naming its key; empty without a key."""
    return hashlib.sha256(api_key.encode()).hexdigest()[:16] if api_key else ""


def versions() -> dict[str, str]:
    """Name the machine, the interpreter and the packages that compute."""
    found = {name: metadata.version(name) for name in NUMERIC_PACKAGES}
    return {"machine": platform.machine(), "python": platform.python_version()} | found
