"""``metaensemble guard``: the guard as a service of its own, for daemons that run as services."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.places import GUARD_SOCKET, journal_directory, socket_directory

if TYPE_CHECKING:
    from config.settings import Settings
    from daemon.guard_launch import Launch

EXIT_FAILED = 1
EXIT_CONFIG = 78


def register(
    add: Callable[[str, str, str], argparse.ArgumentParser],
    add_configuration: Callable[[argparse.ArgumentParser], None],
    settings_of: Callable[[argparse.Namespace], Settings],
) -> None:
    """Add the command."""
    parser = add(
        "guard",
        "watch a daemon from a service of its own: cancel, close and alert when it cannot",
        "metaensemble guard --config /etc/metaensemble/live.yaml",
    )
    add_configuration(parser)
    parser.set_defaults(command=lambda options: _run(settings_of(options)))


def _run(settings: Settings) -> int:
    """Guard until told to end, and until nothing is left to guard."""
    from config.load import ConfigError, load_credentials, load_smtp_password
    from daemon.guard_launch import Launch
    from daemon.simulated.attach import attach
    from daemon.simulated.process import ExchangeError
    from daemon.venues.emergency import Loopback

    loopback = None
    if settings.mode == "paper":
        return _refuse("mode paper has no guard: its orders end with the daemon")
    try:
        if settings.mode == "sim":
            if not settings.simulated.attach:
                return _refuse("mode sim needs simulated.attach: run starts a guard of its own")
            access = attach(Path(settings.simulated.attach)).access
            loopback = Loopback(host=access.host, port=access.port, ca_pem_path=access.ca_pem_path)
            api_key, api_secret = access.api_key, access.api_secret
        else:
            credentials = load_credentials(settings, os.environ)
            assert credentials is not None, "only mode sim has none"
            api_key, api_secret = credentials.api_key, credentials.api_secret
        smtp_password = load_smtp_password(settings, os.environ)
    except (ConfigError, ExchangeError) as error:
        return _refuse(str(error))
    state = journal_directory(settings.journal.directory, os.environ) / settings.mode
    launch = Launch(
        settings=settings.model_dump(mode="json"),
        api_key=api_key,
        api_secret=api_secret,
        loopback=loopback,
        run_id="guard",
        state_directory=str(state.absolute()),
        socket_path=str(
            Path(
                settings.guard.socket or socket_directory(state, os.environ) / GUARD_SOCKET
            ).absolute()
        ),
        is_child=False,
        smtp_password=smtp_password,
    )
    return _serve(settings, launch)


def _serve(settings: Settings, launch: Launch) -> int:
    from daemon.guard_process import run_service

    Path(launch.state_directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return run_service(settings, launch)
    except OSError as error:
        print(f"metaensemble: guard: {error.strerror}", file=sys.stderr)
        return EXIT_FAILED


def _refuse(message: str) -> int:
    for line in message.splitlines():
        print(f"metaensemble: {line}", file=sys.stderr)
    return EXIT_CONFIG
