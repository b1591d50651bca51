"""The synthetic source: its frames say on the wire what their events mean, and repeat exactly."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from daemon.simulated.listings import LISTINGS, listed_instruments
from daemon.simulated.market_source import NO_STAMP, Frame, MarketSource
from daemon.simulated.synthetic_source import SyntheticSource
from kernels.book import Book
from kernels.events import DepthDiff, DepthSnapshot, Quote, Side, Trade
from kernels.matching import Matcher, PlacementStatus, TimeInForce
from kernels.units import Instrument

SYMBOLS = tuple(listing.symbol for listing in LISTINGS)


def source_of(
    symbols: tuple[str, ...] = SYMBOLS, market: str = "regimes", seed: int = 7
) -> SyntheticSource:
    """Build a source of some listed instruments."""
    instruments = listed_instruments(symbols, maker_fee_bps=2.0, taker_fee_bps=5.0)
    return SyntheticSource(instruments, market, seed)


def levels_of(instrument: Instrument, levels: list[list[str]]) -> list[list[int]]:
    """Parse wire levels back to ticks and lots."""
    return [[instrument.price_ticks(p), instrument.quantity_lots(q)] for p, q in levels]


def check_document(instrument: Instrument, frame: Frame) -> None:
    """Compare one frame's document with its event, field by field."""
    document = json.loads(frame.payload)
    event = frame.event
    assert document["s"] == instrument.venue_id
    if isinstance(event, Quote):
        assert frame.stream == f"{instrument.venue_id.lower()}@bookTicker"
        assert document["e"] == "bookTicker"
        assert document["u"] == event.update_id
        assert instrument.price_ticks(document["b"]) == event.bid_ticks
        assert instrument.quantity_lots(document["B"]) == event.bid_lots
        assert instrument.price_ticks(document["a"]) == event.ask_ticks
        assert instrument.quantity_lots(document["A"]) == event.ask_lots
    elif isinstance(event, Trade):
        assert frame.stream == f"{instrument.venue_id.lower()}@trade"
        assert document["t"] == event.trade_id
        assert document["m"] is (event.aggressor is Side.SELL)
        assert instrument.price_ticks(document["p"]) == event.price_ticks
        assert instrument.quantity_lots(document["q"]) == event.quantity_lots
    else:
        assert isinstance(event, DepthDiff)
        assert frame.stream == f"{instrument.venue_id.lower()}@depth@0ms"
        assert (document["U"], document["u"], document["pu"]) == (
            event.first_update_id,
            event.last_update_id,
            event.previous_update_id,
        ), document
        assert levels_of(instrument, document["b"]) == event.bid_levels_n2.tolist()
        assert levels_of(instrument, document["a"]) == event.ask_levels_n2.tolist()


def test_documents_say_what_the_events_mean() -> None:
    """Every kind of frame of every listed contract parses back to its own event, on its grid."""
    source: MarketSource = source_of()
    frames = list(islice(source.frames(), 3_000))
    heads, rest = frames[: len(SYMBOLS)], frames[len(SYMBOLS) :]
    for index, frame in enumerate(heads):
        assert isinstance(frame.event, DepthSnapshot)
        assert (frame.event.instrument, frame.stream, frame.due_ns) == (index, "", 0)
    kinds = Counter(type(frame.event) for frame in rest)
    assert set(kinds) == {Quote, Trade, DepthDiff}
    for frame in rest:
        check_document(source.instruments[frame.event.instrument], frame)
    dues = [frame.due_ns for frame in frames]
    assert dues == sorted(dues)


def test_render_stamps_both_times() -> None:
    """The times sent are the moment of sending, and nothing else of the document changes."""
    for frame in islice(source_of(SYMBOLS[:1]).frames(), 1, 200):
        assert NO_STAMP not in (frame.event_time_at, frame.transaction_time_at)
        document = json.loads(frame.render(1_800_000_000_123))
        assert document.pop("E") == 1_800_000_000_123
        lag_ms = 1_800_000_000_123 - document.pop("T")
        assert lag_ms == (1 if isinstance(frame.event, DepthDiff) else 0)
        original = json.loads(frame.payload)
        assert document == {k: v for k, v in original.items() if k not in "ET"}


def test_frames_repeat_for_a_seed_and_differ_between_seeds() -> None:
    """Every call and every process with one seed gets the same bytes."""

    def payloads(source: SyntheticSource) -> list[tuple[int, bytes]]:
        return [(frame.due_ns, frame.payload) for frame in islice(source.frames(), 500)]

    source = source_of(SYMBOLS[:2])
    assert payloads(source) == payloads(source) == payloads(source_of(SYMBOLS[:2]))
    assert payloads(source) != payloads(source_of(SYMBOLS[:2], seed=8))


def test_unknown_market_and_unlisted_contract_are_refused() -> None:
    """A wrong name fails at construction with the names that exist."""
    with pytest.raises(ValueError, match=r"no synthetic market 'sideways'; there is .*regimes"):
        source_of(market="sideways")
    with pytest.raises(ValueError, match="not listed"):
        source_of(("DOGE/USDT:USDT",))


def test_a_client_can_follow_and_trade() -> None:
    """A book kept from the frames agrees with every quote, and orders fill as maker and taker."""
    source = source_of(SYMBOLS[:1])
    matcher = Matcher(Book(256))
    quote: Quote | None = None
    maker_lots = taker_lots = 0
    for key, frame in enumerate(islice(source.frames(), 20_000)):
        event = frame.event
        if isinstance(event, DepthSnapshot):
            matcher.load(event)
        elif isinstance(event, Quote):
            quote = event
        elif isinstance(event, Trade):
            fills = matcher.on_trade(event.price_ticks, event.quantity_lots, event.aggressor)
            maker_lots += sum(fill.quantity_lots for fill in fills)
        else:
            assert event.previous_update_id == matcher.book.last_update_id
            maker_lots += sum(fill.quantity_lots for fill in matcher.on_diff(event))
            assert quote is not None
            assert matcher.book.best() == (
                quote.bid_ticks,
                quote.bid_lots,
                quote.ask_ticks,
                quote.ask_lots,
            )
            if key % 50 == 0 and matcher.order_count < 100:
                matcher.place(key, Side.BUY, TimeInForce.GTX, quote.bid_ticks, 5)
                bought = matcher.place(key + 1, Side.BUY, TimeInForce.IOC, quote.ask_ticks, 5)
                taker_lots += sum(fill.quantity_lots for fill in bought.executions)
                assert bought.status in (PlacementStatus.FILLED, PlacementStatus.EXPIRED)
    assert maker_lots > 100
    assert taker_lots > 100


def test_levels_are_arrays_the_kernels_take_as_they_are() -> None:
    """Depth events own their int64 rows; a later block does not change an earlier event."""
    frames = source_of(SYMBOLS[:1]).frames()
    early = next(frame.event for frame in frames if isinstance(frame.event, DepthDiff))
    kept = early.bid_levels_n2.copy()
    for _ in islice(frames, 2_000):
        pass
    assert early.bid_levels_n2.dtype == np.int64
    assert early.bid_levels_n2.flags.carray
    assert (early.bid_levels_n2 == kept).all()


def test_truth_is_for_those_who_hold_the_source() -> None:
    """The pass begun last tells its regimes; frames of one world are those of its name."""
    source = source_of(SYMBOLS[:2], market="flash_crash")
    for frame in source.frames():
        if frame.due_ns > 5 * 10**9:
            break
    truth = source.truth
    assert truth[0][0] == 0
    assert {regime for _, regime in truth} <= {0, 1, 2, 3}  # before its first crash
