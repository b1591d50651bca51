"""The spot desk: what is filled, locked, refused, and that nothing appears or vanishes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.simulated.spot_request import parse_spot_order
from daemon.simulated.venue_errors import VenueError
from kernels.events import Side
from kernels.units import E8, from_e8
from tests.fakes.spot_floor import ASK, BID, NOW_MS, OPENING_QUOTE_E8, SHOWN, Floor, price


def test_market_purchase_walks_the_levels_and_pays_in_base() -> None:
    """One coin shown a level: 1.5 of them cost the first whole and half the second."""
    floor = Floor()
    order = floor.place("BUY", "MARKET", quantity="1.5")
    holdings = floor.venue.holdings
    paid_e8 = (ASK * 100_000 + (ASK + 1) * 50_000) * 10
    assert (order.status, order.filled_quote_e8) == ("FILLED", paid_e8)
    assert holdings.free_e8 == {
        "USDT": OPENING_QUOTE_E8 - paid_e8,
        "BTC": 150_000_000 * 999 // 1000,
    }
    assert [e["x"] for e in floor.events if e["e"] == "executionReport"] == [
        "NEW",
        "TRADE",
        "TRADE",
    ]


def test_what_was_taken_is_not_bought_again() -> None:
    """A second purchase is judged and filled against what the first has left."""
    floor = Floor()
    floor.place("BUY", "MARKET", quantity="0.9")
    order = floor.place("BUY", "MARKET", quoteOrderQty="12000")
    assert [fill.price_ticks for fill in order.fills] == [ASK, ASK + 1]
    assert 11_999 * E8 < order.filled_quote_e8 <= 12_000 * E8


def test_resting_order_locks_and_a_better_fill_gives_back() -> None:
    """A limit above the touch is locked at its limit and pays the touch."""
    floor = Floor()
    holdings = floor.venue.holdings
    order = floor.place("BUY", "LIMIT", quantity="1.2", price=price(ASK), newClientOrderId="a")
    assert (order.status, order.filled_lots) == ("PARTIALLY_FILLED", SHOWN)
    assert holdings.locked_e8["USDT"] == 20_000 * ASK * 10
    floor.trade(ASK, 20_000, Side.SELL)
    assert order.status == "FILLED"
    assert order.fills[-1].is_maker
    assert holdings.locked_e8["USDT"] == 0
    crossing = floor.place("BUY", "LIMIT", quantity="0.1", price=price(ASK + 9))
    assert crossing.filled_quote_e8 == 10_000 * (ASK + 1) * 10
    assert holdings.locked_e8["USDT"] == 0


STOP = {"quantity": "1", "stopPrice": price(ASK + 500)}


@pytest.mark.parametrize(
    ("side", "kind", "parameters", "code", "words"),
    [
        ("BUY", "LIMIT", {"quantity": "2", "price": price(BID)}, -2010, "insufficient"),
        ("BUY", "MARKET", {"quantity": "1.7"}, -2010, "insufficient"),
        ("SELL", "MARKET", {"quantity": "0.1"}, -2010, "insufficient"),
        ("BUY", "LIMIT_MAKER", {"quantity": "0.1", "price": price(ASK)}, -2010, "immediately"),
        ("BUY", "LIMIT", {"quantity": "0.00001", "price": price(BID)}, -1013, "NOTIONAL"),
        ("BUY", "MARKET", {"quoteOrderQty": "4"}, -1013, "NOTIONAL"),
        ("BUY", "LIMIT", {"quantity": "0.1", "price": price(BID // 6)}, -1013, "PERCENT"),
        ("SELL", "LIMIT", {"quantity": "0.1", "price": price(ASK * 6)}, -1013, "PERCENT"),
        ("BUY", "LIMIT", {"quantity": "0.000001", "price": price(BID)}, -1013, "LOT_SIZE"),
        ("BUY", "LIMIT", {"quantity": "1", "price": "60000.001"}, -1013, "PRICE_FILTER"),
        ("BUY", "LIMIT", {"quantity": "1", "price": "60000.000000001"}, -1111, "precision"),
        ("BUY", "MARKET", {"quantity": "1", "price": price(ASK)}, -1106, "price"),
        ("BUY", "MARKET", {}, -1128, "Combination"),
        ("BUY", "OCO", {"quantity": "1"}, -1116, "orderType"),
        ("BUY", "STOP_LOSS", {"quantity": "1"}, -1102, "stopPrice"),
        ("BUY", "STOP_LOSS", {"quantity": "1", "trailingDelta": "9"}, -2010, "Trailing"),
        ("BUY", "STOP_LOSS", {"stopPrice": price(ASK + 9)}, -1102, "quantity"),
        ("BUY", "STOP_LOSS", {**STOP, "price": price(ASK)}, -1106, "price"),
        ("BUY", "STOP_LOSS", {**STOP, "timeInForce": "GTC"}, -1106, "timeInForce"),
        ("BUY", "STOP_LOSS", {**STOP, "quoteOrderQty": "9"}, -1106, "quoteOrderQty"),
        ("BUY", "STOP_LOSS", {**STOP, "stopPrice": "60000.001"}, -1013, "PRICE_FILTER"),
        ("BUY", "STOP_LOSS", {**STOP, "quantity": "0.00001"}, -1013, "NOTIONAL"),
        ("BUY", "STOP_LOSS", {**STOP, "quantity": "2"}, -2010, "insufficient"),
        ("SELL", "TAKE_PROFIT", STOP, -2010, "insufficient"),
        ("BUY", "STOP_LOSS", {**STOP, "stopPrice": price(BID)}, -2010, "Stop price would trigger"),
        ("SELL", "STOP_LOSS", STOP, -2010, "Stop price would trigger"),
        ("BUY", "TAKE_PROFIT", STOP, -2010, "Stop price would trigger"),
        ("BUY", "STOP_LOSS_LIMIT", {**STOP, "price": price(ASK)}, -1102, "timeInForce"),
        ("BUY", "STOP_LOSS_LIMIT", {**STOP, "timeInForce": "GTC"}, -1102, "'price'"),
        ("BUY", "LIMIT", {"quantity": "1", "price": price(BID), **STOP}, -1106, "stopPrice"),
        ("BUY", "MARKET", STOP, -1106, "stopPrice"),
        ("HOLD", "MARKET", {"quantity": "1"}, -1117, "side"),
    ],
)
def test_refusals_leave_no_trace(
    side: str, kind: str, parameters: dict[str, str], code: int, words: str
) -> None:
    """Each refusal has its code; balances, orders and the user stream stay as they were."""
    floor = Floor()
    with pytest.raises(VenueError, match=words) as caught:
        floor.place(side, kind, **parameters)
    assert caught.value.code == code
    assert floor.events == []
    assert list(floor.venue.desk.orders()) == []
    assert floor.venue.holdings.free_e8["USDT"] == OPENING_QUOTE_E8


def test_client_id_is_free_again_once_its_order_has_ended() -> None:
    """A working order's id is refused; afterwards the id names the newer order."""
    floor = Floor()
    desk = floor.venue.desk
    terms = {"quantity": "0.1", "price": price(BID - 5), "newClientOrderId": "same"}
    first = floor.place("BUY", "LIMIT", **terms)
    with pytest.raises(VenueError, match="Duplicate"):
        floor.place("BUY", "LIMIT", **terms)
    desk.cancel(first, "by-me", NOW_MS)
    report = [e for e in floor.events if e["e"] == "executionReport"][-1]
    assert (report["x"], report["c"], report["C"]) == ("CANCELED", "by-me", "same")
    second = floor.place("BUY", "LIMIT", **terms)
    assert desk.find(0, 0, "same") is second
    assert desk.find(0, first.order_id, "") is first
    with pytest.raises(VenueError, match="Unknown order"):
        desk.cancel(first, "again", NOW_MS)


def test_own_orders_do_not_trade_with_each_other() -> None:
    """An order that reaches one of ours expires in match, and what it locked is free again."""
    floor = Floor()
    floor.place("BUY", "MARKET", quantity="0.1")
    resting = floor.place("SELL", "LIMIT", quantity="0.05", price=price(ASK))
    taker = floor.place("BUY", "LIMIT", quantity="1", price=price(ASK))
    assert (taker.status, resting.status) == ("EXPIRED_IN_MATCH", "NEW")
    assert floor.venue.holdings.locked_e8["USDT"] == 0


NUMBERS = st.sampled_from(["0", "1", "0.1", "-1", "1e5", "9" * 20, "0.00000001", "NaN", "", "٣"])
WORDS = st.text(max_size=6) | st.sampled_from(
    ["BUY", "SELL", "LIMIT", "MARKET", "STOP_LOSS", "TAKE_PROFIT_LIMIT", "GTC", "BTCUSDT"]
)


@settings(max_examples=300, deadline=None)
@given(
    terms=st.fixed_dictionaries(
        {"symbol": st.just("BTCUSDT") | WORDS, "side": WORDS, "type": WORDS},
        optional={
            "timeInForce": WORDS,
            "price": NUMBERS | WORDS,
            "quantity": NUMBERS | WORDS,
            "quoteOrderQty": NUMBERS,
            "stopPrice": NUMBERS,
            "newClientOrderId": st.text(max_size=40),
            "newOrderRespType": WORDS,
        },
    )
)
def test_any_order_is_placed_or_refused(terms: dict[str, str]) -> None:
    """Whatever the parameters say, the desk takes them or names what is wrong with them."""
    floor = Floor()
    try:
        request = parse_spot_order(terms, floor.venue.instruments, "generated")
        floor.venue.desk.place(request, NOW_MS)
    except VenueError as error:
        assert error.code < 0  # noqa: PT017 - both ends are right, which one depends on the input
        assert floor.events == []


orders = st.tuples(
    st.sampled_from(["BUY", "SELL"]),
    st.sampled_from(
        [
            *("LIMIT", "IOC", "FOK", "LIMIT_MAKER", "MARKET", "SPEND", "TRADE", "CANCEL"),
            *("STOP_LOSS", "TAKE_PROFIT", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"),
        ]
    ),
    st.integers(-12, 12),
    st.integers(1, 150_000),
)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(orders, max_size=25))
def test_balances_are_conserved(steps: list[tuple[str, str, int, int]]) -> None:
    """After any script: opening plus fills minus fees, locks equal the working orders' needs."""
    floor = Floor()
    desk, holdings = floor.venue.desk, floor.venue.holdings
    for side, kind, offset, lots in steps:
        quantity = from_e8(lots * 1_000)
        limit = price(BID + offset)
        try:
            match kind:
                case "TRADE":
                    floor.trade(BID + offset, lots, Side.BUY if side == "BUY" else Side.SELL)
                case "CANCEL":
                    for order in desk.working_orders()[:1]:
                        desk.cancel(order, "c", NOW_MS)
                case "MARKET":
                    floor.place(side, kind, quantity=quantity)
                case "STOP_LOSS" | "TAKE_PROFIT":
                    floor.place(side, kind, quantity=quantity, stopPrice=limit)
                case "STOP_LOSS_LIMIT" | "TAKE_PROFIT_LIMIT":
                    terms = {"stopPrice": limit, "price": price(BID - offset)}
                    floor.place(side, kind, quantity=quantity, timeInForce="GTC", **terms)
                case "SPEND":
                    floor.place(side, "MARKET", quoteOrderQty=from_e8(lots * E8 // 10))
                case "LIMIT_MAKER":
                    floor.place(side, kind, quantity=quantity, price=limit)
                case _:
                    time = "GTC" if kind == "LIMIT" else kind
                    floor.place(side, "LIMIT", quantity=quantity, price=limit, timeInForce=time)
        except VenueError as error:
            assert error.code in (-2010, -1013)  # noqa: PT017 - the fuzz may be refused at any step
    expected = {"USDT": OPENING_QUOTE_E8, "BTC": 0}
    for fill in desk.fills:
        sign = 1 if fill.is_buy else -1
        expected["BTC"] += sign * fill.quantity_lots * 1_000
        expected["USDT"] -= sign * fill.quote_e8
        expected[fill.fee_asset] -= fill.fee_e8
    needs = {"USDT": 0, "BTC": 0}
    for order in desk.working_orders():
        if order.request.side is Side.BUY:
            needs["USDT"] += order.open_lots * order.lock_ticks * 10
        else:
            needs["BTC"] += order.open_lots * 1_000
    assert holdings.locked_e8 == needs
    assert {a: holdings.free_e8[a] + needs[a] for a in needs} == expected
    assert min(holdings.free_e8.values()) >= 0
    if floor.events:
        last = {row["a"]: row["f"] for row in floor.events[-1]["B"]}
        assert last == {asset: from_e8(holdings.free_e8[asset]) for asset in last}
