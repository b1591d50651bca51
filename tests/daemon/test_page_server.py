"""The live page's door: who may look, who may act, what a slow or hostile client can do."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from daemon.control import RefusedError
from daemon.dashboard.access_token import FILE_NAME, TokenError, open_token
from daemon.dashboard.page_server import FILES, LIVE_CLIENTS_MAX, PageServer

TOKEN = "t" * 43
SECONDS = aiohttp.ClientTimeout(total=10)


class Daemon:
    """What the server asks of the daemon, with a memory of what it was told to do."""

    def __init__(self) -> None:
        self.obeyed: list[dict[str, Any]] = []

    async def metrics(self) -> AsyncIterator[bytes]:
        """Print two pieces."""
        yield b"one 1\n"
        await asyncio.sleep(0)
        yield b"two 2\n"

    async def obey(self, words: dict[str, Any]) -> dict[str, Any]:
        """Carry out everything but ``fly``."""
        if words.get("command") == "fly":
            raise RefusedError("unknown command 'fly'")
        self.obeyed.append(words)
        return {"breaker": {"state": "REDUCE_ONLY"}}


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[PageServer, str, Daemon, aiohttp.ClientSession]]:
    """Serve on a free port and hand out a client."""
    daemon = Daemon()
    server = PageServer(
        port=0,
        token=TOKEN,
        metrics=daemon.metrics,
        opening=lambda: {"kind": "opening"},
        obey=daemon.obey,
    )
    address = await server.start()
    try:
        async with aiohttp.ClientSession(timeout=SECONDS) as client:
            yield server, address, daemon, client
    finally:
        await server.close()


@pytest.mark.parametrize("path", [*FILES, "/plotly.js"])
async def test_every_file_of_the_page_is_served_with_its_guards(path: str) -> None:
    """Nothing of the page comes from elsewhere, and no other site may frame or script it."""
    async with serving() as (_, address, _, client), client.get(address + path) as answer:
        assert answer.status == 200
        assert len(await answer.read()) > 100
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "unsafe-eval" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_page_names_no_address_but_its_own() -> None:
    """No font, script or image of the page would be asked of somebody else."""
    async with serving() as (_, address, _, client):
        for path in FILES:
            async with client.get(address + path) as answer:
                text = (await answer.text()).replace("http://www.w3.org/2000/svg", "")
                assert "https://" not in text
                assert "http://" not in text.replace("ws://${location.host}", "")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example"])
async def test_another_name_for_this_host_is_refused(host: str) -> None:
    """A page elsewhere whose name was made to lead here (DNS rebinding) reads nothing."""
    async with serving() as (_, address, _, client):
        for path in ("/", "/metrics", "/live"):
            async with client.get(address + path, headers={"Host": host}) as answer:
                assert answer.status == 403


async def test_live_stream_is_for_this_page_only() -> None:
    """A WebSocket from another site's page is refused, as browsers would allow it."""
    async with serving() as (server, address, _, client):
        for headers in ({"Origin": "http://evil.example"}, {}):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.ws_connect(address + "/live", headers=headers)
            assert refused.value.status == 403
        async with client.ws_connect(address + "/live", headers={"Origin": address}) as stream:
            assert await stream.receive_json() == {"kind": "opening"}
            await server.send({"kind": "now"})
            assert await stream.receive_json() == {"kind": "now"}


async def test_number_of_pages_is_bounded() -> None:
    """One more than may be open is refused, and there is room again once one is closed."""
    async with serving() as (server, address, _, client), AsyncExitStack() as stack:
        page, headers = address + "/live", {"Origin": address}
        streams = [
            await stack.enter_async_context(client.ws_connect(page, headers=headers))
            for _ in range(LIVE_CLIENTS_MAX)
        ]
        for stream in streams:
            await stream.receive_json()
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(page, headers=headers)
        assert refused.value.status == 503
        await streams[0].close()
        async with asyncio.timeout(5):
            while server.client_count == LIVE_CLIENTS_MAX:
                await asyncio.sleep(0.01)
        await stack.enter_async_context(client.ws_connect(page, headers=headers))


async def test_page_that_does_not_read_is_parted_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that stands still costs a bounded time and is then gone."""
    monkeypatch.setattr("daemon.dashboard.page_server.SEND_TIMEOUT_S", 0.2)
    async with serving() as (server, address, _, _):
        port = int(address.rsplit(":", 1)[1])
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(
            b"GET /live HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nOrigin: http://127.0.0.1:%d\r\n"
            b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" % (port, port)
        )
        async with asyncio.timeout(20):
            while server.client_count == 0:
                await asyncio.sleep(0.01)
            while server.client_count == 1:
                await server.send({"kind": "now", "filler": "x" * 4_000_000})
                await asyncio.sleep(0)
        writer.transport.abort()


async def test_metrics_come_piece_by_piece() -> None:
    """What Prometheus reads is whole, in its own format."""
    async with serving() as (_, address, _, client), client.get(address + "/metrics") as answer:
        assert await answer.text() == "one 1\ntwo 2\n"
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize("given", ["", "Bearer ", "Bearer wrong", f"Bearer {TOKEN}x", "Bearer é"])
async def test_nobody_acts_without_the_token(given: str) -> None:
    """A wrong token is refused after a pause, and nothing reaches the engine."""
    async with serving() as (_, address, daemon, client):
        headers = {"Authorization": given}
        async with client.post(
            address + "/command", json={"command": "halt"}, headers=headers
        ) as answer:
            assert answer.status == 401
    assert daemon.obeyed == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"command": "reduce", "reason": "r"}', 200),
        (b'{"command": "fly"}', 409),
        (b"[1]", 409),
        (b"{", 400),
        (b"x" * 5_000, 413),
    ],
)
async def test_command_is_obeyed_or_refused_in_words(body: bytes, status: int) -> None:
    """With the token a command reaches the engine; anything else comes back with its reason."""
    async with serving() as (_, address, daemon, client):
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with client.post(address + "/command", data=body, headers=headers) as answer:
            assert answer.status == status
            if status in (200, 409):
                said = json.loads(await answer.read())
                assert said["ok"] is (status == 200)
    assert len(daemon.obeyed) == (status == 200)


async def test_taken_port_is_an_error_that_can_be_told() -> None:
    """A second server on the same port raises, and leaves nothing open."""
    async with serving() as (_, address, daemon, _):
        second = PageServer(
            port=int(address.rsplit(":", 1)[1]),
            token=TOKEN,
            metrics=daemon.metrics,
            opening=dict,
            obey=daemon.obey,
        )
        with pytest.raises(OSError, match="address already in use"):
            await second.start()
        await second.close()


def test_token_stays_the_same_and_is_private(tmp_path: Path) -> None:
    """A restart does not lock out an open page; nobody else can read the file."""
    first = open_token(tmp_path)
    assert open_token(tmp_path) == first
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600
    assert len(first) == 43


@pytest.mark.parametrize("spoil", ["mode", "text", "link"])
def test_token_that_cannot_be_trusted_is_made_anew(tmp_path: Path, spoil: str) -> None:
    """A file that others could read, of another form, or that leads elsewhere is never used."""
    first = open_token(tmp_path)
    path = tmp_path / FILE_NAME
    if spoil == "mode":
        path.chmod(0o644)
    elif spoil == "text":
        path.write_text("short\n")
    else:
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(TokenError):
            open_token(tmp_path)
        return
    assert open_token(tmp_path) != first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
