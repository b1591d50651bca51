"""``metaensemble top``: the live view of a running daemon in another terminal, with its keys.

It asks over the operator's socket twice a second; the daemon neither knows nor waits for it. What a
key asks for is done only after it is confirmed, and goes the way of every operator's command.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from daemon.clock import SystemClock
from daemon.dashboard.terminal import RunView
from daemon.dashboard.top_view import Prompt, answered, press, render_top, view_from
from daemon.exit_codes import EXIT_DONE, EXIT_FAILED
from daemon.socket_lines import LineError, ask

REFRESH_NS = 500_000_000
KEY_WAIT_S = 0.1
ASK_TIMEOUT_S = 8.0
KEYS_BYTES_MAX = 256

Words = dict[str, Any]
Ask = Callable[[Words], Words]


def run(path: Path) -> int:
    """Show until the operator leaves; needs a terminal on stdin and stdout."""

    def ask_daemon(request: Words) -> Words:
        return ask(path, request, ASK_TIMEOUT_S)

    with (
        _keys(sys.stdin.fileno()) as read_keys,
        Live(console=Console(), auto_refresh=False, screen=True, vertical_overflow="crop") as live,
    ):
        return _show(ask_daemon, read_keys, live)


def show_once(path: Path, console: Console) -> int:
    """Print one view, for a pipe or a script."""
    view, trouble = _look(lambda request: ask(path, request, ASK_TIMEOUT_S))
    console.print(render_top(view, Prompt(), trouble))
    return EXIT_FAILED if trouble else EXIT_DONE


def _show(ask_daemon: Ask, read_keys: Callable[[], str], live: Live) -> int:
    clock = SystemClock()
    prompt, view, trouble = Prompt(), None, ""
    looked_ns = -REFRESH_NS
    while not prompt.is_leaving:
        if clock.monotonic_ns() - looked_ns >= REFRESH_NS:
            looked_ns = clock.monotonic_ns()
            found, trouble = _look(ask_daemon)
            view = found or view
        live.update(render_top(view, prompt, trouble), refresh=True)
        for key in read_keys():
            prompt = press(prompt, key)
            if prompt.asked is not None:
                prompt = _carry_out(ask_daemon, *prompt.asked)
                looked_ns = -REFRESH_NS
    return EXIT_DONE


def _look(ask_daemon: Ask) -> tuple[RunView | None, str]:
    """Return the newest view, or why there is none."""
    try:
        answer = ask_daemon({"command": "view"})
        if not answer.get("ok"):
            return None, f"the daemon says: {answer.get('error')}"
        return view_from(answer), ""
    except LineError as error:
        return None, f"no answer: {error}; what is shown is old. q leaves"
    except (KeyError, TypeError) as error:
        return None, f"the daemon is of another version: {error!r}"


def _carry_out(ask_daemon: Ask, command: str, reason: str) -> Prompt:
    said = f"{reason or 'no reason given'}, by top"
    try:
        return answered(command, ask_daemon({"command": command, "reason": said}))
    except LineError as error:
        return answered(command, {"ok": False, "error": str(error)})


@contextmanager
def _keys(descriptor: int) -> Iterator[Callable[[], str]]:
    """Read keys as they are pressed, without echo; the terminal is given back as it was."""
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)

    def read() -> str:
        ready, _, _ = select.select([descriptor], [], [], KEY_WAIT_S)
        if not ready:
            return ""
        text = os.read(descriptor, KEYS_BYTES_MAX).decode("utf-8", "ignore")
        if text.startswith("\x1b") and len(text) > 1:
            return ""  # an arrow or function key: not an Escape
        return text or "\x03"  # the terminal is gone

    try:
        yield read
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
