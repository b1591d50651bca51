"""Binance's own SDKs, unmodified, trade on the exchange; their models parse what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from config.settings import SimulatedSettings
from daemon.simulated.process import SimulatedAccess, start
from tests.fakes.sdk_answers import Answers, event_model, rest_url, websocket_url

REASON = "install the extra `sdk` for Binance's own clients"
spot_sdk = pytest.importorskip("binance_sdk_spot.spot", reason=REASON)
futures_sdk = pytest.importorskip(
    "binance_sdk_derivatives_trading_usds_futures.derivatives_trading_usds_futures", reason=REASON
)
errors = pytest.importorskip("binance_common.errors", reason=REASON)

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # the SDK opens its sockets with an argument that its aiohttp deprecates
    pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float':DeprecationWarning"),
]
PAIR = "BTCUSDT"
STREAM_WAIT_S = 15.0
FUTURES_CALLS = (
    "test_connectivity",
    "check_server_time",
    "exchange_information",
    "mark_price",
    "symbol_order_book_ticker",
    "symbol_price_ticker",
    "symbol_price_ticker_v2",
    "account_information_v2",
    "account_information_v3",
    "futures_account_balance_v2",
    "futures_account_balance_v3",
    "notional_and_leverage_brackets",
    "get_current_position_mode",
    "position_information_v2",
    "current_all_open_orders",
)
FUTURES_CALLS_OF_ONE = (
    "recent_trades_list",
    "compressed_aggregate_trades_list",
    "user_commission_rate",
)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def access() -> AsyncIterator[SimulatedAccess]:
    """One exchange with a pair and a contract, reachable in plain text."""
    running = await start(SimulatedSettings(seed=5), ("BTC/USDT", "BTC/USDT:USDT"), is_plain=True)
    yield running.access
    await running.stop()
    assert running.exit_code == 0


def client(sdk: Any, name: str, access: SimulatedAccess, api_path: str) -> Any:
    """Build an SDK's client for REST, ws-api and streams."""
    keys = {"api_key": access.api_key, "api_secret": access.api_secret}
    return getattr(sdk, name)(
        config_rest_api=sdk.ConfigurationRestAPI(**keys, base_path=rest_url(access)),
        config_ws_api=sdk.ConfigurationWebSocketAPI(
            **keys, stream_url=websocket_url(access, api_path)
        ),
        config_ws_streams=sdk.ConfigurationWebSocketStreams(
            stream_url=websocket_url(access, "/stream")
        ),
    )


def spot(access: SimulatedAccess) -> Any:
    """Build the spot client."""
    return client(spot_sdk, "Spot", access, "/ws-api/v3")


def futures(access: SimulatedAccess) -> Any:
    """Build the USD-M client."""
    return client(futures_sdk, "DerivativesTradingUsdsFutures", access, "/ws-fapi/v1")


async def until(seen: dict[str, Any] | list[Any], count: int) -> None:
    """Wait until so many messages are there."""
    async with asyncio.timeout(STREAM_WAIT_S):
        while len(seen) < count:
            await asyncio.sleep(0.02)


def wait_with_stops(api: Any, take: Any, bid: float) -> None:
    """Let each kind of stop order wait, in the SDK's words, and take them all away."""
    above, below = round(bid * 1.1, 2), round(bid * 0.9, 2)
    limit = {"quantity": 0.001, "time_in_force": "GTC"}
    for side, kind, stop, more in (
        ("BUY", "STOP_LOSS", above, {"quantity": 0.001}),
        ("SELL", "TAKE_PROFIT", above, {"quantity": 0.001}),
        ("SELL", "STOP_LOSS_LIMIT", below, {**limit, "price": below}),
        ("BUY", "TAKE_PROFIT_LIMIT", below, {**limit, "price": below}),
    ):
        placed = take(
            api.new_order, PAIR, side, kind, stop_price=stop, new_order_resp_type="RESULT", **more
        )
        found = take(api.get_order, PAIR, order_id=placed.order_id)
        assert (found.type, found.is_working, float(found.stop_price)) == (kind, False, stop)
    pair = take(api.exchange_info, symbol=PAIR).symbols[0]
    assert {"STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"} < set(
        pair.order_types
    )
    with pytest.raises(errors.BadRequestError, match="Stop price would trigger immediately"):
        api.new_order(PAIR, "BUY", "TAKE_PROFIT", quantity=0.001, stop_price=above)
    with pytest.raises(errors.BadRequestError, match="-1102"):
        api.new_order(PAIR, "BUY", "STOP_LOSS", quantity=0.001)
    assert len(take(api.delete_open_orders, PAIR)) == 4


async def test_spot_rest(access: SimulatedAccess) -> None:
    """Twenty-five spot calls: market, orders of every kind, account."""

    def trade() -> Answers:
        api, answers = spot(access).rest_api, Answers()
        take = answers.take
        for call in (api.ping, api.time, api.exchange_info, api.ticker_book_ticker):
            take(call)
        assert [row.price for row in take(api.ticker_price)]
        for call in (api.get_trades, api.agg_trades, api.historical_trades, api.avg_price):
            take(call, PAIR)
        take(api.klines, PAIR, "1m")
        take(api.ticker24hr, symbol=PAIR)
        bid = float(take(api.depth, PAIR).bids[0][0])
        terms = {"time_in_force": "GTC", "quantity": 0.01, "price": round(bid * 0.98, 2)}
        bought = take(api.new_order, PAIR, "BUY", "MARKET", quantity=0.01)
        assert (bought.status, bought.fills[0].commission_asset) == ("FILLED", "BTC")
        take(api.order_test, PAIR, "BUY", "LIMIT", **terms)
        take(api.new_order, PAIR, "BUY", "LIMIT", **terms, new_client_order_id="sdk-1")
        assert take(api.get_order, PAIR, orig_client_order_id="sdk-1").status == "NEW"
        assert len(take(api.get_open_orders, PAIR)) == 1
        replaced = take(
            api.order_cancel_replace,
            PAIR,
            "BUY",
            "LIMIT",
            "STOP_ON_FAILURE",
            **terms,
            cancel_orig_client_order_id="sdk-1",
            new_client_order_id="sdk-2",
        )
        assert replaced.new_order_result == "SUCCESS"
        assert take(api.delete_order, PAIR, orig_client_order_id="sdk-2").status == "CANCELED"
        take(api.new_order, PAIR, "SELL", "LIMIT_MAKER", quantity=0.005, price=round(bid * 1.1, 2))
        assert len(take(api.delete_open_orders, PAIR)) == 1
        assert [o.status for o in take(api.all_orders, PAIR)].count("CANCELED") == 3
        wait_with_stops(api, take, bid)
        assert take(api.my_trades, PAIR)[-1].order_id == bought.order_id
        assert take(api.account_commission, PAIR).standard_commission.taker == "0.00100000"
        held = {row.asset: row.free for row in take(api.get_account).balances}
        assert held["BTC"] == "0.00999000"
        with pytest.raises(errors.BadRequestError, match="-2011"):
            api.delete_order(PAIR, order_id=99)
        return answers

    answers = await asyncio.to_thread(trade)
    assert len(answers.models) >= 20


async def test_futures_rest(access: SimulatedAccess) -> None:
    """Thirty-five USD-M calls: market, orders, account, settings, listen key."""

    def trade() -> Answers:
        api, answers = futures(access).rest_api, Answers()
        take = answers.take
        for name in FUTURES_CALLS:
            take(getattr(api, name))
        for name in FUTURES_CALLS_OF_ONE:
            take(getattr(api, name), PAIR)
        take(api.kline_candlestick_data, PAIR, "1m")
        take(api.ticker24hr_price_change_statistics, symbol=PAIR)
        assert take(api.change_initial_leverage, PAIR, 10).leverage == 10
        bid = float(take(api.order_book, PAIR).bids[0][0])
        bought = take(api.new_order, PAIR, "BUY", "MARKET", quantity=0.01)
        assert bought.status == "FILLED"
        take(
            api.new_order,
            PAIR,
            "BUY",
            "LIMIT",
            time_in_force="GTC",
            quantity=0.01,
            price=round(bid * 0.98, 1),
            new_client_order_id="sdk-1",
        )
        changed = take(
            api.modify_order,
            PAIR,
            "BUY",
            0.02,
            round(bid * 0.97, 1),
            orig_client_order_id="sdk-1",
        )
        assert changed.orig_qty == "0.020"
        for call in (api.query_order, api.query_current_open_order, api.cancel_order):
            assert take(call, PAIR, orig_client_order_id="sdk-1").orig_qty == "0.020"
        assert len(take(api.all_orders, PAIR)) == 2
        take(api.cancel_all_open_orders, PAIR)
        take(api.auto_cancel_all_open_orders, PAIR, 60_000)
        take(api.auto_cancel_all_open_orders, PAIR, 0)
        assert take(api.account_trade_list, PAIR)[-1].order_id == bought.order_id
        assert take(api.position_information_v3)[0].position_amt == "0.010"
        take(api.new_order, PAIR, "SELL", "MARKET", quantity=0.01, reduce_only="true")
        for call in (
            api.start_user_data_stream,
            api.keepalive_user_data_stream,
            api.close_user_data_stream,
        ):
            take(call)
        with pytest.raises(errors.BadRequestError, match="-2011"):
            api.cancel_order(PAIR, order_id=99)
        return answers

    answers = await asyncio.to_thread(trade)
    assert len(answers.models) >= 33


async def test_spot_ws_api_and_user_stream(access: SimulatedAccess) -> None:
    """Orders over ws-api, and executionReport and outboundAccountPosition on the same socket."""
    api, answers = await spot(access).websocket_api.create_connection(), Answers()
    ask = answers.ask
    events: list[Any] = []
    try:
        opened = await api.user_data_stream_subscribe_signature()
        opened.stream.on("message", events.append)
        assert (await ask(api.session_subscriptions))[0].subscription_id == 0
        for call in (api.ping, api.time, api.account_status):
            await ask(call)
        bid = float((await ask(api.depth, PAIR)).bids[0][0])
        assert (await ask(api.order_place, PAIR, "BUY", "MARKET", quantity=0.01)).status == "FILLED"
        terms = {"time_in_force": "GTC", "quantity": 0.01, "price": round(bid * 0.98, 2)}
        for name in ("ws-1", "ws-2"):
            await ask(api.order_place, PAIR, "BUY", "LIMIT", **terms, new_client_order_id=name)
        assert (await ask(api.order_status, PAIR, orig_client_order_id="ws-1")).status == "NEW"
        assert len(await ask(api.open_orders_status, symbol=PAIR)) == 2
        await ask(api.order_cancel, PAIR, orig_client_order_id="ws-1")
        stop = {"quantity": 0.01, "stop_price": round(bid * 1.1, 2), "new_client_order_id": "stop"}
        await ask(api.order_place, PAIR, "BUY", "STOP_LOSS", **stop)
        waiting = await ask(api.order_status, PAIR, orig_client_order_id="stop")
        assert (waiting.status, waiting.is_working) == ("NEW", False)
        await ask(api.order_cancel, PAIR, orig_client_order_id="stop")
        assert len(await ask(api.open_orders_cancel_all, PAIR)) == 1
        for call in (api.all_orders, api.my_trades, api.avg_price, api.account_commission):
            await ask(call, PAIR)
        await until(events, 16)
    finally:
        await api.close_connection()
    assert len(answers.models) >= 14
    told = [event_model(event) for event in events]
    assert told == ["ExecutionReport", "OutboundAccountPosition"] * 8
    reports = [event.actual_instance for event in events[::2]]
    assert [(r.x, r.X) for r in reports] == [
        ("NEW", "NEW"),
        ("TRADE", "FILLED"),
        ("NEW", "NEW"),
        ("NEW", "NEW"),
        ("CANCELED", "CANCELED"),
        ("NEW", "NEW"),
        ("CANCELED", "CANCELED"),
        ("CANCELED", "CANCELED"),
    ]
    assert [(r.w, r.W) for r in reports if r.c == "stop"] == [(False, None)]


async def test_futures_ws_api_and_user_stream(access: SimulatedAccess) -> None:
    """Orders over ws-api, and the user stream of a listen key beside market streams."""
    sdk, answers = futures(access), Answers()
    api = await sdk.websocket_api.create_connection()
    streams = await sdk.websocket_streams.create_connection()
    ask = answers.ask
    events: list[Any] = []
    seen: dict[str, Any] = {}
    try:
        key = (await ask(api.start_user_data_stream)).listen_key
        (await streams.user_data(key)).on("message", events.append)
        for name in (
            "aggregate_trade_streams",
            "mark_price_stream",
            "individual_symbol_book_ticker_streams",
            "individual_symbol_mini_ticker_stream",
            "diff_book_depth_streams",
        ):
            handle = await getattr(streams, name)(symbol=PAIR)
            handle.on("message", lambda message, name=name: seen.setdefault(name, message))
        candles = await streams.kline_candlestick_streams(symbol=PAIR, interval="1m")
        candles.on("message", lambda message: seen.setdefault("kline", message))
        await ask(api.order_book, PAIR)
        ticker = await asyncio.to_thread(sdk.rest_api.symbol_order_book_ticker, PAIR)
        price = round(float(ticker.data().actual_instance.bid_price) * 0.98, 1)
        await ask(api.new_order, PAIR, "BUY", "MARKET", quantity=0.01)
        await ask(
            api.new_order,
            PAIR,
            "BUY",
            "LIMIT",
            time_in_force="GTC",
            quantity=0.01,
            price=price,
            new_client_order_id="ws-1",
        )
        await ask(api.modify_order, PAIR, "BUY", 0.02, price, orig_client_order_id="ws-1")
        await ask(api.query_order, PAIR, orig_client_order_id="ws-1")
        await ask(api.cancel_order, PAIR, orig_client_order_id="ws-1")
        for call in (
            api.account_information,
            api.account_information_v2,
            api.futures_account_balance,
            api.futures_account_balance_v2,
            api.position_information,
            api.position_information_v2,
            api.keepalive_user_data_stream,
        ):
            await ask(call)
        await ask(api.symbol_order_book_ticker, PAIR)
        await ask(api.symbol_price_ticker, PAIR)
        await until(events, 6)
        await until(seen, 6)
    finally:
        await api.close_connection()
        await streams.close_connection()
    assert len(answers.models) >= 14
    told = [(event_model(each), each.actual_instance) for each in events]
    orders = [(event.o.x, event.o.X) for name, event in told if name == "OrderTradeUpdate"]
    assert orders == [
        ("NEW", "NEW"),
        ("TRADE", "FILLED"),
        ("NEW", "NEW"),
        ("AMENDMENT", "NEW"),
        ("CANCELED", "CANCELED"),
    ]
    assert [name for name, _ in told].count("AccountUpdate") == 1
    assert seen["kline"].e == "kline"


async def test_spot_streams(access: SimulatedAccess) -> None:
    """Market streams of spot parse into the SDK's models."""
    streams = await spot(access).websocket_streams.create_connection()
    seen: dict[str, Any] = {}
    try:
        for name in ("trade", "agg_trade", "book_ticker", "mini_ticker"):
            handle = await getattr(streams, name)(symbol="btcusdt")
            handle.on("message", lambda message, name=name: seen.setdefault(name, message))
        depth = await streams.diff_book_depth(symbol="btcusdt", update_speed="100ms")
        depth.on("message", lambda message: seen.setdefault("depth", message))
        candles = await streams.kline(symbol="btcusdt", interval="1m")
        candles.on("message", lambda message: seen.setdefault("kline", message))
        await until(seen, 6)
    finally:
        await streams.close_connection()
    assert {name: type(message).__name__ for name, message in seen.items()} == {
        "trade": "TradeResponse",
        "agg_trade": "AggTradeResponse",
        "book_ticker": "BookTickerResponse",
        "mini_ticker": "MiniTickerResponse",
        "depth": "DiffBookDepthResponse",
        "kline": "KlineResponse",
    }
