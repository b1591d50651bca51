"""The guard in one process with its test: who may be watched, what it does, what outlives it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from config.safety import GuardSettings
from config.settings import Settings
from daemon import latch
from daemon.clock import SystemClock
from daemon.guard import Guard
from daemon.guard_launch import Launch
from daemon.note import Note
from daemon.socket_lines import ask, connect, parse
from daemon.venues.emergency import EmergencyClient, Loopback
from risk.breaker import BreakerState, Trigger
from tests.fakes.fault_rig import FaultRig, fault_rig

pytestmark = pytest.mark.asyncio(loop_scope="module")
SYMBOL = "BTC/USDT:USDT"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def rig() -> AsyncIterator[FaultRig]:
    """One exchange for all tests of this file."""
    async with fault_rig() as running:
        yield running


class Post:
    """A guard at its post, and ways to speak to it."""

    def __init__(self, rig: FaultRig, directory: Path, knobs: dict[str, Any]) -> None:
        self.rig = rig
        self.directory = directory
        self.path = directory / "guard.sock"
        self.notes: list[Note] = []
        self.settings = Settings(instruments=(SYMBOL,), guard=GuardSettings(**knobs))
        access = rig.exchange.access
        self.launch = Launch(
            settings=self.settings.model_dump(mode="json"),
            api_key=access.api_key,
            api_secret=access.api_secret,
            loopback=Loopback(host=access.host, port=access.port, ca_pem_path=access.ca_pem_path),
            run_id="test",
            state_directory=str(directory),
            socket_path=str(self.path),
            is_child=False,
        )
        self.task: asyncio.Task[None] | None = None
        self.daemons: list[Daemon] = []

    async def start(self) -> None:
        self.client = EmergencyClient(
            mode="sim",
            api_key=self.launch.api_key,
            api_secret=self.launch.api_secret,
            loopback=self.launch.loopback,
            clock=SystemClock(),
        )
        self.guard = Guard(
            self.launch,
            self.settings,
            client=self.client,
            note=self.notes.append,
            clock=SystemClock(),
            generator=np.random.default_rng(7),
        )
        ready = asyncio.Event()
        self.task = asyncio.create_task(self.guard.serve(ready.set))
        async with asyncio.timeout(10):
            await ready.wait()

    async def leave(self) -> None:
        """End the guard without any ceremony, as kill -9 would."""
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.client.close()

    async def daemon(self) -> Daemon:
        """Connect as a daemon would."""
        stream = await asyncio.to_thread(connect, self.path, 5.0)
        stream.setblocking(False)
        self.daemons.append(Daemon(*await asyncio.open_unix_connection(sock=stream)))
        return self.daemons[-1]

    async def ask(self, **request: Any) -> dict[str, Any]:
        return await asyncio.to_thread(ask, self.path, request, 20.0)

    async def heard(self, event: str) -> Note:
        """Wait for a note."""
        async with asyncio.timeout(15):
            while True:
                for note in self.notes:
                    if note.event == event:
                        return note
                await asyncio.sleep(0.02)

    async def open_orders(self) -> int:
        return len((await self.rig.call("GET", "/fapi/v1/openOrders")).document)


@asynccontextmanager
async def post(rig: FaultRig, directory: Path, **knobs: Any) -> AsyncIterator[Post]:
    """Man a post and leave it at the end."""
    manned = Post(rig, directory, knobs)
    await manned.start()
    try:
        yield manned
    finally:
        for daemon in manned.daemons:
            daemon.writer.close()
        await manned.leave()
        await rig.flatten()


class Daemon:
    """The other end of the heartbeat."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, **words: Any) -> None:
        self.writer.write(json.dumps(words).encode() + b"\n")
        await self.writer.drain()

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(15):
            return parse(await self.reader.readline()) or {}

    async def hello(self, mode: str = "sim") -> dict[str, Any]:
        await self.say(command="hello", mode=mode)
        return await self.hear()


async def test_one_daemon_at_a_time_and_of_its_own_mode(rig: FaultRig, tmp_path: Path) -> None:
    """A second daemon on the account is refused, and so is one that trades elsewhere."""
    async with post(rig, tmp_path) as manned:
        stranger = await manned.daemon()
        assert "mode" in (await stranger.hello("live"))["refused"]
        first, second = [await manned.daemon() for _ in range(2)]
        assert (await first.hello())["armed"]
        assert "another" in (await second.hello())["refused"]
        assert (await manned.ask(command="status"))["state"] == "watching"
        assert not (await manned.ask(command="dance"))["ok"]
        await first.say(command="goodbye", is_clean=True)
        first.writer.close()
        await asyncio.sleep(0.2)
        assert (await manned.ask(command="status"))["state"] == "idle"
        assert not [note for note in manned.notes if note.event == "daemon_lost"]


@pytest.mark.parametrize("farewell", [None, False])
async def test_what_a_daemon_leaves_behind_is_cancelled(
    rig: FaultRig, tmp_path: Path, farewell: bool | None
) -> None:
    """Gone without a word, or gone without proof: its orders are cancelled, positions stay."""
    async with post(rig, tmp_path) as manned:
        assert (await rig.place(f"held-{farewell}")).status == 200
        assert (await rig.rest_far(f"left-{farewell}")).status == 200
        daemon = await manned.daemon()
        await daemon.hello()
        if farewell is not None:
            await daemon.say(command="goodbye", is_clean=farewell)
        daemon.writer.close()
        done = await manned.heard("guard_done")
        assert done.fields["open_orders"] == 0
        assert await manned.open_orders() == 0
        assert await rig.position() == 0.01
        assert latch.read(tmp_path, 1).state is BreakerState.NORMAL


async def test_daemon_that_asks_for_help_is_flattened_and_told(
    rig: FaultRig, tmp_path: Path
) -> None:
    """What the gate's collar does not let the daemon close, the guard closes, and latches."""
    async with post(rig, tmp_path) as manned:
        assert (await rig.place("help")).status == 200
        daemon = await manned.daemon()
        await daemon.hello()
        await daemon.say(command="flatten", reason="the collar")
        acted = await daemon.hear()
        assert (acted["is_flatten"], acted["is_clean"]) == (True, True)
        assert await rig.position() == 0.0
        assert latch.read(tmp_path, 1).trigger is Trigger.GUARD
        await daemon.say(command="goodbye", is_clean=True)


async def test_standing_still_is_noticed_and_coming_back_too(rig: FaultRig, tmp_path: Path) -> None:
    """Beats without progress end the patience; progress after the rescue is watched again."""
    async with post(rig, tmp_path, timeout_ms=300, heartbeat_ms=50) as manned:
        daemon = await manned.daemon()
        await daemon.hello()
        for _ in range(10):
            await daemon.say(command="beat", turns=7, silence_ms=0)
            await asyncio.sleep(0.05)
        assert "no progress" in (await daemon.hear())["acted"]
        await daemon.say(command="beat", turns=8, silence_ms=0)
        await asyncio.sleep(0.1)
        assert (await manned.ask(command="status"))["state"] == "watching"
        await daemon.say(command="goodbye", is_clean=True)


async def test_kill_works_without_a_daemon(rig: FaultRig, tmp_path: Path) -> None:
    """Whoever left orders behind: they are cancelled, the position is closed, the latch is set."""
    async with post(rig, tmp_path) as manned:
        assert (await rig.place("nobody")).status == 200
        assert (await rig.rest_far("nobody-rests")).status == 200
        answer = await manned.ask(command="kill", flatten=True, reason="test")
        assert (answer["ok"], answer["killed_pid"], answer["open_orders"]) == (True, 0, 0)
        assert answer["position_lots"] == {SYMBOL: 0}
        assert await rig.position() == 0.0
        latched = latch.read(tmp_path, 1)
        assert (latched.state, latched.reason) == (BreakerState.HALTED, "kill: test")


async def test_venue_cancels_by_itself_when_daemon_and_guard_are_gone(
    rig: FaultRig, tmp_path: Path
) -> None:
    """The dead-man switch was armed while all was well, and outlives both."""
    async with post(rig, tmp_path, countdown_ms=5000) as manned:
        daemon = await manned.daemon()
        await daemon.hello()
        await daemon.say(command="beat", turns=1, silence_ms=0)
        await asyncio.sleep(0.3)
        assert (await rig.rest_far("orphan")).status == 200
        await manned.leave()
        assert await manned.open_orders() == 1
        async with asyncio.timeout(8):
            while await manned.open_orders():
                await asyncio.sleep(0.25)
        await manned.start()
