"""Thousands of malformed requests: a documented error or a closed connection, nothing else.

No traceback in the exchange's own output, no growth of its memory or its open files.
"""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from config.settings import SimulatedSettings
from daemon.clock import SystemClock
from daemon.simulated.process import SimulatedExchange, start
from daemon.simulated.signing import sign
from tests.fakes.recording import NAMES

CLOCK = SystemClock()
TIMEOUT_S = 10.0
GROWTH_BYTES_MAX = 24 * 1024 * 1024
PAGE_BYTES = 4096
PATHS = (
    *("/fapi/v1/order", "/fapi/v1/algoOrder", "/fapi/v1/openOrders", "/fapi/v1/allOrders"),
    *("/fapi/v1/depth", "/fapi/v1/trades", "/fapi/v1/userTrades", "/fapi/v3/account"),
    *("/fapi/v1/listenKey", "/fapi/v1/leverage", "/fapi/v1/countdownCancelAll", "/fapi/v1/time"),
    *("/fapi/v1/allAlgoOrders", "/fapi/v1/openAlgoOrders", "/fapi/v1/premiumIndex", "/nowhere"),
    *("/api/v3/order", "/api/v3/account", "/api/v3/depth", "/api/v3/openOrders", "//", "/%00"),
)
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
FIELDS = (
    *("symbol", "side", "type", "timeInForce", "price", "quantity", "reduceOnly", "limit"),
    *("newClientOrderId", "origClientOrderId", "orderId", "triggerPrice", "algoType", "algoId"),
    *("clientAlgoId", "closePosition", "workingType", "leverage", "countdownTime", "fromId"),
    *("startTime", "endTime", "recvWindow", "positionSide", "quoteOrderQty", "stopPrice"),
)
LIKELY = (
    *("BTCUSDT", "ETHUSDT", "BUY", "SELL", "LIMIT", "MARKET", "STOP_MARKET", "GTC", "IOC", "FOK"),
    *("STOP_LOSS", "TAKE_PROFIT_LIMIT", "50000"),
    *("60000", "60000.1", "0.010", "1e9", "-1", "0", "NaN", "inf", "true", "null", "9" * 30, ""),
    *("CONDITIONAL", "MARK_PRICE", "1000", "500", "%", "\x00", "١٢", "a" * 400, "[]", "{}"),
)
WORDS = st.dictionaries(
    st.one_of(st.sampled_from(FIELDS), st.text(max_size=8)),
    st.one_of(st.sampled_from(LIKELY), st.text(max_size=20)),
    max_size=8,
)


class Target:
    """The exchange under fire."""

    def __init__(self, exchange: SimulatedExchange, stderr: IO[bytes]) -> None:
        self.access = exchange.access
        self.stderr = stderr

    def ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> int:
        """Send one request on a connection of its own; return the status, 0 for a closed one."""
        connection = HTTPConnection(self.access.host, self.access.plain_port, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (HTTPException, ConnectionError):
            return 0
        finally:
            connection.close()
        if answer.headers.get_content_type() == "application/json":
            document = json.loads(text)
            if answer.status != 200:
                assert set(document) == {"code", "msg"}, text
                assert document["code"] < 0, text
        else:
            assert 400 <= answer.status < 500, (answer.status, text)
        return answer.status

    def signed(self, words: dict[str, str]) -> str:
        """Sign parameters as they should be signed."""
        text = urlencode(words | {"timestamp": str(CLOCK.now_ns() // 1_000_000)}, errors="replace")
        return f"{text}&signature={sign(self.access.api_secret, text)}"

    def send_raw(self, sent: bytes) -> bytes:
        """Send bytes to the port and read what comes until it closes or falls silent."""
        with socket.create_connection((self.access.host, self.access.plain_port)) as raw:
            raw.settimeout(0.05)
            try:
                raw.sendall(sent)
                raw.shutdown(socket.SHUT_WR)
                return raw.recv(65_536)
            except (TimeoutError, ConnectionError, OSError):
                return b""

    @property
    def resident_bytes(self) -> int:
        """Memory of the process."""
        words = Path(f"/proc/{self.access.pid}/statm").read_text().split()
        return int(words[1]) * PAGE_BYTES

    @property
    def open_files(self) -> int:
        """Open files and sockets of the process."""
        return len(list(Path(f"/proc/{self.access.pid}/fd").iterdir()))


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """One exchange without request limits, whose every complaint is read at the end."""
    chosen = SimulatedSettings(
        seed=5,
        latency_ms=0.0,
        weight_1m_max=10**9,
        orders_10s_max=10**9,
        orders_1m_max=10**9,
        spot_weight_1m_max=10**9,
        spot_orders_10s_max=10**9,
        spot_orders_1d_max=10**9,
    )
    with tempfile.TemporaryFile() as stderr, asyncio.Runner() as runner:
        exchange = runner.run(start(chosen, (*NAMES, "BTC/USDT"), is_plain=True, stderr=stderr))
        yield Target(exchange, stderr)
        runner.run(exchange.stop())
        assert exchange.exit_code == 0
        stderr.seek(0)
        assert stderr.read() == b""


def fire(target: Target, count: int) -> None:
    """Send ``count`` requests made by hypothesis, one in twenty of them raw bytes."""
    sent = 0

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.sampled_from(METHODS),
        st.one_of(st.sampled_from(PATHS), st.text(max_size=12).map(lambda text: "/" + quote(text))),
        WORDS,
        st.sampled_from(("query", "body", "both", "unsigned", "bytes", "raw")),
        st.binary(max_size=200),
    )
    def one(method: str, path: str, words: dict[str, str], where: str, noise: bytes) -> None:
        nonlocal sent
        sent += 1
        headers = {"X-MBX-APIKEY": target.access.api_key}
        form = headers | {"Content-Type": "application/x-www-form-urlencoded"}
        match where:
            case "query":
                target.ask(method, f"{path}?{target.signed(words)}", b"", headers)
            case "body":
                target.ask(method, path, target.signed(words).encode(), form)
            case "both":
                text = target.signed(words)
                target.ask(method, f"{path}?{text}", text.encode(), form)
            case "unsigned":
                target.ask(method, f"{path}?{urlencode(words, errors='replace')}", b"", {})
            case "bytes":
                target.ask(method, path, noise, form)
            case _:
                head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n".encode()
                target.send_raw(head + noise + b"\r\n\r\n" if sent % 2 else noise)

    one()
    assert sent >= count * 0.9


STREAM_WORDS = st.one_of(
    st.text(max_size=40),
    st.binary(max_size=40),
    st.fixed_dictionaries(
        {},
        optional={
            "method": st.sampled_from(("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "", "X")),
            "params": st.one_of(
                st.lists(st.sampled_from(("btcusdt@trade", "@", "a@b@c", "user")), max_size=4),
                st.integers(),
                st.text(max_size=5),
            ),
            "id": st.one_of(st.integers(), st.text(max_size=5), st.none(), st.booleans()),
        },
    ).map(json.dumps),
)


def shout(target: Target, path: str, messages: list[str | bytes]) -> None:
    """Send messages to a websocket; every answer is a result, an error or an event."""
    url = f"ws://{target.access.host}:{target.access.plain_port}{path}"
    with connect(url, open_timeout=TIMEOUT_S, close_timeout=TIMEOUT_S) as websocket:
        try:
            for message in messages:
                websocket.send(message)
            for _ in messages:
                answer = json.loads(websocket.recv(timeout=0.02))
                assert {"result", "error", "e", "stream", "status"} & set(answer), answer
        except (TimeoutError, ConnectionClosed):
            return


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    st.sampled_from(("/public/ws/0", "/market/stream", "/ws/x", "/ws-api/v3", "/ws-fapi/v1")),
    st.lists(STREAM_WORDS, min_size=1, max_size=6),
)
def test_fuzzed_stream_commands(target: Target, path: str, messages: list[str | bytes]) -> None:
    """Whatever is said on a websocket is answered in JSON, or the connection is closed."""
    shout(target, path, messages)


def check_alive_and_small(target: Target, before_bytes: int, before_files: int) -> None:
    """The exchange serves on, and holds neither more memory nor more files than a little."""
    assert target.ask("GET", "/fapi/v1/ping", b"", {}) == 200
    deadline_ns = CLOCK.monotonic_ns() + 5_000_000_000
    while target.open_files > before_files + 4 and CLOCK.monotonic_ns() < deadline_ns:
        target.ask("GET", "/fapi/v1/ping", b"", {})
    assert target.open_files <= before_files + 4
    assert target.resident_bytes - before_bytes < GROWTH_BYTES_MAX
    target.stderr.seek(0)
    assert target.stderr.read() == b""


def test_fuzzed_requests(target: Target) -> None:
    """Some hundred requests, with every test run."""
    fire(target, 100)  # whatever is loaded at first use
    before = target.resident_bytes, target.open_files
    fire(target, 500)
    check_alive_and_small(target, *before)


@pytest.mark.nightly
def test_ten_thousand_fuzzed_requests(target: Target) -> None:
    """The full count."""
    fire(target, 500)
    before = target.resident_bytes, target.open_files
    fire(target, 10_000)
    check_alive_and_small(target, *before)
