"""Clients that misbehave are refused or cut off; everybody else is served as before."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson
import pytest
import pytest_asyncio

from config.settings import SimulatedSettings
from daemon.clock import SystemClock
from daemon.simulated.process import SimulatedExchange, start
from daemon.simulated.signing import sign
from tests.fakes.recording import NAMES, recording_lines, write_recording

pytestmark = pytest.mark.asyncio(loop_scope="module")
CLOCK = SystemClock()
WAIT_S = 20.0


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def exchange() -> AsyncIterator[SimulatedExchange]:
    """One exchange, in plain text as well, for all tests of this file."""
    running = await start(SimulatedSettings(seed=5, latency_ms=0.0), NAMES, is_plain=True)
    yield running
    await running.stop()
    assert running.exit_code == 0


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def http(exchange: SimulatedExchange) -> AsyncIterator[aiohttp.ClientSession]:
    """A plain HTTP session on the exchange."""
    base = f"http://{exchange.access.host}:{exchange.access.plain_port}"
    async with aiohttp.ClientSession(base) as session:
        yield session


def signed(exchange: SimulatedExchange, parameters: dict[str, str], age_ms: int = 0) -> str:
    """Sign parameters with the exchange's own key, ``age_ms`` in the past."""
    now_ms = CLOCK.now_ns() // 1_000_000
    text = urlencode(parameters | {"timestamp": str(now_ms - age_ms)})
    return f"{text}&signature={sign(exchange.access.api_secret, text)}"


async def still_serves(http: aiohttp.ClientSession) -> bool:
    """Tell whether an ordinary request is answered."""
    async with http.get("/fapi/v1/ping") as answer:
        return answer.status == 200


async def test_bad_keys_signatures_and_times(
    exchange: SimulatedExchange, http: aiohttp.ClientSession
) -> None:
    """Each kind of bad authentication has its status and code."""
    good = signed(exchange, {})
    key = {"X-MBX-APIKEY": exchange.access.api_key}
    cases: list[tuple[dict[str, str], str, int, int]] = [
        ({}, good, 401, -2014),
        ({"X-MBX-APIKEY": "x" * 64}, good, 401, -2015),
        (key, good[:-1] + ("0" if good[-1] != "0" else "1"), 400, -1022),
        (key, signed(exchange, {}, age_ms=6_000), 400, -1021),
        (key, signed(exchange, {}, age_ms=-3_000), 400, -1021),
        (key, "timestamp=1", 400, -1102),
        (key, good + "&" + good, 400, -1101),
    ]
    for headers, query, status, code in cases:
        async with http.get(f"/fapi/v3/account?{query}", headers=headers) as answer:
            assert (answer.status, (await answer.json())["code"]) == (status, code)
    async with http.get(f"/fapi/v3/account?{signed(exchange, {})}", headers=key) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/fapi/v1/nothing", 404, -5000),
        ("PATCH", "/fapi/v1/order", 404, -5000),
        ("GET", "/api/v9/time", 404, -5000),
        ("GET", "/fapi/v1/depth", 400, -1102),
        ("GET", "/fapi/v1/depth?symbol=NOPE", 400, -1121),
        ("GET", "/fapi/v1/depth?symbol=BTCUSDT&limit=7", 400, -4021),
        ("GET", "/fapi/v1/trades?symbol=BTCUSDT&limit=x", 400, -1130),
        ("PUT", "/fapi/v1/listenKey", 401, -2014),
    ],
)
async def test_bad_requests(
    http: aiohttp.ClientSession, method: str, path: str, status: int, code: int
) -> None:
    """Unknown paths and parameters are refused in the venue's words."""
    async with http.request(method, path) as answer:
        assert (answer.status, (await answer.json())["code"]) == (status, code)


@pytest.mark.parametrize(
    "sent",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /public/ws/0 HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
        b"\x16\x03\x01 not plain text\r\n\r\n",
        b"X" * 40_000,
    ],
)
async def test_garbage_on_the_port(
    exchange: SimulatedExchange, http: aiohttp.ClientSession, sent: bytes
) -> None:
    """What is no HTTP gets an error or a closed connection, never an answer of substance."""
    reader, writer = await asyncio.open_connection("127.0.0.1", exchange.access.plain_port)
    try:
        writer.write(sent)
        await writer.drain()
        answer = await asyncio.wait_for(reader.read(1_000), WAIT_S)
    except ConnectionResetError:
        answer = b""
    finally:
        writer.close()
    assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4"))
    assert await still_serves(http)


async def test_connection_that_carried_rest_may_become_a_stream(
    exchange: SimulatedExchange,
) -> None:
    """An upgrade on a used connection is served; clients with a pool do just that."""
    reader, writer = await asyncio.open_connection("127.0.0.1", exchange.access.plain_port)
    for _ in range(2):
        writer.write(b"GET /fapi/v1/ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.readuntil(b"{}")).startswith(b"HTTP/1.1 200")
    writer.write(
        b"GET /public/ws/btcusdt@bookTicker HTTP/1.1\r\nHost: localhost\r\n"
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    assert b"bookTicker" in await asyncio.wait_for(reader.readuntil(b"}"), WAIT_S)
    writer.close()


async def test_huge_and_undecodable_bodies(
    exchange: SimulatedExchange, http: aiohttp.ClientSession
) -> None:
    """A body beyond a megabyte is 413, one that is no UTF-8 is -1100; neither does harm."""
    headers = {"X-MBX-APIKEY": exchange.access.api_key}
    huge = io.BytesIO(b"a" * 2_000_000)
    async with http.post("/fapi/v1/order", data=huge, headers=headers) as answer:
        assert answer.status == 413
    async with http.post("/fapi/v1/order", data=b"\xff\xfe", headers=headers) as answer:
        assert (await answer.json())["code"] == -1100
    assert await still_serves(http)


async def receive_error(socket_: aiohttp.ClientWebSocketResponse, sent: str) -> dict[str, Any]:
    """Send a text and return the answer."""
    await socket_.send_str(sent)
    answer: dict[str, Any] = orjson.loads((await socket_.receive(timeout=WAIT_S)).data)
    return answer


async def test_bad_stream_commands_are_answered(http: aiohttp.ClientSession) -> None:
    """Bad JSON and unknown methods get an error; the connection stays and works."""
    async with http.ws_connect("/market/ws/0") as websocket:
        assert (await receive_error(websocket, "{not json"))["error"]["code"] == 3
        assert (await receive_error(websocket, '{"method":1}'))["error"]["code"] == 2
        answer = await receive_error(websocket, '{"method":"FLY","id":4}')
        assert (answer["error"]["code"], answer["id"]) == (2, 4)
        names = '["btcusdt@aggTrade","btcusdt@trade","nothing@real"]'
        subscribe = f'{{"method":"SUBSCRIBE","params":{names},"id":"a"}}'
        assert await receive_error(websocket, subscribe) == {"result": None, "id": "a"}
        message = orjson.loads((await websocket.receive(timeout=WAIT_S)).data)
        assert message["e"] == "aggTrade"
    async with http.ws_connect("/public/ws/0") as websocket:
        await websocket.send_str(f'{{"method":"SUBSCRIBE","params":{names},"id":1}}')
        kinds = {orjson.loads((await websocket.receive(timeout=WAIT_S)).data).get("e")}
        kinds |= {
            orjson.loads((await websocket.receive(timeout=WAIT_S)).data).get("e") for _ in range(20)
        }
        assert kinds == {None, "trade"}


async def test_flood_of_commands_is_cut_off(http: aiohttp.ClientSession) -> None:
    """More than ten messages within a second close the connection with 1008."""
    async with http.ws_connect("/public/ws/0") as websocket:
        with contextlib.suppress(aiohttp.ClientConnectionResetError):  # cut off while sending
            for number in range(30):
                await websocket.send_str(f'{{"method":"LIST_SUBSCRIPTIONS","id":{number}}}')
        answers = 0
        while (await websocket.receive(timeout=WAIT_S)).type is aiohttp.WSMsgType.TEXT:
            answers += 1
        assert answers == 10
        assert websocket.close_code == 1008
    assert await still_serves(http)


async def test_oversized_message_is_cut_off(http: aiohttp.ClientSession) -> None:
    """A message beyond the limit closes the connection with 1009."""
    async with http.ws_connect("/public/ws/0") as websocket:
        await websocket.send_str("[" * 100_000)
        await websocket.receive(timeout=WAIT_S)
        assert websocket.close_code == 1009


@pytest.mark.parametrize(
    ("path", "status"), [("/nowhere", 404), ("/private/ws?listenKey=wrong", 400)]
)
async def test_wrong_stream_urls_are_refused(
    http: aiohttp.ClientSession, path: str, status: int
) -> None:
    """Unknown endpoints and listen keys fail at the handshake."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await http.ws_connect(path)
    assert caught.value.status == status


async def test_duplicate_order_is_booked_once(
    exchange: SimulatedExchange, http: aiohttp.ClientSession
) -> None:
    """The same order sent ten times at once is accepted exactly once."""
    headers = {"X-MBX-APIKEY": exchange.access.api_key}
    async with http.get("/fapi/v1/ticker/bookTicker?symbol=BTCUSDT") as answer:
        ask = float((await answer.json())["askPrice"])
    order = {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "IOC",
        "price": f"{ask * 1.01:.1f}",
        "quantity": "0.010",
        "newClientOrderId": "same",
    }

    async def send() -> int:
        body = signed(exchange, order)
        async with http.post(
            "/fapi/v1/order",
            data=body,
            headers=headers | {"Content-Type": "application/x-www-form-urlencoded"},
        ) as answer:
            return int((await answer.json()).get("code", 0))

    codes = await asyncio.gather(*(send() for _ in range(10)))
    assert sorted(codes) == [-4116] * 9 + [0]
    path = f"/fapi/v3/positionRisk?{signed(exchange, {})}"
    async with http.get(path, headers=headers) as answer:
        assert [row["positionAmt"] for row in await answer.json()] == ["0.010"]


async def test_client_that_never_reads_is_cut_off_and_others_are_not(tmp_path: Any) -> None:
    """A deaf client is disconnected at the bound; a reader beside it gets every frame."""
    lines = recording_lines(6_000)
    padded = [line.replace(b'"X":"MARKET"', b'"X":"' + b"M" * 9_000 + b'"') for line in lines]
    path = write_recording(tmp_path / "heavy.gz", padded)
    wanted = sum(b"@trade" in line for line in lines)
    running = await start(
        SimulatedSettings(capture=str(path), speed=200.0), NAMES[:1], is_plain=True
    )
    try:
        trust = ssl.create_default_context(cafile=running.access.ca_pem_path)
        request = (
            b"GET /public/ws/btcusdt@trade HTTP/1.1\r\nHost: localhost\r\n"
            b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        base = f"http://127.0.0.1:{running.access.plain_port}"
        async with aiohttp.ClientSession(base) as session:
            reading = await session.ws_connect("/public/stream")
            subscribe = {"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1}
            with socket.create_connection(("127.0.0.1", running.access.port)) as bare:
                bare.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                with trust.wrap_socket(bare, server_hostname="localhost") as deaf:
                    deaf.sendall(request)
                    await reading.send_str(orjson.dumps(subscribe).decode())
                    received = 0
                    while received < wanted:
                        message = await reading.receive(timeout=WAIT_S)
                        received += b'"e":"trade"' in message.data.encode()
                    await asyncio.sleep(0.3)
            await reading.close()
    finally:
        await running.stop()
    report = running.report()
    assert report["slow_clients_cut"] == 1
    assert report["source_finished"]
