"""Errors prove only what the venue documents; anything else leaves an order unknown."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.venues.outcomes import Outcome, classify, read_fill, read_order, to_update
from kernels.events import OrderStatus, Side
from kernels.units import Instrument

BTC = Instrument(
    index=0,
    symbol="BTC/USDT:USDT",
    venue_id="BTCUSDT",
    tick_size_e8=10_000_000,
    lot_size_e8=100_000,
    lots_min=1,
    lots_max=10**6,
    notional_min_quote_e8=5 * 10**8,
    maker_fee_frac=0.0002,
    taker_fee_frac=0.0005,
)

ANSWER: dict[str, Any] = {
    "orderId": 22,
    "symbol": "BTCUSDT",
    "status": "EXPIRED",
    "clientOrderId": "me-run-1",
    "price": "60000.10",
    "avgPrice": "60000.0",
    "origQty": "0.010",
    "executedQty": "0.004",
    "updateTime": 1723161256300,
}


@pytest.mark.parametrize(
    ("http_status", "code", "outcome"),
    [
        (400, -2019, Outcome.REFUSED),  # margin is insufficient
        (400, -1021, Outcome.REFUSED),  # timestamp: a network error to ccxt
        (400, -1013, Outcome.REFUSED),
        (400, -4164, Outcome.REFUSED),
        (400, -5022, Outcome.REFUSED),  # post only would take
        (400, -2022, Outcome.REFUSED),
        (400, -1003, Outcome.REFUSED),
        (429, -1003, Outcome.REFUSED),
        (418, 0, Outcome.REFUSED),
        (403, 0, Outcome.REFUSED),
        (503, -1008, Outcome.REFUSED),  # throttled by the venue: documented not to execute
        (400, -1008, Outcome.REFUSED),
        (400, -2011, Outcome.NOT_FOUND),
        (400, -2013, Outcome.NOT_FOUND),
        (400, -4116, Outcome.UNKNOWN),  # an order under this id exists
        (400, -1007, Outcome.UNKNOWN),
        (504, -1007, Outcome.UNKNOWN),
        (400, -1006, Outcome.UNKNOWN),
        (400, -1000, Outcome.UNKNOWN),
        (500, -1001, Outcome.UNKNOWN),
        (503, 0, Outcome.UNKNOWN),
        (502, 0, Outcome.UNKNOWN),
        (408, 0, Outcome.UNKNOWN),
        (400, 0, Outcome.UNKNOWN),  # a client error without the venue's code is not its word
        (200, 0, Outcome.UNKNOWN),
        (0, 0, Outcome.UNKNOWN),  # no answer at all
    ],
)
def test_documented_codes(http_status: int, code: int, outcome: Outcome) -> None:
    """The table of the venue's documents."""
    assert classify(http_status, code, "").outcome is outcome


@settings(max_examples=300, deadline=None)
@given(http_status=st.integers(0, 600), code=st.integers(-6000, 6000))
def test_refused_only_on_evidence(http_status: int, code: int) -> None:
    """No 5XX, no silence and no codeless error is ever called refused, but for the overload."""
    refusal = classify(http_status, code, "why")
    if refusal.outcome is Outcome.REFUSED and code != -1008:
        assert 400 <= http_status < 500
        assert code < 0 or http_status in (403, 418, 429)
    assert (refusal.code, refusal.http_status) == (code, http_status)


def test_read_order_is_exact() -> None:
    """An answer gives status and cumulative fill, and becomes the engine's event."""
    order = read_order(ANSWER, BTC)
    assert order is not None
    assert (order.status, order.filled_lots, order.quantity_lots) == (OrderStatus.EXPIRED, 4, 10)
    assert order.price_ticks == 600_001
    update = to_update(order, 5, "answer")
    assert (update.client_order_id, update.filled_lots) == ("me-run-1", 4)
    assert (update.event_ns, update.received_ns) == (1_723_161_256_300_000_000, 5)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "",
        '{"orderId": 22, "symb',
        [],
        {},
        ANSWER | {"status": "STRANGE"},
        ANSWER | {"status": None},
        ANSWER | {"symbol": "ETHUSDT"},
        ANSWER | {"clientOrderId": ""},
        ANSWER | {"executedQty": "0.00001"},
        ANSWER | {"executedQty": "1e-3"},
        {key: word for key, word in ANSWER.items() if key != "orderId"},
    ],
)
def test_an_answer_that_describes_no_order(answer: object) -> None:
    """Whatever is not clearly an order of this instrument proves nothing."""
    assert read_order(answer, BTC) is None


TRADE_ROW: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "id": 7,
    "orderId": 22,
    "side": "SELL",
    "price": "60000.1",
    "qty": "0.004",
    "commission": "0.12",
    "commissionAsset": "USDT",
    "time": 1723161256300,
    "maker": True,
}


def test_read_fill() -> None:
    """A userTrades row becomes the same fill that the user stream would have told."""
    venue_order_id, fill = read_fill(TRADE_ROW, BTC, "me-run-1", 9)
    assert venue_order_id == 22
    assert (fill.trade_id, fill.side, fill.price_ticks) == (7, Side.SELL, 600_001)
    assert (fill.quantity_lots, fill.fee_quote_e8, fill.is_maker) == (4, 12_000_000, True)


@pytest.mark.parametrize(
    "row", [{}, None, TRADE_ROW | {"symbol": "X"}, TRADE_ROW | {"side": "HOLD"}]
)
def test_malformed_fills_are_refused(row: object) -> None:
    """A row that is not a fill raises ValueError."""
    with pytest.raises(ValueError):  # noqa: PT011  # msgspec's and ours differ in words
        read_fill(row, BTC, "me-run-1", 9)
