"""sd_notify against a real datagram socket: what is said, and when silence is right."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from daemon.health import Health

ROOT = Path(__file__).parents[2]


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, address: str) -> None:
        """Bind a path, or an abstract name given with a leading ``@``."""
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(5)

    def environ(self, **more: str) -> dict[str, str]:
        """Return what systemd puts into the environment."""
        return {"NOTIFY_SOCKET": self.address, **more}

    def message(self) -> list[str]:
        """Return the lines of the next message."""
        return self.socket.recv(4096).decode().split("\n")

    def is_silent(self) -> bool:
        """Say whether nothing waits."""
        self.socket.setblocking(False)
        try:
            self.socket.recv(4096)
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(5)
        return False


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    """Listen on a path and on an abstract socket in turn."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@{secrets.token_hex(8)}"
    listening = Manager(name)
    yield listening
    listening.socket.close()


def test_life_of_a_service(manager: Manager) -> None:
    """Each call sends exactly the lines that sd_notify(3) asks for."""
    health = Health(manager.environ())
    assert health.is_supervised
    assert health.extend_start(90)
    assert manager.message() == ["EXTEND_TIMEOUT_USEC=90000000"]
    assert health.ready("trading on paper")
    assert manager.message() == ["READY=1", "STATUS=trading on paper"]
    assert health.status("BTC OK")
    assert manager.message() == ["STATUS=BTC OK"]
    assert health.reloading(5_000_999)
    assert manager.message() == ["RELOADING=1", "MONOTONIC_USEC=5000"]
    assert health.stopping("cancelling 2 orders")
    assert manager.message() == ["STOPPING=1", "STATUS=cancelling 2 orders"]
    health.close()
    assert not health.ready("after the end")
    assert manager.is_silent()


def test_watchdog_is_fed_on_progress_only(manager: Manager) -> None:
    """The same count twice is no sign of life; a new one is."""
    health = Health(manager.environ(WATCHDOG_USEC="5000000"))
    assert health.watchdog_interval_s == 2.5
    assert health.watchdog(0)
    assert manager.message() == ["WATCHDOG=1"]
    assert not health.watchdog(0)
    assert manager.is_silent()
    assert health.watchdog(1)
    assert manager.message() == ["WATCHDOG=1"]
    health.close()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "2000000"}, 1.0),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}, 1.0),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_watchdog_is_meant_for_us(environ: dict[str, str], expected: float | None) -> None:
    """Half of WATCHDOG_USEC, unless it is absent, senseless or another process's."""
    health = Health({"NOTIFY_SOCKET": "/nowhere/notify", **environ})
    assert health.watchdog_interval_s == expected
    assert Health(environ).watchdog_interval_s is None
    health.close()


async def test_feeding_follows_the_engine(tmp_path: Path) -> None:
    """While the count rises the watchdog is fed; when it stands still feeding stops."""
    manager = Manager(str(tmp_path / "notify"))
    health = Health(manager.environ(WATCHDOG_USEC="20000"))
    count = 0

    def progress() -> int:
        nonlocal count
        count = min(count + 1, 3)
        return count

    task = asyncio.create_task(health.feed_watchdog(progress))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [manager.message() for _ in range(3)] == [["WATCHDOG=1"]] * 3
    assert manager.is_silent()
    await asyncio.wait_for(Health({}).feed_watchdog(progress), 1)  # no watchdog: nothing to do
    health.close()
    manager.socket.close()


def test_nobody_listening_is_harmless(tmp_path: Path) -> None:
    """Without a socket, with a dead one, or with an unknown kind, the daemon goes on."""
    for environ in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}):
        health = Health(environ)
        assert not health.is_supervised
        assert not health.ready("x")
        assert health.failed_count == 0
    gone = Health({"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "1000000"})
    assert not gone.ready("x")
    assert not gone.watchdog(1)
    assert gone.failed_count == 2
    gone.close()


def test_full_queue_does_not_block(manager: Manager) -> None:
    """A manager that does not read costs messages, not time; later ones get through again."""
    health = Health(manager.environ())
    sent_count = sum(health.status(str(number)) for number in range(5_000))
    assert 0 < sent_count < 5_000
    assert health.failed_count == 5_000 - sent_count
    for _ in range(sent_count):
        manager.message()
    assert health.status("again")
    assert manager.message() == ["STATUS=again"]
    health.close()


@given(st.text(max_size=1_000))
@budget(max_examples=60, deadline=None)
def test_status_cannot_smuggle_messages(text: str) -> None:
    """Whatever a status holds, it stays one bounded STATUS line."""
    manager = Manager(f"@{secrets.token_hex(8)}")
    health = Health(manager.environ())
    assert health.status(f"{text}\nREADY=1")
    lines = manager.socket.recv(65_536).decode().split("\n")
    health.close()
    manager.socket.close()
    assert len(lines) == 1
    assert lines[0].startswith("STATUS=")
    assert len(lines[0]) <= 510


def test_stands_alone() -> None:
    """Health needs the standard library only, so that it works before anything else loads."""
    code = "import sys; import daemon.health; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"numpy", "structlog", "pydantic", "torch"} & set(done.stdout.split())
