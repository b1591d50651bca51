"""One exchange with its control port, a plain HTTP client, and streams: what fault tests need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson

from config.settings import SimulatedSettings
from daemon.clock import SystemClock
from daemon.simulated.process import SimulatedExchange, start
from daemon.simulated.signing import sign
from tests.fakes.recording import NAMES

WAIT_S = 10.0
CLOCK = SystemClock()
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """One REST answer: status, headers, body as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """Return the body as JSON."""
        return orjson.loads(self.body)


class Stream:
    """One websocket of the exchange, read message by message."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        """Take over an open websocket."""
        self.websocket = websocket

    async def text(self, timeout_s: float = WAIT_S) -> bytes:
        """Return the next message; AssertionError when the socket is closed instead."""
        message = await self.websocket.receive(timeout=timeout_s)
        assert message.type is aiohttp.WSMsgType.TEXT, message
        return str(message.data).encode()

    async def event(self, timeout_s: float = WAIT_S) -> Document:
        """Return the next message as JSON."""
        document: Document = orjson.loads(await self.text(timeout_s))
        return document

    async def events(self, count: int) -> list[Document]:
        """Return the next messages as JSON."""
        return [await self.event() for _ in range(count)]

    async def next_of(self, kind: str, **wanted: str) -> Document:
        """Skip to the next event of a kind; ``wanted`` are words of its order."""
        async with asyncio.timeout(WAIT_S):
            while True:
                event = await self.event()
                words = event.get("o", {})
                if event.get("e") == kind and all(words.get(k) == v for k, v in wanted.items()):
                    return event

    async def is_silent(self, for_s: float) -> bool:
        """Tell whether nothing arrives for a while."""
        try:
            await self.websocket.receive(timeout=for_s)
        except TimeoutError:
            return True
        return False


class FaultRig:
    """Reaches one running exchange in plain text."""

    def __init__(self, exchange: SimulatedExchange, http: aiohttp.ClientSession) -> None:
        """Talk to the exchange through ``http``."""
        self.exchange = exchange
        self.http = http
        access = exchange.access
        self.base = f"http://{access.host}:{access.plain_port}"
        self.control = f"http://{access.host}:{access.control_port}"

    @asynccontextmanager
    async def armed(self, kind: str, **parameters: Any) -> AsyncIterator[str]:
        """Arm one fault for the length of the block."""
        name = str((await self.arm(kind, **parameters)).document["name"])
        try:
            yield name
        finally:
            await self.http.delete(f"{self.control}/faults/{name}")

    async def arm(self, kind: str, **parameters: Any) -> Answer:
        """Arm one fault."""
        document = {"kind": kind, **parameters}
        async with self.http.post(f"{self.control}/faults", json=document) as answer:
            assert answer.status == 200, await answer.text()
            return Answer(answer.status, dict(answer.headers), await answer.read())

    async def fault(self, name: str) -> Document:
        """Return what the control port says of an armed fault."""
        async with self.http.get(f"{self.control}/faults") as answer:
            rows = (await answer.json())["faults"]
        return next(row for row in rows if row["name"] == name)

    async def call(
        self,
        method: str,
        path: str,
        parameters: Document | None = None,
        *,
        is_signed: bool = True,
        offset_ms: int = 0,
        timeout_s: float = WAIT_S,
    ) -> Answer:
        """Send one request; signed ones carry the exchange's own key."""
        words = {name: str(value) for name, value in (parameters or {}).items()}
        headers = {}
        text = urlencode(words)
        if is_signed:
            headers["X-MBX-APIKEY"] = self.exchange.access.api_key
            text = urlencode(words | {"timestamp": str(CLOCK.now_ns() // 1_000_000 + offset_ms)})
            text += f"&signature={sign(self.exchange.access.api_secret, text)}"
        url = f"{self.base}{path}?{text}" if text else f"{self.base}{path}"
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with self.http.request(method, url, headers=headers, timeout=timeout) as answer:
            return Answer(answer.status, dict(answer.headers), await answer.read())

    async def place(self, name: str, **words: Any) -> Answer:
        """Buy 0.01 BTC by a market order, unless the words say otherwise."""
        order: Document = {
            "symbol": "BTCUSDT",
            "side": "BUY",
            "type": "MARKET",
            "quantity": "0.010",
        }
        return await self.call(
            "POST", "/fapi/v1/order", {**order, "newClientOrderId": name, **words}
        )

    async def rest_far(self, name: str) -> Answer:
        """Place a limit order that will not fill by itself."""
        price = f"{await self.bid() * 0.97:.1f}"
        return await self.place(name, type="LIMIT", timeInForce="GTC", price=price)

    async def order(self, name: str) -> Answer:
        """Query an order by its client id."""
        words = {"symbol": "BTCUSDT", "origClientOrderId": name}
        return await self.call("GET", "/fapi/v1/order", words)

    async def bid(self) -> float:
        """Return the best bid of BTC."""
        words = {"symbol": "BTCUSDT"}
        answer = await self.call("GET", "/fapi/v1/ticker/bookTicker", words, is_signed=False)
        return float(answer.document["bidPrice"])

    async def account(self) -> Document:
        """Return the account."""
        document: Document = (await self.call("GET", "/fapi/v3/account")).document
        return document

    async def position(self) -> float:
        """Return the position in BTC."""
        rows = (await self.account())["positions"]
        amounts = [float(row["positionAmt"]) for row in rows if row["symbol"] == "BTCUSDT"]
        return amounts[0] if amounts else 0.0

    async def flatten(self) -> None:
        """Cancel everything and close the position."""
        await self.call("DELETE", "/fapi/v1/allOpenOrders", {"symbol": "BTCUSDT"})
        amount = await self.position()
        if amount:
            side = "SELL" if amount > 0 else "BUY"
            closing = await self.place(
                "", side=side, quantity=f"{abs(amount):.3f}", reduceOnly="true"
            )
            assert closing.status == 200, closing.body

    @asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator[Stream]:
        """Open a websocket."""
        async with self.http.ws_connect(f"{self.base}{path}") as websocket:
            yield Stream(websocket)

    @asynccontextmanager
    async def user_stream(self) -> AsyncIterator[Stream]:
        """Open the user stream under a fresh or running listen key."""
        key = (await self.call("POST", "/fapi/v1/listenKey")).document["listenKey"]
        async with self.stream(f"/private/ws?listenKey={key}") as stream:
            yield stream

    @asynccontextmanager
    async def spot_user_stream(self) -> AsyncIterator[Stream]:
        """Subscribe to spot's user stream by signature."""
        async with self.stream("/ws-api/v3") as stream:
            answer = await self.ask(stream, "userDataStream.subscribe.signature", {})
            assert answer["status"] == 200
            yield stream

    async def ask(self, stream: Stream, method: str, words: Document | None = None) -> Document:
        """Ask over ws-api, signed where there are words, and return what comes next."""
        request: Document = {"id": "1", "method": method}
        if words is not None:
            access = self.exchange.access
            full = {name: str(value) for name, value in words.items()}
            full |= {"apiKey": access.api_key, "timestamp": str(CLOCK.now_ns() // 1_000_000)}
            text = "&".join(f"{name}={full[name]}" for name in sorted(full))
            request["params"] = full | {"signature": sign(access.api_secret, text)}
        await stream.websocket.send_json(request)
        return await stream.event()


@asynccontextmanager
async def fault_rig(names: tuple[str, ...] = NAMES, **settings: Any) -> AsyncIterator[FaultRig]:
    """Start an exchange on a calm market, without latency unless told, and stop it."""
    chosen = {"seed": 5, "latency_ms": 0.0, "market": "calm", **settings}
    exchange = await start(SimulatedSettings(**chosen), names, is_plain=True)
    try:
        async with aiohttp.ClientSession() as http:
            yield FaultRig(exchange, http)
    finally:
        await exchange.stop()
    assert exchange.exit_code == 0
