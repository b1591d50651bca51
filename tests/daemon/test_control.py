"""The operator's socket: private, bounded, and silent until the engine has obeyed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from daemon.clock import ManualClock
from daemon.control import COMMANDS, REQUEST_BYTES_MAX, Control
from daemon.socket_lines import LineError, ask, connect, listen
from kernels.events import Command


class Engine:
    """Obeys commands only when the test says so."""

    def __init__(self, path: Path) -> None:
        self.commands: list[Command] = []
        self.killed: list[str] = []
        self.obeys = True
        self.control = Control(
            path=path,
            questions={"status": self.status},
            put=self.put,
            kill=self.killed.append,
            clock=ManualClock(),
        )

    def put(self, command: Command) -> None:
        self.commands.append(command)
        if self.obeys:
            asyncio.get_running_loop().call_soon(self.control.applied, command)

    async def status(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"mode": "sim", "applied": len(self.commands)}

    async def ask(self, **request: Any) -> dict[str, Any]:
        return await asyncio.to_thread(ask, self.control.path, request, 5.0)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = Engine(tmp_path / "control.sock")
    await engine.control.start()
    yield engine
    await engine.control.close()


@pytest.mark.parametrize("name", sorted(COMMANDS))
async def test_command_reaches_the_engine_with_its_reason(engine: Engine, name: str) -> None:
    """Every operator command becomes the engine's, with the reason and who asked."""
    answer = await engine.ask(command=name, reason="two\nlines")
    (command,) = engine.commands
    assert answer["ok"]
    assert command.name is COMMANDS[name]
    assert command.reason == f"two lines (uid {os.getuid()})"


async def test_answer_waits_for_the_engine(engine: Engine) -> None:
    """Nobody is told that it is done before it is done."""
    engine.obeys = False
    asking = asyncio.create_task(engine.ask(command="halt"))
    while not engine.commands:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert not asking.done()
    engine.control.applied(engine.commands[0])
    assert (await asking)["applied"] == 1


async def test_engine_that_does_not_obey_is_reported(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon whose loop lives and whose engine does not says so."""
    monkeypatch.setattr("daemon.control.APPLY_TIMEOUT_S", 0.05)
    engine.obeys = False
    answer = await engine.ask(command="halt")
    assert not answer["ok"]
    assert "in time" in answer["error"]


async def test_resume_without_a_reason_is_refused(engine: Engine) -> None:
    """Whoever lifts a breaker says why."""
    assert not (await engine.ask(command="resume", reason="  "))["ok"]
    assert engine.commands == []


async def test_kill_halts_first(engine: Engine) -> None:
    """The engine is halted before the daemon is told to end."""
    assert (await engine.ask(command="kill"))["killed"]
    assert [command.name.name for command in engine.commands] == ["HALT"]
    assert len(engine.killed) == 1


async def test_unknown_command_names_the_known(engine: Engine) -> None:
    """A misspelt command is refused with the list."""
    answer = await engine.ask(command="hlat")
    assert not answer["ok"]
    assert "halt" in answer["error"]


@pytest.mark.parametrize(
    "line", [b"\n", b"{}\n", b"[1]\n", b"{" * 5000 + b"\n", b"x" * (REQUEST_BYTES_MAX + 10) + b"\n"]
)
async def test_junk_is_answered_and_changes_nothing(engine: Engine, line: bytes) -> None:
    """Whatever comes in, the socket goes on serving."""

    def send() -> bytes:
        with connect(engine.control.path, 5.0) as stream, contextlib.suppress(OSError):
            stream.sendall(line)
            return stream.recv(65_536)
        return b""

    answer = await asyncio.to_thread(send)
    assert not answer or not json.loads(answer)["ok"]
    assert engine.commands == []
    assert (await engine.ask(command="status"))["ok"]


async def test_silent_client_holds_nobody_up(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who connects and says nothing is dropped; others are served meanwhile."""
    monkeypatch.setattr("daemon.control.READ_TIMEOUT_S", 0.05)
    with connect(engine.control.path, 5.0) as stream:
        assert (await engine.ask(command="status"))["ok"]
        assert b"error" in await asyncio.to_thread(stream.recv, 1000)


async def test_socket_is_private_and_goes_with_the_daemon(tmp_path: Path) -> None:
    """Nobody else may command the daemon, and no dead socket stays behind."""
    engine = Engine(tmp_path / "control.sock")
    await engine.control.start()
    assert stat.S_IMODE(engine.control.path.stat().st_mode) == 0o600
    await engine.control.close()
    assert not engine.control.path.exists()
    with pytest.raises(LineError, match="nobody listens"):
        ask(engine.control.path, {"command": "status"}, 1.0)


async def test_long_directory_is_no_obstacle(tmp_path: Path) -> None:
    """The kernel's limit on socket paths is not the user's problem."""
    deep = tmp_path / ("d" * 120)
    engine = Engine(deep / "control.sock")
    await engine.control.start()
    assert (await engine.ask(command="status"))["ok"]
    await engine.control.close()


def test_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    """A daemon that was killed leaves its socket file; the next one takes its place."""
    listen(tmp_path / "s").close()
    listener = listen(tmp_path / "s")
    listener.listen()
    connect(tmp_path / "s", 1.0).close()
    listener.close()


def test_silent_daemon_is_reported_in_time(tmp_path: Path) -> None:
    """A daemon that hangs does not hang the operator."""
    listener = listen(tmp_path / "s")
    listener.listen()
    with pytest.raises(LineError, match="no answer"):
        ask(tmp_path / "s", {"command": "status"}, 0.05)
    listener.close()


async def test_answer_that_is_no_object_is_reported(tmp_path: Path) -> None:
    """Something else may be listening there."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"hello\n")
        writer.close()

    async with await asyncio.start_unix_server(greet, sock=listen(tmp_path / "s")):
        with pytest.raises(LineError, match="no JSON"):
            await asyncio.to_thread(ask, tmp_path / "s", {"command": "status"}, 5.0)
