"""The operator's socket: questions and commands as one JSON line, one JSON line back.

Commands go through the lanes like every event, and are answered only when the engine has applied
them. The socket is the owner's alone; who asked goes into the log with the reason.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from daemon.clock import Clock
from daemon.socket_lines import LINE_BYTES_MAX, listen, parse, peer_of
from kernels.events import Command, CommandName

READ_TIMEOUT_S = 5.0
APPLY_TIMEOUT_S = 5.0
CLIENTS_MAX = 16
REQUEST_BYTES_MAX = 65_536
REASON_CHARACTERS_MAX = 300

COMMANDS: dict[str, CommandName] = {
    "halt": CommandName.HALT,
    "resume": CommandName.RESUME,
    "reduce": CommandName.REDUCE,
    "cancel": CommandName.CANCEL,
    "flatten": CommandName.FLATTEN,
}
"""Operator commands that the engine carries out."""

Words = dict[str, Any]
Question = Callable[[Words], Awaitable[Words]]


class RefusedError(Exception):
    """A request that is refused; the message is for the operator."""


class Control:
    """The open socket; ``questions`` are answered at once, ``COMMANDS`` once they are applied."""

    def __init__(
        self,
        *,
        path: Path,
        questions: dict[str, Question],
        put: Callable[[Command], object],
        kill: Callable[[str], None],
        clock: Clock,
    ) -> None:
        """Prepare; nobody can ask before ``start``. ``kill`` ends the daemon after its HALT."""
        self.path = path
        self._questions = questions
        self._put = put
        self._kill = kill
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._clients: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    async def start(self) -> None:
        """Listen; OSError when the socket cannot be made."""
        listener = listen(self.path)
        self._server = await asyncio.start_unix_server(
            self._serve, sock=listener, limit=REQUEST_BYTES_MAX
        )

    def applied(self, command: Command) -> None:
        """Tell whoever asked for this command that the engine has applied it."""
        waiter = self._waiting.pop(id(command), None)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def close(self) -> None:
        """Stop listening; who still waits for an answer gets none."""
        if self._server is None:
            return
        self._server.close()
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(RefusedError("the daemon ends"))
        await asyncio.sleep(0)  # who waited hears of it
        for writer in self._clients.values():
            writer.close()
        await asyncio.gather(*self._clients, return_exceptions=True)
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients[task] = writer
        task.add_done_callback(self._clients.pop)
        try:
            answer = await self._answer(reader, writer)
            line = json.dumps(answer, default=str).encode()
            assert len(line) < LINE_BYTES_MAX, "answers are bounded"
            writer.write(line + b"\n")
            async with asyncio.timeout(READ_TIMEOUT_S):
                await writer.drain()
        except (OSError, TimeoutError):
            return  # whoever asked is gone
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Words:
        try:
            if len(self._clients) > CLIENTS_MAX:
                raise RefusedError("too many ask at once")
            async with asyncio.timeout(READ_TIMEOUT_S):
                line = await reader.readline()
            request = parse(line)
            if request is None:
                raise RefusedError("a request is one line with a JSON object")
            _, uid = peer_of(writer.get_extra_info("socket"))
            return {"ok": True, **await self.obey(request, uid)}
        except RefusedError as refused:
            return {"ok": False, "error": str(refused)}
        except TimeoutError:
            return {"ok": False, "error": "the engine did not take the command in time"}
        except ValueError:
            return {"ok": False, "error": "the request is too long"}

    async def obey(self, request: Words, uid: int) -> Words:
        """Answer a question, or carry out a command; RefusedError, TimeoutError."""
        name = request.get("command")
        if isinstance(name, str) and name in self._questions:
            return await self._questions[name](request)
        if name == "kill":
            await self._command(CommandName.HALT, request, uid)
            self._kill(f"kill by uid {uid}")
            return {"killed": True}
        if not (isinstance(name, str) and name in COMMANDS):
            known = ", ".join(sorted({*self._questions, *COMMANDS, "kill"}))
            raise RefusedError(f"unknown command {name!r}; known are {known}")
        if name == "resume" and not _reason(request):
            raise RefusedError("resume needs a reason")
        await self._command(COMMANDS[name], request, uid)
        return await self._questions["status"]({})

    async def _command(self, name: CommandName, request: Words, uid: int) -> None:
        """Put a command into the lanes and wait until the engine has applied it."""
        reason = f"{_reason(request) or 'no reason given'} (uid {uid})"
        command = Command(received_ns=self._clock.now_ns(), name=name, reason=reason)
        waiter = asyncio.get_running_loop().create_future()
        self._waiting[id(command)] = waiter
        try:
            self._put(command)
            async with asyncio.timeout(APPLY_TIMEOUT_S):
                await waiter
        finally:
            self._waiting.pop(id(command), None)


def _reason(request: Words) -> str:
    """Return the reason as one bounded line of text."""
    return " ".join(str(request.get("reason") or "").split())[:REASON_CHARACTERS_MAX]
