"""A killed run is continued to its last recorded event, bit for bit, and its orders with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from daemon.event_frames import RecordKind, read_records
from daemon.event_log import DIRECTORY, EventLog, segment_name, segments
from daemon.event_words import decode_state, encode
from daemon.journal_tables import OpenIntent
from daemon.rollout import BundleName
from daemon.warm_start import GAP_NS_MAX, Earlier, add_intents, continue_from, find_earlier
from kernels.events import OrderIntent, OrderStatus, OrderType, OrderUpdate, Side, Verdict
from risk.views import BUY_LOTS
from tests.fakes.recorded_run import (
    INSTRUMENT,
    START_NS,
    WIDE,
    S,
    make_engine,
    make_facts,
    make_model,
    market_batches,
    record_run,
    trade_in_memory,
)

NEXT_RUN = "0000000000zz"
LATER_RUN = "zzzzzzzzzzzz"
"""Later by name than the run of the fakes."""


def earlier_of(directory: Path, account: str = "fake", sha256: str = "") -> Earlier | None:
    return find_earlier(
        directory,
        account=account,
        instruments=(INSTRUMENT,),
        model=make_model(),
        bundle=BundleName(name="", sha256=sha256, path=""),
        find=lambda _: None,
    )


@pytest.mark.parametrize("turns", [120, 777, 1_234])
def test_killed_run_is_continued_bit_for_bit(tmp_path: Path, turns: int) -> None:
    """From the last state and the turns after it comes the engine that was killed."""
    batches = list(market_batches(turns + 300))
    killed = make_engine()
    log = EventLog(tmp_path / DIRECTORY, make_facts(), WIDE, started_ns=START_NS)
    trade_in_memory(killed, iter(batches[:turns]), log)
    assert log.close()  # and no last state: as after a kill
    earlier = earlier_of(tmp_path)
    assert earlier is not None
    assert earlier.flaw is None
    assert encode(earlier.state) == encode(killed.state)
    engine = make_engine(NEXT_RUN)
    assert continue_from(earlier, engine, (), earlier.at_ns + S)
    for market, before in zip(engine.markets, killed.markets, strict=True):
        assert market.verdict is Verdict.RECONNECTING, "no verdict is believed before the feed's"
        assert market.features.state.tobytes() == before.features.state.tobytes()
        market.verdict, market.reason = before.verdict, before.reason
    assert encode(engine.state) == encode(killed.state)
    went_on = trade_in_memory(killed, iter(batches[turns:]))
    after = trade_in_memory(engine, iter(batches[turns:]))
    assert len(after) == len(went_on) > 10
    assert encode(engine.state.decider) == encode(killed.state.decider)
    assert (engine.desk.ledger.state == killed.desk.ledger.state).all()


def test_run_killed_before_its_first_state_is_passed_over(tmp_path: Path) -> None:
    """What stood before it stands, whether its log is empty, begun, or torn in that state."""
    record_run(tmp_path / DIRECTORY, 400)
    before = earlier_of(tmp_path)
    assert before is not None
    killed = tmp_path / DIRECTORY / segment_name(LATER_RUN, 1)
    log = EventLog(tmp_path / DIRECTORY, make_facts(LATER_RUN), WIDE, started_ns=START_NS)
    trade_in_memory(make_engine(LATER_RUN), market_batches(50), log)
    assert log.close()
    whole = killed.read_bytes()
    state_at = next(each.offset for each in read_records(killed) if each.kind is RecordKind.STATE)
    for size in (0, 3, state_at, state_at + 40):
        killed.write_bytes(whole[:size])
        earlier = earlier_of(tmp_path)
        assert earlier is not None, size
        assert (earlier.run_id, earlier.at_ns) == (before.run_id, before.at_ns)
        assert encode(earlier.state) == encode(before.state)


@pytest.mark.parametrize("number", [1, 2])
def test_damaged_run_is_not_passed_over(tmp_path: Path, number: int) -> None:
    """A run that traded and whose log is lost ends the chain: what stood before it is stale."""
    record_run(tmp_path / DIRECTORY, 400)
    log = EventLog(tmp_path / DIRECTORY, make_facts(LATER_RUN), WIDE, started_ns=START_NS)
    trade_in_memory(make_engine(LATER_RUN), market_batches(50), log)
    assert log.close()
    path = tmp_path / DIRECTORY / segment_name(LATER_RUN, 1)
    block = bytearray(path.read_bytes())
    block[60] ^= 1  # in the first record
    path.unlink()
    (tmp_path / DIRECTORY / segment_name(LATER_RUN, number)).write_bytes(block)
    assert earlier_of(tmp_path) is None


def test_torn_tail_costs_only_what_is_torn(tmp_path: Path) -> None:
    """A log cut anywhere in its last record continues from the record before, and says so."""
    record_run(tmp_path / DIRECTORY, 400)
    (path,) = segments(tmp_path / DIRECTORY)
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    earlier = earlier_of(tmp_path)
    assert earlier is not None
    assert earlier.flaw is not None
    assert "no whole record" in earlier.flaw
    assert earlier.turns_count + 1 > 0


def test_segment_killed_at_birth_leaves_the_one_before(tmp_path: Path) -> None:
    """A newest file without facts or state is passed over."""
    record_run(tmp_path / DIRECTORY, 200)
    (path,) = segments(tmp_path / DIRECTORY)
    for content in (b"", path.read_bytes()[:40]):
        path.with_name(path.name.replace("000001", "000002")).write_bytes(content)
        earlier = earlier_of(tmp_path)
        assert earlier is not None
        assert earlier.run_id == path.name[:12]


def test_another_account_or_bundle_is_not_continued(tmp_path: Path) -> None:
    """Positions and losses of one account are never taken for another's."""
    assert earlier_of(tmp_path) is None
    record_run(tmp_path / DIRECTORY, 100)
    assert earlier_of(tmp_path, account="other") is None
    assert earlier_of(tmp_path, account="") is None
    assert earlier_of(tmp_path, sha256="ff") is None


def test_long_gap_keeps_the_account_and_forgets_the_market(tmp_path: Path) -> None:
    """Losses and peaks outlive any pause; features do not pretend to have seen it."""
    killed = record_run(tmp_path / DIRECTORY, 600)
    earlier = earlier_of(tmp_path)
    assert earlier is not None
    engine = make_engine(NEXT_RUN)
    assert not continue_from(earlier, engine, (), earlier.at_ns + GAP_NS_MAX + 1)
    assert (engine.desk.ledger.state == killed.desk.ledger.state).all()
    assert engine.markets[0].features.bar_count == 0
    assert engine.intent_count == killed.intent_count


def test_intent_that_the_log_did_not_get_to_counts_in_full(tmp_path: Path) -> None:
    """What the ring knows and the log does not is tracked until the venue proves its end."""
    record_run(tmp_path / DIRECTORY, 300)
    earlier = earlier_of(tmp_path)
    assert earlier is not None
    left = OpenIntent(
        client_order_id="me-0123456789ab-9999",
        run_id="0123456789ab",
        symbol=INSTRUMENT.symbol,
        approved_ns=earlier.at_ns,
        intent=OrderIntent(
            sequence=9_999,
            instrument=0,
            side=Side.BUY,
            quantity_lots=7,
            price_ticks=600_000,
            order_type=OrderType.IOC,
            reduce_only=False,
            decided_ns=earlier.at_ns,
            reason="decided",
        ),
    )
    engine = make_engine(NEXT_RUN)
    continue_from(earlier, engine, (left, left), earlier.at_ns + S)
    assert add_intents(engine, (left, replace(left, symbol="XRP/USDT:USDT"))) == 0
    assert engine.desk.orders.working_view().table_NC[0, BUY_LOTS] == 7
    (order,) = engine.desk.orders.open_orders()
    assert order.status is OrderStatus.SENT
    engine.step(
        OrderUpdate(
            instrument=0,
            event_ns=earlier.at_ns,
            received_ns=earlier.at_ns + S,
            client_order_id=left.client_order_id,
            status=OrderStatus.REJECTED,
            filled_lots=-1,
            code=-2013,
            reason="the venue knows no such order",
        )
    )
    assert engine.desk.orders.working_view().table_NC[0, BUY_LOTS] == 0
    assert decode_state(encode(engine.state)).desk.orders.open_orders == []
