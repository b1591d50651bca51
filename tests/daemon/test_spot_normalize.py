"""Spot's frames: what is the same as on USD-M, and what spot says in its own way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.venues.normalize import AccountReport, ColdFrame, EmptyTrade, FrameRefusedError
from daemon.venues.spot_normalize import SpotNormalizer
from kernels.events import (
    DepthDiff,
    Fill,
    MarkPrice,
    OrderStatus,
    OrderUpdate,
    Quote,
    Side,
    Trade,
)
from tests.fakes.recording import spot_btc

RECEIVED_NS = 1_723_161_255_030_314_667
NORMALIZER = SpotNormalizer((spot_btc(),))
TICKER = {"u": 7, "s": "BTCUSDT", "b": "60000.01", "B": "1.00000", "a": "60000.02", "A": "2"}
TRADE = {"e": "trade", "E": 1700000000000, "s": "BTCUSDT", "t": 5, "p": "60000.01", "q": "0.00002"}
TRADE |= {"T": 1700000000000, "m": True, "M": True}
DEPTH: dict[str, Any] = {"e": "depthUpdate", "E": 1700000000000, "s": "BTCUSDT", "U": 11, "u": 15}
DEPTH |= {"b": [["60000.01", "1.5"]], "a": []}
REPORT: dict[str, Any] = {"e": "executionReport", "E": 1700000000000, "s": "BTCUSDT", "c": "me-1"}
REPORT |= {"S": "BUY", "x": "NEW", "X": "NEW", "i": 9, "z": "0.00000", "C": "", "r": "NONE"}
REPORT |= {"l": "0", "L": "0", "n": "0", "N": None, "t": -1, "m": False}


def market(words: object) -> object:
    """Read a market frame."""
    return NORMALIZER.market(json.dumps(words, separators=(",", ":")), RECEIVED_NS)


def user(**words: object) -> Any:
    """Read a wrapped event of the account."""
    return NORMALIZER.user(json.dumps({"subscriptionId": 0, "event": words}), RECEIVED_NS)


def fill(**words: object) -> Fill:
    """Read the fill out of a report of a trade of 0.5 BTC at 60,000.00."""
    trade = {"x": "TRADE", "X": "FILLED", "l": "0.50000", "L": "60000.00", "z": "0.50000", "t": 3}
    _, found = user(**(REPORT | trade | words))
    assert isinstance(found, Fill)
    return found


def test_best_bid_and_ask_have_no_time_of_the_venue() -> None:
    """The quote is stamped with its receipt on both sides, whatever the order of its fields."""
    for words in (TICKER, dict(reversed(TICKER.items()))):
        quote = market(words)
        assert isinstance(quote, Quote)
        assert quote.event_ns == quote.received_ns == RECEIVED_NS
        assert (quote.update_id, quote.bid_ticks, quote.ask_ticks) == (7, 6_000_001, 6_000_002)
        assert (quote.bid_lots, quote.ask_lots) == (100_000, 200_000)


def test_depth_continues_right_after_the_id_before() -> None:
    """Without pu the update before is the one that ends where this one begins."""
    for words in (DEPTH, dict(reversed(DEPTH.items()))):
        diff = market(words)
        assert isinstance(diff, DepthDiff)
        assert (diff.first_update_id, diff.last_update_id, diff.previous_update_id) == (11, 15, 10)
        assert diff.event_ns == 1_700_000_000_000_000_000
        assert diff.bid_levels_n2.tolist() == [[6_000_001, 150_000]]


def test_a_trade_reads_as_on_usdm() -> None:
    """The buyer was the maker, so the taker sold."""
    trade = market(TRADE)
    assert isinstance(trade, Trade)
    assert (trade.trade_id, trade.quantity_lots, trade.aggressor) == (5, 2, Side.SELL)


def test_orders_from_before_the_lot_grew_are_rounded_in_books_alone() -> None:
    """A level or print between two lots becomes the nearest, at least one; an order of ours never.

    Such levels are in the recording of 8 August 2024.
    """
    diff = market(DEPTH | {"a": [["200000.00", "25.42618900"], ["200000.01", "0.00000100"]]})
    assert isinstance(diff, DepthDiff)
    assert diff.ask_levels_n2[:, 1].tolist() == [2_542_619, 1]
    trade = market(TRADE | {"q": "0.00000400"})
    assert isinstance(trade, Trade)
    assert trade.quantity_lots == 1
    assert isinstance(market(TRADE | {"q": "0.00000000"}), EmptyTrade)
    with pytest.raises(FrameRefusedError, match="executionReport"):
        user(**(REPORT | {"z": "0.00000400"}))


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (TICKER | {"b": "60000.001"}, "bookTicker"),
        (TICKER | {"u": -1}, "bookTicker"),
        (TRADE | {"p": "-1"}, "trade"),
        (DEPTH | {"b": [["60000.001", "1"]]}, "depthUpdate"),
        (DEPTH | {"U": "eleven"}, "depthUpdate"),
        ({"s": "BTCUSDT"}, "frame"),
        ([], "frame"),
    ],
)
def test_what_cannot_be_read_is_refused(words: object, kind: str) -> None:
    """Off the grid, negative, of the wrong type or nothing at all: a refusal names the kind."""
    with pytest.raises(FrameRefusedError) as refused:
        market(words)
    assert refused.value.kind == kind


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, 10_000), byte=st.integers(0, 255), which=st.sampled_from([0, 1, 2]))
def test_one_changed_byte_is_refused_or_an_event(at: int, byte: int, which: int) -> None:
    """Damage never raises anything else, whatever frame it strikes."""
    text = bytearray(json.dumps((TICKER, TRADE, DEPTH)[which], separators=(",", ":")).encode())
    text[at % len(text)] = byte
    try:
        event = NORMALIZER.market(bytes(text), RECEIVED_NS)
    except FrameRefusedError:
        return
    assert isinstance(event, Quote | Trade | DepthDiff | EmptyTrade | ColdFrame)
    assert not isinstance(event, MarkPrice)


def test_other_pairs_and_answers_are_cold() -> None:
    """What is no event of ours is said to be so, with the id of the request it answers."""
    assert isinstance(market(TICKER | {"s": "ETHUSDT"}), ColdFrame)
    assert isinstance(market(DEPTH | {"s": "ETHUSDT"}), ColdFrame)
    answer = market({"result": None, "id": 4})
    assert answer == ColdFrame(event="", request_id=4)
    refusal = NORMALIZER.user('{"id":2,"status":400,"error":{"code":-1022}}', RECEIVED_NS)
    assert refusal == ColdFrame(event="", request_id=2, is_error=True)


def test_an_order_is_told_under_its_own_name() -> None:
    """The report of a cancellation carries the cancellation's id as c and the order's as C."""
    (update,) = user(**REPORT)
    assert isinstance(update, OrderUpdate)
    assert (update.client_order_id, update.status) == ("me-1", OrderStatus.WORKING)
    cancelled = REPORT | {"x": "CANCELED", "X": "CANCELED", "c": "cancel-7", "C": "me-1"}
    (update,) = user(**cancelled)
    assert (update.client_order_id, update.status) == ("me-1", OrderStatus.CANCELLED)
    (update,) = user(**(REPORT | {"x": "REJECTED", "X": "REJECTED", "r": "INSUFFICIENT_BALANCES"}))
    assert (update.status, update.reason) == (
        OrderStatus.REJECTED,
        "rejected INSUFFICIENT_BALANCES",
    )
    assert user(**(REPORT | {"s": "ETHUSDT"})) == ()
    with pytest.raises(FrameRefusedError, match="unknown order status"):
        user(**(REPORT | {"X": "DREAMT"}))


@pytest.mark.parametrize(
    ("commission", "asset", "fee_quote_e8"),
    [
        ("30.00000000", "USDT", 30_00000000),
        ("0.00050000", "BTC", 30_00000000),
        ("0.00000001", "BTC", 60_000),
        ("0.03000000", "BNB", 30_00000000),  # the pair's own rate of 10 bps stands in
    ],
)
def test_a_fee_becomes_quote(commission: str, asset: str, fee_quote_e8: int) -> None:
    """Paid in quote it is itself, in base it is worth the fill's price, in a token the rate."""
    found = fill(n=commission, N=asset)
    assert found.fee_quote_e8 == fee_quote_e8
    assert (found.price_ticks, found.quantity_lots, found.side) == (6_000_000, 50_000, Side.BUY)


def test_balances_are_told_whole() -> None:
    """Free and locked count together; a share of a lot is no position; other assets are no news."""
    rows = [
        {"a": "USDT", "f": "100.50000000", "l": "20.00000000"},
        {"a": "BTC", "f": "0.49999999", "l": "0.10000000"},
        {"a": "DOGE", "f": "9", "l": "0"},
    ]
    (report,) = user(e="outboundAccountPosition", E=1700000000000, u=1, B=rows)
    assert isinstance(report, AccountReport)
    assert report.wallet_quote_e8 == 120_50000000
    assert report.positions == ((0, 59_999),)
    (report,) = user(e="outboundAccountPosition", E=1700000000000, u=1, B=rows[2:])
    assert (report.wallet_quote_e8, report.positions) == (None, ())
    (report,) = user(e="balanceUpdate", E=1700000000000, a="USDT", d="-3.00000000", T=1)
    assert (report.change_quote_e8, report.wallet_quote_e8) == (-3_00000000, None)


def test_the_end_of_the_stream_is_heard() -> None:
    """Wrapped events of other names are cold and keep their names; damage to ours is refused."""
    assert user(e="eventStreamTerminated", E=1) == ColdFrame(
        event="eventStreamTerminated", request_id=None
    )
    with pytest.raises(FrameRefusedError, match="executionReport"):
        user(**(REPORT | {"i": "nine"}))
