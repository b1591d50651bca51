"""Finds out which guard a run has, and connects the daemon to it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from config.credentials import Credentials, load_smtp_password
from daemon.guard_launch import Launch
from daemon.guard_link import GuardLink, child_spawner
from daemon.places import GUARD_SOCKET, RUN_DIRECTORY, socket_directory
from daemon.venues.emergency import Loopback

if TYPE_CHECKING:
    from daemon.assembly import Parts

SERVICE_DIRECTORY = "metaensemble-guard"


async def open_guard(parts: Parts, credentials: Credentials | None) -> GuardLink | None:
    """Start the guard, or find the service; None where the settings want none and on paper.

    The link is not connected yet: the child loads while the daemon warms up. GuardError when the
    process cannot be started.
    """
    settings = parts.settings
    if not settings.guard.enabled or settings.mode == "paper":
        return None
    state_directory = parts.journal.path.parent
    directory = socket_directory(state_directory, os.environ)
    is_child = settings.guard.start == "child"
    path = directory / GUARD_SOCKET
    if not is_child:
        path = Path(settings.guard.socket or RUN_DIRECTORY / SERVICE_DIRECTORY / GUARD_SOCKET)
    keys = credentials if parts.exchange is None else parts.exchange.access
    assert keys is not None, "a real venue was refused without credentials"
    access = parts.exchange.access if parts.exchange is not None else None
    launch = Launch(
        settings=settings.model_dump(mode="json"),
        api_key=keys.api_key,
        api_secret=keys.api_secret,
        loopback=Loopback(host=access.host, port=access.port, ca_pem_path=access.ca_pem_path)
        if access is not None
        else None,
        run_id=parts.run_id,
        state_directory=str(state_directory.absolute()),
        socket_path=str(path.absolute()),
        is_child=True,
        smtp_password=load_smtp_password(settings, os.environ),
    )
    link = GuardLink(
        settings.guard,
        mode=settings.mode,
        path=path,
        spawn=child_spawner(launch, lambda: parts.exchange.lifeline if parts.exchange else -1)
        if is_child
        else None,
        progress=parts.progress,
        alarm=parts.lanes.put,
        note=parts.dispatcher.note,
        clock=parts.clock,
        generator=parts.generator,
    )
    await link.launch()
    return link
