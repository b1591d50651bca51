"""The command ``top``: the live view of a running daemon, from any terminal of its user."""

from __future__ import annotations

import argparse
import sys

from daemon.cli_operator import (
    Add,
    NobodyError,
    add_target,
    complain,
    find_socket,
    finish,
    show_document,
)
from daemon.places import CONTROL_SOCKET
from daemon.socket_lines import LineError, ask

ASK_TIMEOUT_S = 8.0
PIPE_WIDTH = 140
"""Columns where there is no terminal that says how many it has."""


def register(add: Add) -> None:
    """Add the command; ``add`` takes name, summary and example."""
    parser = add(
        "top",
        "live view of the running daemon, with keys to reduce, cancel, flatten, halt and resume",
        "metaensemble top --mode sim",
    )
    parser.add_argument("--once", action="store_true", help="print one view and end")
    add_target(parser)
    parser.set_defaults(command=_top)


def _top(options: argparse.Namespace) -> int:
    try:
        path = find_socket(options, CONTROL_SOCKET)
        if options.json:
            return finish(options, ask(path, {"command": "view"}, ASK_TIMEOUT_S), show_document)
        from daemon.dashboard import top  # rich is loaded only where it draws

        if options.once or not (sys.stdin.isatty() and sys.stdout.isatty()):
            from rich.console import Console

            return top.show_once(path, Console(width=None if sys.stdout.isatty() else PIPE_WIDTH))
        return top.run(path)
    except (NobodyError, LineError) as error:
        return complain(options, str(error))
