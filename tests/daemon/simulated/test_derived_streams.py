"""Derived streams: nothing is lost or invented by merging."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.simulated.derived_streams import DepthWindow, TradeWindow
from daemon.simulated.listings import listed_instruments
from kernels.book import Book
from kernels.events import DepthDiff, Side, Trade
from kernels.units import Instrument

BTC: Instrument = listed_instruments(("BTCUSDT",), maker_fee_bps=0.0, taker_fee_bps=0.0)[0]
NS_PER_MS = 1_000_000
LEVEL = st.tuples(st.integers(1, 20), st.integers(0, 5))
DIFFS = st.lists(
    st.tuples(st.integers(0, 60), st.lists(LEVEL, max_size=4), st.lists(LEVEL, max_size=4)),
    min_size=1,
    max_size=30,
)


def diff_of(number: int, bids: list[tuple[int, int]], asks: list[tuple[int, int]]) -> DepthDiff:
    """Make the ``number``-th change of a chain."""
    return DepthDiff(
        instrument=0,
        event_ns=0,
        received_ns=0,
        first_update_id=10 * number + 5,
        last_update_id=10 * number + 9,
        previous_update_id=10 * number - 1,
        bid_levels_n2=np.array(list(dict(bids).items()), dtype=np.int64).reshape(-1, 2),
        ask_levels_n2=np.array(list(dict(asks).items()), dtype=np.int64).reshape(-1, 2),
    )


def read_back(document: dict[str, Any]) -> DepthDiff:
    """Read a rendered event as a client would."""

    def rows(levels: list[list[str]]) -> Any:
        pairs = [[BTC.price_ticks(price), BTC.quantity_lots(lots)] for price, lots in levels]
        return np.array(pairs, dtype=np.int64).reshape(-1, 2)

    return DepthDiff(
        instrument=0,
        event_ns=0,
        received_ns=0,
        first_update_id=document["U"],
        last_update_id=document["u"],
        previous_update_id=document["pu"],
        bid_levels_n2=rows(document["b"]),
        ask_levels_n2=rows(document["a"]),
    )


@settings(max_examples=60)
@given(steps=DIFFS)
def test_merged_depth_leads_to_the_same_book_with_an_unbroken_chain(steps: Any) -> None:
    """A client of the slow stream ends with the book of the fast one."""
    fast, slow = Book(64), Book(64)
    window = DepthWindow(BTC, 100 * NS_PER_MS)
    documents: list[Any] = []
    market_ns = 0
    for number, (gap_ms, bids, asks) in enumerate(steps):
        market_ns += gap_ms * NS_PER_MS
        documents.append(window.close(market_ns, 1))
        diff = diff_of(number, bids, asks)
        fast.apply(diff)
        window.add(diff, market_ns)
    documents.append(window.close(market_ns + 100 * NS_PER_MS, 1))
    merged = [read_back(document) for document in documents if document is not None]
    assert merged[0].previous_update_id == -1
    for before, after in itertools.pairwise(merged):
        assert after.previous_update_id == before.last_update_id
    for diff in merged:
        slow.apply(diff)
    for side in Side:
        assert slow.levels(side, 64).tolist() == fast.levels(side, 64).tolist()
    assert window.close(market_ns + 10**12, 1) is None


TRADES = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 3), st.integers(1, 9), st.sampled_from(Side)),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60)
@given(steps=TRADES)
def test_aggregated_trades_cover_every_trade_once(steps: Any) -> None:
    """Ids tile the trades, quantities add up, price and side are shared, ids count from one."""
    window = TradeWindow(BTC)
    documents: list[Any] = []
    market_ns = 0
    for number, (gap_ms, price_ticks, lots, side) in enumerate(steps):
        market_ns += gap_ms * NS_PER_MS
        trade = Trade(
            instrument=0,
            event_ns=0,
            received_ns=0,
            trade_id=number,
            price_ticks=price_ticks,
            quantity_lots=lots,
            aggressor=side,
        )
        documents += [window.close(market_ns, 1), window.add(trade, market_ns, 1)]
    documents.append(window.close(market_ns + 100 * NS_PER_MS, 1))
    aggregates = [document for document in documents if document is not None]
    assert [each["a"] for each in aggregates] == list(range(1, len(aggregates) + 1))
    covered = [number for each in aggregates for number in range(each["f"], each["l"] + 1)]
    assert covered == list(range(len(steps)))
    for each in aggregates:
        part = steps[each["f"] : each["l"] + 1]
        assert BTC.quantity_lots(each["q"]) == sum(lots for _, _, lots, _ in part)
        assert {(price, side is Side.SELL) for _, price, _, side in part} == {
            (BTC.price_ticks(each["p"]), each["m"])
        }
        assert sum(gap for gap, _, _, _ in part[1:]) < 100
