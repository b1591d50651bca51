"""The view over the socket: what it shows, what a key does, nothing done by accident."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import re
import select
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from daemon.clock import SystemClock
from daemon.control import Control
from daemon.dashboard.terminal import AlertView, InstrumentView, OrderView, RunView
from daemon.dashboard.top_view import COMMAND_KEYS, Prompt, answered, press, render_top, view_from
from kernels.events import Command, Verdict

VIEW = RunView(
    run_id="0abcdefghijk",
    mode="sim",
    venue="sim",
    preset="balanced",
    breaker="NORMAL",
    elapsed_s=61.0,
    remaining_s=None,
    equity_quote=100_012.5,
    drawdown_frac=0.01,
    day_loss_frac=0.0,
    fees_quote=7.0,
    decision_count=12,
    event_count=345,
    lost_count=0,
    alert_count=1,
    instruments=(InstrumentView(symbol="BTC/USDT:USDT", verdict=Verdict.STALE),),
    regime_K=(0.5, 0.2, 0.1, 0.1, 0.05, 0.04, 0.01),
    weights_N=(0.6, 0.1, 0.1, 0.1, 0.1),
    open_orders=(
        OrderView(
            client_order_id="me-0abcdefghijk-7",
            symbol="BTC/USDT:USDT",
            side="SELL",
            status="WORKING",
            price_quote=60_000.5,
            quantity_base=0.25,
            filled_base=0.1,
            reduce_only=True,
        ),
    ),
    alerts=(
        AlertView(
            event_ns=1_700_000_000_000_000_000,
            code="ME407",
            event="order_unknown",
            severity="error",
            meaning="sent, but its fate is not proven",
            fields={"reason": "[bold]not markup[/bold]"},
        ),
    ),
)


def _words(view: RunView) -> dict[str, Any]:
    """Give a view as it comes over the socket."""
    words = asdict(view)
    for one in words["instruments"]:
        one["verdict"] = Verdict(one["verdict"]).name
    read: dict[str, Any] = json.loads(json.dumps(words, default=list))
    return read


def _drawn(view: RunView | None, prompt: Prompt, trouble: str = "") -> str:
    console = Console(file=io.StringIO(), width=150, height=80, force_terminal=False)
    with console.capture() as capture:
        console.print(render_top(view, prompt, trouble))
    return capture.get()


def _typed(keys: str, prompt: Prompt | None = None) -> Prompt:
    prompt = prompt or Prompt()
    for key in keys:
        prompt = press(prompt, key)
    return prompt


def test_view_survives_the_socket() -> None:
    """What is drawn from the JSON equals what is drawn from the view itself."""
    assert _drawn(view_from(_words(VIEW)), Prompt()) == _drawn(VIEW, Prompt())


@pytest.mark.parametrize(
    "part", ["me-0abcdefghijk-7", "ME407", "[bold]not markup", "STALE", "50.0%"]
)
def test_everything_that_matters_is_drawn(part: str) -> None:
    """Orders, alerts, feed and regime are on the screen; text from outside is never markup."""
    assert part in _drawn(VIEW, Prompt())


@pytest.mark.parametrize(("key", "command"), [(k, c) for k, (c, _) in COMMAND_KEYS.items()])
def test_command_is_asked_for_only_after_enter(key: str, command: str) -> None:
    """The key alone asks, Escape leaves it undone, Enter does it with the reason that was typed."""
    asked = _typed(key)
    assert (asked.pending, asked.asked) == (command, None)
    assert command in _drawn(VIEW, asked)
    assert _typed("\x1b", asked).asked is None
    assert _typed("why not\r", asked).asked == (command, "why not")


def test_resume_needs_a_reason() -> None:
    """Enter without one says so and keeps asking."""
    prompt = _typed("u\r")
    assert (prompt.pending, prompt.asked, prompt.is_bad) == ("resume", None, True)
    assert _typed("feed is back\r", prompt).asked == ("resume", "feed is back")


def test_letters_of_commands_are_letters_inside_a_reason() -> None:
    """While a reason is typed no letter starts another command, and Backspace takes one back."""
    assert _typed("hfcq\x7f\r").asked == ("halt", "fc")


@given(st.text(alphabet="rcfhuq\r\x1b\x7fab ", max_size=30))
def test_nothing_is_asked_for_without_a_key_and_enter(keys: str) -> None:
    """Whatever is typed, a command follows its own key and a later Enter."""
    prompt, opened = Prompt(), ""
    for key in keys:
        if prompt.is_leaving:
            break
        before = prompt.pending
        prompt = press(prompt, key)
        opened = prompt.pending or opened
        if prompt.asked is not None:
            assert key == "\r"
            assert prompt.asked[0] == before == opened


def test_answers_are_told() -> None:
    """What became of a command stands in the bottom line."""
    done = answered("halt", {"ok": True, "breaker": {"state": "HALTED"}})
    assert "halt done: the breaker is HALTED" in _drawn(VIEW, done)
    refused = answered("halt", {"ok": False, "error": "too late"})
    assert "halt refused: too late" in _drawn(VIEW, refused)


def test_trouble_is_told_over_an_old_view() -> None:
    """When the daemon is silent the screen says that it shows the past."""
    assert "no answer" in _drawn(VIEW, Prompt(), "no answer: gone; what is shown is old")


async def _typed_into_top(path: Path, steps: list[tuple[str, str]]) -> str:
    """Start the command on a terminal of its own; wait for each text, then type."""
    parent, child = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "150", "LINES": "60"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "daemon", "top", "--socket", str(path)),
        stdin=child,
        stdout=child,
        stderr=child,
        env=environ,
    )
    os.close(child)
    screen = ""
    try:
        for awaited, keys in steps:
            deadline_s = time.monotonic() + 30
            while awaited not in screen:
                assert time.monotonic() < deadline_s, f"{awaited!r} not seen: {screen[-3000:]}"
                await asyncio.sleep(0.02)
                if select.select([parent], [], [], 0)[0]:
                    screen += re.sub(
                        r"\x1b\[[0-9;?]*[a-zA-Z]",
                        "",
                        os.read(parent, 65_536).decode(errors="replace"),
                    )
            screen = ""
            os.write(parent, keys.encode())
        async with asyncio.timeout(20):
            while process.returncode is None:
                if select.select([parent], [], [], 0)[0]:
                    os.read(parent, 65_536)
                await asyncio.sleep(0.02)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        os.close(parent)
    assert process.returncode == 0
    return screen


async def test_a_terminal_and_a_daemon_meet(tmp_path: Path) -> None:
    """The real command on a real terminal shows the view, halts after Enter, and leaves on q."""
    said: list[Command] = []

    async def view(_: dict[str, Any]) -> dict[str, Any]:
        shown = replace(VIEW, breaker="HALTED") if said else VIEW
        return _words(shown)

    async def status(_: dict[str, Any]) -> dict[str, Any]:
        return {"mode": "sim", "breaker": {"state": "HALTED"}}

    def put(command: Command) -> None:
        said.append(command)
        asyncio.get_running_loop().call_soon(control.applied, command)

    control = Control(
        path=tmp_path / "control.sock",
        questions={"view": view, "status": status},
        put=put,
        kill=lambda _: None,
        clock=SystemClock(),
    )
    await control.start()
    try:
        steps = [
            ("me-0abcdefghijk-7", "h"),
            ("send nothing more", "tried it\r"),
            ("halt done: the breaker is HALTED", "q"),
        ]
        await _typed_into_top(control.path, steps)
    finally:
        await control.close()
    assert [command.name.name for command in said] == ["HALT"]
    assert said[0].reason.startswith("tried it, by top")


async def test_without_a_terminal_one_view_is_printed(tmp_path: Path) -> None:
    """In a pipe the command prints once and ends; with --json it prints the view as JSON."""

    async def view(_: dict[str, Any]) -> dict[str, Any]:
        return _words(VIEW)

    control = Control(
        path=tmp_path / "control.sock",
        questions={"view": view},
        put=lambda _: None,
        kill=lambda _: None,
        clock=SystemClock(),
    )
    await control.start()
    try:
        for arguments in ([], ["--json"]):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "daemon", "top", "--socket", str(control.path)),
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
            )
            printed, _ = await asyncio.wait_for(process.communicate(), 60)
            assert process.returncode == 0
            text = printed.decode()
            if arguments:
                assert json.loads(text)["run_id"] == VIEW.run_id
            else:
                assert "0abcdefghijk" in text
    finally:
        await control.close()
