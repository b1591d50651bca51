"""Candles, statistics and aggregates agree with the trades they are made of."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.simulated.listings import listed_instruments
from daemon.simulated.spot_listings import spot_instruments
from daemon.simulated.tape import CANDLES_KEPT, MINUTE_MS, Tape
from daemon.simulated.tape_documents import day_document, klines_document
from daemon.simulated.venue_market import VenueMarket
from kernels.events import Side, Trade

START_MS = 1_700_000_040_000
PAIR = spot_instruments(("BTC/USDT",), first_index=0, maker_fee_bps=0.0, taker_fee_bps=0.0)[0]
CONTRACT = listed_instruments(("BTCUSDT",), maker_fee_bps=0.0, taker_fee_bps=0.0)[0]


def trade(number: int, ticks: int, lots: int, aggressor: Side = Side.BUY) -> Trade:
    """Make one trade."""
    return Trade(
        instrument=0,
        event_ns=0,
        received_ns=0,
        trade_id=number,
        price_ticks=ticks,
        quantity_lots=lots,
        aggressor=aggressor,
    )


trades = st.lists(
    st.tuples(
        st.integers(0, 4 * MINUTE_MS),
        st.integers(1, 10_000),
        st.integers(1, 1_000),
        st.sampled_from(Side),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(script=trades)
def test_candles_sum_up_to_the_trades(script: list[tuple[int, int, int, Side]]) -> None:
    """Volumes, counts and extremes over all candles are those of all trades; no minute lacks."""
    tape, now_ms = Tape(PAIR), START_MS
    for number, (wait_ms, ticks, lots, side) in enumerate(script, start=1):
        now_ms += wait_ms
        tape.add(trade(number, ticks, lots, side), now_ms)
    opens = [candle.open_ms for candle in tape.candles]
    assert opens == list(range(opens[0], opens[-1] + 1, MINUTE_MS))
    for candle in tape.candles:
        assert candle.low_ticks <= min(candle.open_ticks, candle.close_ticks)
        assert candle.high_ticks >= max(candle.open_ticks, candle.close_ticks)
        assert (candle.count == 0) == (candle.lots == 0) == (candle.first_id == 0)
    day = tape.day()
    assert day is not None
    assert (day.count, day.lots) == (len(script), sum(lots for _, _, lots, _ in script))
    assert day.taker_buy_lots == sum(lots for _, _, lots, side in script if side is Side.BUY)
    assert (day.open_ticks, day.close_ticks) == (script[0][1], script[-1][1])
    assert (day.first_id, day.last_id) == (1, len(script))
    for minutes in (1, 5, 60):
        rows = tape.rows(minutes * MINUTE_MS)
        assert sum(row.quote_e8 for row in rows) == day.quote_e8
        assert all(row.open_ms % (minutes * MINUTE_MS) == 0 for row in rows)


def test_young_market_tells_its_volume_at_the_rate_of_a_day() -> None:
    """Ten lots in an hour are 240 in a day; a market of a day or more tells what it traded."""
    tape = Tape(PAIR)
    assert tape.whole_day(START_MS) is None
    tape.add(trade(1, 100, 4, Side.BUY), START_MS)
    tape.add(trade(2, 101, 6, Side.SELL), START_MS + 1_800_000)
    young = tape.whole_day(START_MS + 3_600_000)
    assert young is not None
    assert (young.lots, young.taker_buy_lots, young.count) == (240, 96, 2)
    old = tape.whole_day(START_MS + 90_000_000)
    assert old is not None
    assert old.lots == 10


def test_long_silence_is_filled_no_further_than_is_kept() -> None:
    """A trade after ten days leaves a day of flat candles, made in one step."""
    tape = Tape(PAIR)
    tape.add(trade(1, 100, 1), START_MS)
    tape.add(trade(2, 110, 1), START_MS + 10 * 86_400_000)
    assert len(tape.candles) == CANDLES_KEPT
    assert tape.candles[0].open_ticks == 100
    assert tape.candles[-1].high_ticks == 110


def test_a_candle_is_told_final_once() -> None:
    """The minute before is told once more after it is over, then only the open one."""
    tape = Tape(PAIR)
    tape.add(trade(1, 100, 1), START_MS)
    tape.add(trade(2, 110, 1), START_MS + MINUTE_MS)
    first = [candle.open_ms for candle in tape.unsent(START_MS + MINUTE_MS)]
    assert first == [START_MS // MINUTE_MS * MINUTE_MS, first[0] + MINUTE_MS]
    again = [candle.open_ms for candle in tape.unsent(START_MS + MINUTE_MS + 1_000)]
    assert again == first[1:]


def test_documents_print_in_their_dialect() -> None:
    """Spot has eight decimals and the touch in its day ticker; futures the contract's own."""
    for instrument, quantity, has_touch in ((PAIR, "0.00007000", True), (CONTRACT, "0.007", False)):
        market = VenueMarket(instrument)
        market.apply(trade(1, 6_000_000, 7), START_MS)
        row = klines_document(market, {"interval": "1m"})[0]
        assert (row[5], row[8]) == (quantity, 1)
        document = day_document(market, START_MS + 86_400_000)
        assert document["volume"] == quantity
        assert ("bidPrice" in document) is has_touch
