"""Request weights and order counts: the meter's windows, and what a client sees of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import ccxt
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from daemon.simulated.request_weights import IGNORED_MAX, WeightMeter, request_weight
from daemon.simulated.spot_weights import spot_weight
from tests.fakes.exchange_client import production_client
from tests.fakes.fault_rig import FaultRig, fault_rig
from tests.fakes.recording import NAMES

NOW_MS = 1_700_000_040_000
"""The begin of a minute."""


@pytest.mark.parametrize(
    ("method", "path", "words", "weight"),
    [
        ("GET", "/fapi/v1/depth", {"limit": "50"}, 2),
        ("GET", "/fapi/v1/depth", {"limit": "100"}, 5),
        ("GET", "/fapi/v1/depth", {}, 10),
        ("GET", "/fapi/v1/depth", {"limit": "1000"}, 20),
        ("GET", "/fapi/v1/depth", {"limit": "x"}, 20),
        ("GET", "/fapi/v1/openOrders", {"symbol": "BTCUSDT"}, 1),
        ("GET", "/fapi/v1/openOrders", {}, 40),
        ("GET", "/fapi/v1/ticker/bookTicker", {}, 5),
        ("GET", "/fapi/v3/account", {}, 5),
        ("POST", "/fapi/v1/order", {"symbol": "BTCUSDT"}, 0),
        ("GET", "/fapi/v1/ping", {}, 1),
    ],
)
def test_weights_are_those_of_the_documents(
    method: str, path: str, words: dict[str, str], weight: int
) -> None:
    """A request weighs what the venue's documents say."""
    assert request_weight(method, path, words) == weight


@pytest.mark.parametrize(
    ("method", "path", "words", "weight"),
    [
        ("GET", "/api/v3/depth", {}, 5),
        ("GET", "/api/v3/depth", {"limit": "500"}, 25),
        ("GET", "/api/v3/depth", {"limit": "1000"}, 50),
        ("GET", "/api/v3/depth", {"limit": "5000"}, 250),
        ("GET", "/api/v3/depth", {"limit": "x"}, 250),
        ("GET", "/api/v3/openOrders", {"symbol": "BTCUSDT"}, 6),
        ("GET", "/api/v3/openOrders", {}, 80),
        ("GET", "/api/v3/myTrades", {"symbol": "BTCUSDT", "orderId": "1"}, 5),
        ("GET", "/api/v3/myTrades", {"symbol": "BTCUSDT"}, 20),
        ("GET", "/api/v3/ticker/24hr", {}, 80),
        ("POST", "/api/v3/order", {"symbol": "BTCUSDT"}, 1),
    ],
)
def test_spot_weights_are_those_of_the_documents(
    method: str, path: str, words: dict[str, str], weight: int
) -> None:
    """A spot request weighs what the venue's documents say."""
    assert spot_weight(method, path, words) == weight


def test_windows_turn_with_the_clock_and_stubborn_clients_are_banned() -> None:
    """429 until the minute is over; asking on earns 418, the second ban is twice as long."""
    meter = WeightMeter(10, 5, 5)
    assert meter.charge(10, False, NOW_MS) is None
    refusal = meter.charge(1, False, NOW_MS + 18_500)
    assert refusal is not None
    assert (refusal.status, refusal.code, refusal.retry_after_s) == (429, -1003, 42)
    assert meter.charge(1, False, NOW_MS + 60_000) is None
    lengths = []
    at_ms = NOW_MS + 60_000
    for _ in range(2):
        refusals = [meter.charge(10, False, at_ms) for _ in range(IGNORED_MAX + 2)]
        assert [each.status for each in refusals if each][-1] == 418
        banned = meter.charge(1, False, at_ms)
        assert banned is not None
        lengths.append(banned.retry_after_s)
        at_ms += banned.retry_after_s * 1000
        at_ms += -at_ms % 60_000
    assert lengths == [120, 240]
    assert meter.charge(1, False, at_ms) is None


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.integers(0, 5_000)), max_size=80))
def test_no_window_lets_more_pass_than_its_limit(steps: list[tuple[int, bool, int]]) -> None:
    """Whatever comes when: accepted weight and orders of a window stay within the limits."""
    meter = WeightMeter(100, 4, 9)
    weights: dict[int, int] = {}
    orders: dict[int, int] = {}
    now_ms = NOW_MS
    for weight, is_order, pause_ms in steps:
        now_ms += pause_ms
        if meter.charge(weight, is_order, now_ms) is None:
            minute = now_ms // 60_000
            weights[minute] = weights.get(minute, 0) + weight
            if is_order:
                meter.count_order(now_ms)
                slot = now_ms // 10_000
                orders[slot] = orders.get(slot, 0) + 1
    assert max(weights.values(), default=0) <= 100
    assert max(orders.values(), default=0) <= 4


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def rig() -> AsyncIterator[FaultRig]:
    """One exchange with little patience."""
    async with fault_rig(
        (*NAMES, "BTC/USDT"),
        weight_1m_max=400,
        orders_10s_max=12,
        orders_1m_max=12,
        spot_weight_1m_max=120,
        spot_orders_10s_max=3,
        spot_orders_1d_max=4,
    ) as running:
        yield running


@pytest.mark.asyncio(loop_scope="module")
async def test_limits_on_the_wire(rig: FaultRig) -> None:
    """Headers count up, -1015 stops orders, 429 stops everything, 418 who goes on."""
    information = await rig.call("GET", "/fapi/v1/exchangeInfo", is_signed=False)
    limits = {row["rateLimitType"]: row["limit"] for row in information.document["rateLimits"]}
    assert limits == {"REQUEST_WEIGHT": 400, "ORDERS": 12}
    async with production_client(rig.exchange.access) as (client, _):
        await client.load_markets()
        answers = [await rig.rest_far(f"order-{number}") for number in range(12)]
        counts = [int(answer.headers["X-MBX-ORDER-COUNT-1M"]) for answer in answers]
        if counts[-1] == 12:  # else a minute has just begun in between
            refused = await rig.rest_far("order-12")
            assert (refused.status, refused.document["code"]) == (429, -1015)
            assert int(refused.headers["Retry-After"]) >= 1
            with pytest.raises(ccxt.DDoSProtection):
                await client.create_order(NAMES[0], "market", "buy", 0.01)
        words: dict[str, Any] = {"symbol": "BTCUSDT", "limit": 1000}
        seen = []
        for _ in range(120):
            answer = await rig.call("GET", "/fapi/v1/depth", words, is_signed=False)
            seen.append(answer.status)
            if answer.status == 418:
                break
            assert int(answer.headers["X-MBX-USED-WEIGHT-1M"]) >= 20
        assert list(dict.fromkeys(seen)) in ([200, 429, 418], [429, 418])
        assert answer.document["code"] == -1003
        assert 100 < int(answer.headers["Retry-After"]) <= 120
        with pytest.raises(ccxt.DDoSProtection):
            await client.fetch_time()


@pytest.mark.asyncio(loop_scope="module")
async def test_spot_limits_on_the_wire(rig: FaultRig) -> None:
    """Spot counts orders by ten seconds and day and its weight apart: -1015, then 429, then 418."""
    information = await rig.call("GET", "/api/v3/exchangeInfo", is_signed=False)
    limits = [(row["rateLimitType"], row["limit"]) for row in information.document["rateLimits"]]
    assert limits == [("REQUEST_WEIGHT", 120), ("ORDERS", 3), ("ORDERS", 4)]
    ticker = await rig.call(
        "GET", "/api/v3/ticker/bookTicker", {"symbol": "BTCUSDT"}, is_signed=False
    )
    price = f"{float(ticker.document['bidPrice']) * 0.97:.2f}"
    words: dict[str, Any] = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "price": price}
    words |= {"timeInForce": "GTC", "quantity": "0.01"}
    placed = [await rig.call("POST", "/api/v3/order", words) for _ in range(5)]
    refused = placed[-1]
    assert (refused.status, refused.document["code"]) == (429, -1015)
    accepted = [answer for answer in placed if answer.status == 200]
    assert [answer.headers["X-MBX-ORDER-COUNT-1D"] for answer in accepted] == [
        str(number) for number in range(1, len(accepted) + 1)
    ]
    assert 3 <= len(accepted) <= 4  # 4 where ten seconds ended in between
    seen = []
    for _ in range(120):
        answer = await rig.call(
            "GET", "/api/v3/depth", {"symbol": "BTCUSDT", "limit": 500}, is_signed=False
        )
        seen.append(answer.status)
        if answer.status == 418:
            break
        assert int(answer.headers["X-MBX-USED-WEIGHT-1M"]) >= 25
    assert list(dict.fromkeys(seen)) in ([200, 429, 418], [429, 418])
    assert int(answer.headers["Retry-After"]) > 100


@pytest.mark.asyncio(loop_scope="module")
async def test_limits_over_ws_api() -> None:
    """ws-api and REST fill the same windows; answers and refusals tell how far and until when."""
    async with (
        fault_rig(("BTC/USDT",), spot_weight_1m_max=120, spot_orders_10s_max=3) as rig,
        rig.stream("/ws-api/v3") as line,
        production_client(
            rig.exchange.access, {"fetchMarkets": {"types": ["spot"]}}, "binance"
        ) as (
            client,
            _,
        ),
    ):
        await client.load_markets()
        words = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}
        answers = [await rig.ask(line, "order.place", words) for _ in range(7)]
        assert [row["intervalNum"] for row in answers[0]["rateLimits"]] == [10, 1, 1]
        accepted = [answer for answer in answers if answer["status"] == 200]
        assert [answer["rateLimits"][1]["count"] for answer in accepted] == [
            number + 1 for number in range(len(accepted))
        ]
        refused = next(answer for answer in answers if answer["status"] == 429)
        times = refused["error"]["data"]
        assert refused["error"]["code"] == -1015
        assert 0 < times["retryAfter"] - times["serverTime"] <= 10_000
        quiet = await rig.ask(line, "order.place", words | {"returnRateLimits": "false"})
        assert "rateLimits" not in quiet
        async with rig.stream("/ws-api/v3?returnRateLimits=false") as other:
            assert "rateLimits" not in await rig.ask(other, "time")
        session = await rig.ask(line, "session.subscriptions")
        used = await rig.call("GET", "/api/v3/time", is_signed=False)
        used_before = session["rateLimits"][0]["count"]
        assert int(used.headers["X-MBX-USED-WEIGHT-1M"]) in (used_before + 1, 1)
        statuses: list[int] = []
        while not statuses or statuses[-1] != 418:
            account = await rig.ask(line, "account.status", {})
            statuses.append(account["status"])
            assert len(statuses) < 60
        assert list(dict.fromkeys(statuses)) in ([200, 429, 418], [429, 418])
        times = account["error"]["data"]
        assert times["retryAfter"] - times["serverTime"] > 60_000
        with pytest.raises(ccxt.RateLimitExceeded):
            await client.fetch_balance_ws()
        assert (await rig.call("GET", "/api/v3/time", is_signed=False)).status == 418
