"""Frames become exact events; no bytes whatever raise anything but the typed refusal."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.venues.normalize import (
    MEMO_TEXTS_MAX,
    AccountReport,
    ColdFrame,
    EmptyTrade,
    FrameRefusedError,
    GridMemo,
    Normalizer,
)
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
from kernels.units import Instrument


def _instrument(index: int, base: str, tick_size_e8: int) -> Instrument:
    return Instrument(
        index=index,
        symbol=f"{base}/USDT:USDT",
        venue_id=f"{base}USDT",
        tick_size_e8=tick_size_e8,
        lot_size_e8=100_000,
        lots_min=1,
        lots_max=10**6,
        notional_min_quote_e8=5 * 10**8,
        maker_fee_frac=0.0002,
        taker_fee_frac=0.0005,
    )


BTC = _instrument(0, "BTC", 10_000_000)
ETH = _instrument(1, "ETH", 1_000_000)
NORMALIZER = Normalizer((BTC, ETH))
RECEIVED_NS = 1_723_161_256_400_000_000

QUOTE: dict[str, Any] = {
    "e": "bookTicker",
    "u": 7,
    "s": "BTCUSDT",
    "b": "61800.20",
    "B": "2.507",
    "a": "61800.30",
    "A": "2.510",
    "T": 1723161256313,
    "E": 1723161256313,
}
TRADE: dict[str, Any] = {
    "e": "trade",
    "E": 1723161256322,
    "T": 1723161256322,
    "s": "ETHUSDT",
    "t": 11,
    "p": "2650.01",
    "q": "0.006",
    "X": "MARKET",
    "m": True,
}
DEPTH: dict[str, Any] = {
    "e": "depthUpdate",
    "E": 1723161256299,
    "T": 1723161256298,
    "s": "BTCUSDT",
    "U": 5,
    "u": 9,
    "pu": 4,
    "b": [["61800.20", "0.014"], ["61510.90", "0.000"]],
    "a": [],
}
MARK: dict[str, Any] = {
    "e": "markPriceUpdate",
    "E": 1723161256299,
    "s": "BTCUSDT",
    "p": "61800.15000000",
    "i": "61801.1",
    "P": "61802.2",
    "r": "-0.00012500",
    "T": 1723161600000,
}
ORDER: dict[str, Any] = {
    "e": "ORDER_TRADE_UPDATE",
    "E": 1723161256300,
    "T": 1723161256299,
    "o": {
        "s": "BTCUSDT",
        "c": "me-run-1",
        "S": "SELL",
        "o": "LIMIT",
        "f": "IOC",
        "q": "0.010",
        "p": "61800.0",
        "x": "TRADE",
        "X": "PARTIALLY_FILLED",
        "i": 99,
        "l": "0.004",
        "z": "0.006",
        "L": "61800.2",
        "N": "USDT",
        "n": "0.12360040",
        "t": 1234,
        "m": False,
    },
}
ACCOUNT: dict[str, Any] = {
    "e": "ACCOUNT_UPDATE",
    "E": 1723161256300,
    "T": 1723161256299,
    "a": {
        "m": "FUNDING_FEE",
        "B": [
            {"a": "BNB", "wb": "9", "cw": "9", "bc": "9"},
            {"a": "USDT", "wb": "100000.5", "cw": "1", "bc": "-0.25"},
        ],
        "P": [{"s": "ETHUSDT", "pa": "-0.005", "ps": "BOTH"}, {"s": "XRPUSDT", "pa": "1"}],
    },
}


def _text(words: dict[str, Any]) -> str:
    return json.dumps(words, separators=(",", ":"))


def test_quote_is_exact() -> None:
    """Best bid and ask become ticks, lots and nanoseconds."""
    assert NORMALIZER.market(_text(QUOTE), RECEIVED_NS) == Quote(
        instrument=0,
        event_ns=1_723_161_256_313_000_000,
        received_ns=RECEIVED_NS,
        update_id=7,
        bid_ticks=618_002,
        bid_lots=2507,
        ask_ticks=618_003,
        ask_lots=2510,
    )


@pytest.mark.parametrize(("buyer_is_maker", "aggressor"), [(True, Side.SELL), (False, Side.BUY)])
def test_trade_names_the_taker(buyer_is_maker: bool, aggressor: Side) -> None:
    """The aggressor is the side that did not rest."""
    trade = NORMALIZER.market(_text(TRADE | {"m": buyer_is_maker}), RECEIVED_NS)
    assert isinstance(trade, Trade)
    assert (trade.instrument, trade.price_ticks, trade.quantity_lots) == (1, 265_001, 6)
    assert trade.aggressor is aggressor


def test_empty_trade_keeps_its_id() -> None:
    """A record without a print still uses up a trade id."""
    empty = TRADE | {"p": "0", "q": "0", "X": "NA"}
    assert NORMALIZER.market(_text(empty), 0) == EmptyTrade(instrument=1, trade_id=11)


def test_depth_levels() -> None:
    """Both sides become integer rows; an empty side has none."""
    diff = NORMALIZER.market(_text(DEPTH).encode(), RECEIVED_NS)
    assert isinstance(diff, DepthDiff)
    assert diff.bid_levels_n2.tolist() == [[618_002, 14], [615_109, 0]]
    assert diff.ask_levels_n2.shape == (0, 2)
    assert (diff.first_update_id, diff.last_update_id, diff.previous_update_id) == (5, 9, 4)


@pytest.mark.parametrize(
    ("price", "ticks"),
    [("61800.15000000", 618_002), ("61800.14999999", 618_001), ("61800", 618_000)],
)
def test_mark_rounds_to_the_nearest_tick(price: str, ticks: int) -> None:
    """A mark between two ticks goes to the nearer one; funding keeps its sign."""
    mark = NORMALIZER.market(_text(MARK | {"p": price}), RECEIVED_NS)
    assert isinstance(mark, MarkPrice)
    assert mark.mark_ticks == ticks
    assert mark.funding_rate_frac == -0.000125


def test_snapshot_equals_its_levels() -> None:
    """A REST answer as ccxt parsed it becomes a snapshot."""
    answer = {"lastUpdateId": 3, "E": 5, "bids": [["61800.2", "1.5"]], "asks": [["61800.3", "2"]]}
    snapshot = NORMALIZER.snapshot(answer, "BTCUSDT", RECEIVED_NS)
    assert snapshot.last_update_id == 3
    assert snapshot.bid_levels_n2.tolist() == [[618_002, 1500]]
    assert snapshot.ask_levels_n2.tolist() == [[618_003, 2000]]


@pytest.mark.parametrize("answer", [None, "text", [], {"lastUpdateId": 1}, {"lastUpdateId": "x"}])
def test_snapshot_refuses_what_is_no_book(answer: object) -> None:
    """An answer without a book is refused, whatever it is."""
    with pytest.raises(FrameRefusedError):
        NORMALIZER.snapshot(answer, "BTCUSDT", 0)


def test_order_update_and_fill() -> None:
    """An execution gives the update and then the fill, with the fee in quote."""
    update, fill = _user_events(ORDER)
    assert isinstance(update, OrderUpdate)
    assert isinstance(fill, Fill)
    assert (update.status, update.filled_lots) == (OrderStatus.PARTIALLY_FILLED, 6)
    assert (fill.side, fill.price_ticks, fill.quantity_lots) == (Side.SELL, 618_002, 4)
    assert (fill.fee_quote_e8, fill.trade_id, fill.is_maker) == (12_360_040, 1234, False)


def test_fee_in_another_asset_is_charged_at_the_instruments_rate() -> None:
    """A fee paid in a discount token is estimated, never left out."""
    _, fill = _user_events(ORDER | {"o": ORDER["o"] | {"N": "BNB", "n": "0.0002"}})
    assert isinstance(fill, Fill)
    assert fill.fee_quote_e8 == round(61800.2 * 0.004 * 0.0005 * 1e8)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("NEW", OrderStatus.WORKING),
        ("FILLED", OrderStatus.FILLED),
        ("CANCELED", OrderStatus.CANCELLED),
        ("EXPIRED", OrderStatus.EXPIRED),
        ("EXPIRED_IN_MATCH", OrderStatus.EXPIRED),
    ],
)
def test_order_statuses(word: str, status: OrderStatus) -> None:
    """Each venue status has one meaning; without an execution there is no fill."""
    events = _user_events(ORDER | {"o": ORDER["o"] | {"x": "NEW", "X": word, "l": "0"}})
    assert len(events) == 1
    assert isinstance(events[0], OrderUpdate)
    assert events[0].status is status


def test_account_report() -> None:
    """Wallet, its change and our positions are read; other assets and symbols are left."""
    assert _user_events(ACCOUNT) == (
        AccountReport(
            event_ns=1_723_161_256_300_000_000,
            received_ns=RECEIVED_NS,
            reason="FUNDING_FEE",
            wallet_quote_e8=10_000_050_000_000,
            change_quote_e8=-25_000_000,
            positions=((1, -5),),
        ),
    )


def test_hedge_mode_is_refused() -> None:
    """A position with a side of its own would be netted wrongly, so it is refused."""
    account = json.loads(_text(ACCOUNT))
    account["a"]["P"][0]["ps"] = "LONG"
    with pytest.raises(FrameRefusedError, match="hedge"):
        NORMALIZER.user(_text(account), 0)


def test_other_frames_are_cold() -> None:
    """Answers, unknown events and unknown symbols are not ours, and say what they are."""
    assert NORMALIZER.market('{"result":null,"id":4}', 0) == ColdFrame(event="", request_id=4)
    failed = NORMALIZER.market('{"error":{"code":2,"msg":"no"},"id":4}', 0)
    assert failed == ColdFrame(event="", request_id=4, is_error=True)
    down = NORMALIZER.market('{"e":"serverShutdown","E":1}', 0)
    assert down == ColdFrame(event="serverShutdown", request_id=None)
    expired = NORMALIZER.user('{"e":"listenKeyExpired","E":1,"listenKey":"x"}', 0)
    assert expired == ColdFrame(event="listenKeyExpired", request_id=None)
    assert isinstance(NORMALIZER.market(_text(QUOTE | {"s": "XRPUSDT"}), 0), ColdFrame)
    assert NORMALIZER.user(_text(ORDER | {"o": ORDER["o"] | {"s": "XRPUSDT"}}), 0) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"b": "61800.25"},
        {"b": "-1"},
        {"b": "nan"},
        {"b": 61800.2},
        {"b": "1e5"},
        {"B": "0.0001"},
        {"b": "9" * 5000},
        {"u": -1},
        {"u": 10**30},
        {"E": 10**14},
        {"s": None},
    ],
)
def test_damaged_quotes_are_refused(change: dict[str, Any]) -> None:
    """Off-grid, negative, unparsable or oversized fields are refused, never rounded."""
    with pytest.raises(FrameRefusedError) as refusal:
        NORMALIZER.market(_text(QUOTE | change), 0)
    assert len(refusal.value.reason) <= 200


def _user_events(words: dict[str, Any]) -> tuple[OrderUpdate | Fill | AccountReport, ...]:
    events = NORMALIZER.user(_text(words), RECEIVED_NS)
    assert isinstance(events, tuple)
    return events


_SEEDS = [_text(words).encode() for words in (QUOTE, TRADE, DEPTH, MARK, ORDER, ACCOUNT)]
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12), st.just("1" * 5000)
)
_JSON = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)


def _read_all(frame: bytes) -> None:
    for read in (NORMALIZER.market, NORMALIZER.user):
        for text in (frame, frame.decode("latin-1")):
            with contextlib.suppress(FrameRefusedError):
                read(text, 0)


@settings(max_examples=300, deadline=None)
@given(frame=st.binary(max_size=200))
def test_random_bytes(frame: bytes) -> None:
    """Bytes from nowhere raise the typed refusal or nothing."""
    _read_all(frame)


@settings(max_examples=300, deadline=None)
@given(
    seed=st.sampled_from(_SEEDS),
    edits=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.integers(0, 500),
)
def test_damaged_frames(seed: bytes, edits: list[tuple[int, int]], cut: int) -> None:
    """Valid frames with flipped bytes or cut short raise the typed refusal or nothing."""
    frame = bytearray(seed)
    for at, byte in edits:
        frame[at % len(frame)] = byte
    _read_all(bytes(frame))
    _read_all(seed[:cut])


@settings(max_examples=300, deadline=None)
@given(seed=st.sampled_from(_SEEDS), inside=st.booleans(), field=st.integers(0, 20), value=_JSON)
def test_any_value_in_any_field(seed: bytes, inside: bool, field: int, value: object) -> None:
    """Any JSON value in any field, of the order inside too, raises the typed refusal or nothing."""
    words = json.loads(seed)
    target = words["o"] if inside and "o" in words else words
    names = list(target)
    target[names[field % len(names)]] = value
    _read_all(json.dumps(words).encode())


@settings(max_examples=100, deadline=None)
@given(answer=_JSON)
def test_any_snapshot_answer(answer: object) -> None:
    """Any JSON value as a snapshot raises the typed refusal."""
    with pytest.raises(FrameRefusedError):
        NORMALIZER.snapshot(answer, "BTCUSDT", 0)


def test_deep_nesting_is_refused() -> None:
    """A frame nested beyond any stack is refused like any other."""
    _read_all(b'{"e":"depthUpdate","b":' + b"[" * 100_000)


def test_memo_is_bounded_and_exact() -> None:
    """The memo forgets before it grows without end, and never remembers a refusal."""
    memo = GridMemo(BTC.price_ticks, BTC.tick_size_e8)
    for ticks in range(MEMO_TEXTS_MAX + 10):
        assert memo[BTC.price_text(ticks) or "0"] == ticks
    assert len(memo) <= MEMO_TEXTS_MAX
    with pytest.raises(ValueError, match="multiple"):
        memo["0.05"]
    assert "0.05" not in memo


@settings(max_examples=100, deadline=None)
@given(
    bid=st.integers(0, 10**9),
    ask=st.integers(0, 10**9),
    bid_lots=st.integers(0, 10**9),
    ask_lots=st.integers(0, 10**9),
)
def test_quotes_round_trip(bid: int, ask: int, bid_lots: int, ask_lots: int) -> None:
    """Whatever is printed on the grid is read back as the same integers."""
    words = QUOTE | {
        "b": f"{bid // 10}.{bid % 10}0",
        "a": f"{ask // 10}.{ask % 10}",
        "B": f"{bid_lots // 1000}.{bid_lots % 1000:03d}",
        "A": f"{ask_lots // 1000}.{ask_lots % 1000:03d}",
    }
    quote = NORMALIZER.market(_text(words), 0)
    assert isinstance(quote, Quote)
    assert (quote.bid_ticks, quote.ask_ticks) == (bid, ask)
    assert (quote.bid_lots, quote.ask_lots) == (bid_lots, ask_lots)


def test_depth_arrays_are_int64() -> None:
    """The engine's kernels are compiled for int64 rows."""
    diff = NORMALIZER.market(_text(DEPTH), 0)
    assert isinstance(diff, DepthDiff)
    assert diff.bid_levels_n2.dtype == diff.ask_levels_n2.dtype == np.int64
