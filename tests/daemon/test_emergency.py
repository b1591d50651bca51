"""The guard's own way to the venue: signed exactly, patient as told, and silent about its keys."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from daemon.clock import SystemClock
from daemon.venues.emergency import EmergencyClient, EmergencyError, Loopback
from daemon.venues.hosts import VenueError
from kernels.events import Side
from tests.fakes.scripted_venue import ScriptedVenue, answer, answer_text, hang_up, refuse, serve

SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT", "DOGE/USDT:USDT")
SECRET = "s3cret-s3cret"
ORDERS = "GET /fapi/v1/openOrders"


@asynccontextmanager
async def open_client(directory: Path) -> AsyncIterator[tuple[EmergencyClient, ScriptedVenue]]:
    async with serve(directory) as venue:
        client = EmergencyClient(
            mode="sim",
            api_key="the-key",
            api_secret=SECRET,
            loopback=Loopback(host=venue.host, port=venue.port, ca_pem_path=venue.ca_pem_path),
            clock=SystemClock(),
        )
        try:
            yield client, venue
        finally:
            await client.close()


async def test_instruments_are_read_with_their_grids(tmp_path: Path) -> None:
    """The guard learns the grid itself; what the venue does not list is left out."""
    async with open_client(tmp_path) as (client, _):
        btc, eth = await client.load_instruments(SYMBOLS)
    assert (btc.symbol, btc.venue_id, btc.index) == ("BTC/USDT:USDT", "BTCUSDT", 0)
    assert (eth.index, eth.tick_size, eth.lot_size) == (1, 0.01, 0.001)


async def test_requests_are_signed_over_the_exact_query(tmp_path: Path) -> None:
    """Signature last, over all before it, with the venue's own time; the key in the header."""
    seen: list[web.Request] = []

    async def look(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        return web.json_response([])

    async with open_client(tmp_path) as (client, venue):
        venue.handlers[ORDERS] = look
        (btc, *_) = await client.load_instruments(SYMBOLS)
        assert await client.open_order_count(btc) == 0
    payload, _, signature = seen[0].raw_path.partition("?")[2].rpartition("&signature=")
    expected = hmac.new(SECRET.encode(), payload.encode(), hashlib.sha256).hexdigest()
    assert signature == expected
    assert seen[0].headers["X-MBX-APIKEY"] == "the-key"
    assert abs(int(seen[0].query["timestamp"]) - 1_700_000_000_000) < 60_000


@pytest.mark.parametrize(
    ("handler", "status", "code"),
    [
        (refuse(-2011), 400, -2011),
        (refuse(-1003, 429), 429, -1003),
        (answer_text("<html>502</html>", 502), 502, 0),
        (answer_text('[{"orderId": 1', 200), 200, 0),
        (answer({"not": "a list"}), 200, 0),
        (hang_up, 0, 0),
    ],
)
async def test_every_failure_is_told_without_the_signature(
    tmp_path: Path, handler: Any, status: int, code: int
) -> None:
    """Status and code for the rescue, and no word of the signed address for the log."""
    async with open_client(tmp_path) as (client, venue):
        (btc, *_) = await client.load_instruments(SYMBOLS)
        venue.handlers[ORDERS] = handler
        with pytest.raises(EmergencyError) as caught:
            await client.open_order_count(btc)
    assert (caught.value.status, caught.value.code) == (status, code)
    assert "signature" not in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"), [("3", 3.0), ("0.5", 0.5), ("99999", 600.0), ("soon", 0.0), ("-1", 0.0)]
)
async def test_retry_after_is_read(tmp_path: Path, text: str, seconds: float) -> None:
    """How long the venue wants us to wait, within bounds."""

    async def throttle(request: web.Request) -> web.StreamResponse:
        return web.json_response({"code": -1003}, status=429, headers={"Retry-After": text})

    async with open_client(tmp_path) as (client, venue):
        (btc, *_) = await client.load_instruments(SYMBOLS)
        venue.handlers["DELETE /fapi/v1/allOpenOrders"] = throttle
        with pytest.raises(EmergencyError) as caught:
            await client.cancel_all(btc)
    assert caught.value.retry_after_s == seconds


async def test_wrong_clock_is_measured_again(tmp_path: Path) -> None:
    """After -1021 the next request asks the venue for its time first."""
    async with open_client(tmp_path) as (client, venue):
        (btc, *_) = await client.load_instruments(SYMBOLS)
        venue.handlers[ORDERS] = refuse(-1021)
        with pytest.raises(EmergencyError):
            await client.open_order_count(btc)
        venue.handlers[ORDERS] = answer([])
        await client.open_order_count(btc)
        assert len(venue.asked("GET /fapi/v1/time")) == 2


async def test_positions_and_prices_are_read(tmp_path: Path) -> None:
    """Positions by instrument, and the mark where a side of the quote is missing."""
    async with open_client(tmp_path) as (client, venue):
        instruments = await client.load_instruments(SYMBOLS)
        venue.handlers["GET /fapi/v3/account"] = answer(
            {"positions": [{"symbol": "ETHUSDT", "positionAmt": "-1.250"}, {"symbol": "XUSDT"}]}
        )
        venue.handlers["GET /fapi/v1/ticker/bookTicker"] = answer(
            {"bidPrice": "0.00", "askPrice": "60000.10"}
        )
        venue.handlers["GET /fapi/v1/premiumIndex"] = answer({"markPrice": "60000.12345678"})
        assert await client.position_lots(instruments) == (0, -1250)
        top = await client.top(instruments[0])
    assert (top.bid_ticks, top.ask_ticks, top.mark_ticks) == (0, 600_001, 600_001)


@pytest.mark.parametrize(("price_ticks", "kind"), [(600_001, "LIMIT"), (0, "MARKET")])
async def test_closing_order_only_reduces(tmp_path: Path, price_ticks: int, kind: str) -> None:
    """Whatever its type, it is reduce-only and carries an id of its own."""
    async with open_client(tmp_path) as (client, venue):
        (btc, *_) = await client.load_instruments(SYMBOLS)
        venue.handlers["POST /fapi/v1/order"] = answer({})
        await client.close_position(
            btc,
            side=Side.SELL,
            quantity_lots=30,
            price_ticks=price_ticks,
            time_in_force="IOC",
            client_order_id="meg-1-1",
        )
        (words,) = venue.asked("POST /fapi/v1/order")
    assert (words["type"], words["side"], words["quantity"]) == (kind, "SELL", "0.03")
    assert (words["reduceOnly"], words["newClientOrderId"]) == ("true", "meg-1-1")
    assert ("price" in words) is (kind == "LIMIT")


async def test_mode_and_exchange_must_belong_together() -> None:
    """Keys of a real account never go to a simulated exchange, nor the other way round."""
    for mode, loopback in (
        ("sim", None),
        ("live", Loopback(host="127.0.0.1", port=1, ca_pem_path="")),
    ):
        with pytest.raises(VenueError):
            EmergencyClient(
                mode=mode, api_key="k", api_secret="s", loopback=loopback, clock=SystemClock()
            )
