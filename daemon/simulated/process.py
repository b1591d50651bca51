"""The exchange as a child process: start it, reach it, stop it, read its report.

The child gets its configuration as one JSON line on stdin and lives until stdin closes, so it dies
with its parent however that ends. Its stdout carries JSON lines: ready, the end of a recording if
it comes, and the final report.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgspec
import orjson

from config.settings import SimulatedSettings

READY_TIMEOUT_S = 300.0
"""Longest start: compiling every kernel for the first time on a busy machine."""

STOP_TIMEOUT_S = 10.0
EXIT_PATIENCE_S = 2.0
REPORT_BYTES_MAX = 1024 * 1024
REFUSED_EXIT_CODE = 2
SOURCE_FINISHED: dict[str, Any] = {"event": "source_finished"}
"""The line that says that a recording has been played to its end."""

ROOT = Path(__file__).resolve().parents[2]


class ExchangeError(Exception):
    """The exchange did not start or did not end as it should; ``is_refused`` for bad input."""

    def __init__(self, reason: str, *, is_refused: bool = False) -> None:
        """Keep one line for the user."""
        self.is_refused = is_refused
        super().__init__(reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedAccess:
    """Where the exchange listens and what opens its account.

    ``plain_port`` serves the same without TLS, for clients that can be given a URL; 0 when off.
    ``control_port`` arms faults, in plain HTTP; 0 where that is not for us to do.
    """

    host: str
    port: int
    plain_port: int
    ca_pem_path: str
    api_key: str
    api_secret: str = field(repr=False)
    pid: int
    control_port: int = 0


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """The line that configures the child."""

    settings: dict[str, Any]
    instruments: tuple[str, ...]
    directory: str
    api_key: str
    api_secret: str
    is_plain: bool


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The line by which the child says that it serves."""

    host: str
    port: int
    plain_port: int
    control_port: int
    ca_pem_path: str
    faults: tuple[str, ...]


class SimulatedExchange:
    """A running exchange process."""

    def __init__(
        self,
        child: asyncio.subprocess.Process,
        access: SimulatedAccess,
        directory: Path,
        faults: tuple[str, ...],
    ) -> None:
        """Take charge of a child that is ready; ``faults`` are the names of those armed."""
        self.access = access
        self.faults = faults
        self.source_finished = False
        self._child = child
        self._directory = directory
        self._report: dict[str, Any] | None = None
        self._listener = asyncio.create_task(self._listen(), name="exchange reports")

    @property
    def exit_code(self) -> int | None:
        """Exit code of the child, None while it runs."""
        return self._child.returncode

    @property
    def lifeline(self) -> int:
        """Descriptor of the pipe whose end is the exchange's end; -1 once it is closed.

        Whoever inherits it keeps the exchange alive, as a real venue outlives its clients.
        """
        pipe = self._child.stdin.transport if self._child.stdin is not None else None
        if pipe is None or pipe.is_closing():
            return -1
        found = pipe.get_extra_info("pipe") or pipe.get_extra_info("socket")  # asyncio, uvloop
        return int(found.fileno())

    async def wait_exited(self) -> int:
        """Wait until the child is gone, wanted or not; return its exit code."""
        return await self._child.wait()

    async def stop(self) -> None:
        """End the child by closing its stdin, by force after ``STOP_TIMEOUT_S``; idempotent."""
        if self._child.stdin is not None:
            self._child.stdin.close()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await asyncio.wait((self._listener,))
                await self._child.wait()
        except TimeoutError:
            self._child.kill()
            await self._child.wait()
            await asyncio.wait((self._listener,))
        shutil.rmtree(self._directory, ignore_errors=True)
        self._listener.result()

    def report(self) -> dict[str, Any]:
        """Return the child's final report; ExchangeError before ``stop`` or after a crash."""
        if self._report is None:
            raise ExchangeError("the simulated exchange left no report")
        return self._report

    async def _listen(self) -> None:
        """Read what the child says until it ends; what is no line of ours is its crash."""
        assert self._child.stdout is not None
        while line := await self._child.stdout.readline():
            document = orjson.loads(line)
            if document == SOURCE_FINISHED:
                self.source_finished = True
            else:
                self._report = document


async def start(
    settings: SimulatedSettings,
    instruments: tuple[str, ...],
    *,
    is_plain: bool = False,
    stderr: IO[bytes] | None = None,
) -> SimulatedExchange:
    """Start an exchange that trades ``instruments`` (unified symbols) and wait until it serves.

    What it has to say against itself goes to ``stderr``, by default to our own.
    Raises ExchangeError, with the child's own line as the reason, when it refuses its input.
    """
    directory = Path(tempfile.mkdtemp(prefix="metaensemble-exchange-"))
    for name in ("capture", "faults"):  # the child's working directory is another
        if path := getattr(settings, name):
            settings = settings.model_copy(update={name: str(Path(path).absolute())})
    launch = Launch(
        settings=settings.model_dump(),
        instruments=instruments,
        directory=str(directory),
        api_key=secrets.token_hex(32),
        api_secret=secrets.token_hex(32),
        is_plain=is_plain,
    )
    try:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "daemon.simulated",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            limit=REPORT_BYTES_MAX,
            cwd=ROOT,
            env={**os.environ, "PYTHONSAFEPATH": "", "PYTHONUNBUFFERED": "1"},
        )
        ready = await _launch(child, launch)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    access = SimulatedAccess(
        host=ready.host,
        port=ready.port,
        plain_port=ready.plain_port,
        control_port=ready.control_port,
        ca_pem_path=ready.ca_pem_path,
        api_key=launch.api_key,
        api_secret=launch.api_secret,
        pid=child.pid,
    )
    return SimulatedExchange(child, access, directory, ready.faults)


async def _launch(child: asyncio.subprocess.Process, launch: Launch) -> Ready:
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(orjson.dumps(msgspec.to_builtins(launch)) + b"\n")
        await child.stdin.drain()
        async with asyncio.timeout(READY_TIMEOUT_S):
            line = await child.stdout.readline()
        document = orjson.loads(line) if line else {}
        if "refused" in document:
            raise ExchangeError(str(document["refused"]), is_refused=True)
        return msgspec.convert(document, Ready)
    except ExchangeError:
        await _reap(child, EXIT_PATIENCE_S)
        raise
    except (OSError, ValueError, TimeoutError) as error:
        code = await _reap(child, EXIT_PATIENCE_S)
        raise ExchangeError(f"the simulated exchange did not start (exit {code})") from error
    except asyncio.CancelledError:
        await _reap(child, 0.0)
        raise


async def _reap(child: asyncio.subprocess.Process, patience_s: float) -> int:
    """Wait for a child that should be ending, kill it otherwise; return its exit code.

    Not killed at once: to signal a child that has just ended takes its exit code from asyncio.
    """
    try:
        return await asyncio.wait_for(child.wait(), patience_s)
    except TimeoutError:
        child.kill()
        return await child.wait()
