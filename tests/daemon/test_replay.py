"""The event log and its replay: equal bit for bit, and every difference is found and named."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from daemon.event_frames import HEADER, MAGIC, RecordKind, Tail, frame, read_records
from daemon.event_log import EventLog, Retention, segments
from daemon.event_words import decode_facts, decode_state, decode_turns, encode, encode_turns
from daemon.replay import ReplayRefused, find_segments, replay, run
from kernels.events import AccountState, Event, Quote
from strategy.chain import MetaChain
from strategy.chain_memory import CONSTANTS, HEDGE_RATE, IS_FORETOLD
from tests.fakes.recorded_run import (
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


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One recorded run in one segment."""
    directory = tmp_path_factory.mktemp("recorded")
    record_run(directory)
    (path,) = segments(directory)
    return path


def test_replay_is_equal_bit_for_bit(recorded: Path) -> None:
    """Every decision, order, hash and whole state of the recorded run comes out again."""
    compared = replay([recorded], make_model())
    assert compared.difference is None
    assert compared.ending == "closed"
    assert compared.decisions > 50
    assert compared.orders > 10
    assert compared.hashes >= 3 * 10
    assert compared.states >= 4
    assert compared.events["DrainEnd"] == compared.turns == 1_500


def test_replay_can_begin_at_any_segment(tmp_path: Path) -> None:
    """Each segment holds a whole state: the later ones replay without those before them."""
    record_run(tmp_path, retention=replace(WIDE, segment_bytes=1, state_interval_ns=3 * S))
    paths = segments(tmp_path)
    assert len(paths) > 3
    assert replay(paths, make_model()).difference is None
    for path in paths[1:]:
        compared = replay([path], make_model())
        assert compared.difference is None
        assert compared.turns > 0 or path == paths[-1]


def test_any_flipped_bit_is_found_and_named(recorded: Path, tmp_path: Path) -> None:
    """Whichever bit of the file is turned over, the record and its byte are named."""
    whole = recorded.read_bytes()
    records = list(read_records(recorded))
    copy = tmp_path / recorded.name
    draws = np.random.default_rng(5)
    places = [*draws.integers(len(MAGIC), len(whole), 60).tolist(), len(MAGIC), len(whole) - 1]
    for at in places:
        broken = bytearray(whole)
        broken[at] ^= 1 << int(draws.integers(8))
        copy.write_bytes(broken)
        compared = replay([copy], make_model())
        hit = max(record.offset for record in records if record.offset <= at)
        assert compared.difference is not None
        assert compared.difference.startswith("corrupt:")
        assert f"at byte {hit}:" in compared.difference
        assert copy.name in compared.difference


def test_every_torn_tail_keeps_the_records_before_it(recorded: Path, tmp_path: Path) -> None:
    """A file cut at any byte of its last records gives exactly the records that are whole."""
    whole = recorded.read_bytes()
    records = list(read_records(recorded))
    copy = tmp_path / recorded.name
    last_two = records[-2].offset
    near = [record.offset + step for record in records[-2:] for step in range(-3, 24)]
    for end in sorted(
        end for end in {*near, *range(last_two, len(whole), 401)} if end < len(whole)
    ):
        copy.write_bytes(whole[:end])
        tail = Tail()
        kept = list(read_records(copy, tail))
        following = [record.offset for record in records if record.offset > tail.whole_bytes]
        assert tail.whole_bytes + tail.torn_bytes == end
        assert [record.offset for record in kept] == [
            record.offset for record in records if record.offset < tail.whole_bytes
        ]
        assert not following or end < following[0]


def test_changed_event_is_named_with_both_answers(recorded: Path, tmp_path: Path) -> None:
    """A log that checks, but holds another price, differs at the first answer that it changes."""
    copy = tmp_path / recorded.name
    changed_count = 0
    with copy.open("wb") as file:
        file.write(MAGIC)
        for record in read_records(recorded):
            payload = record.payload
            if record.kind is RecordKind.TURNS and not changed_count:
                turns: list[list[Event]] = []
                for turn in decode_turns(payload):
                    events = list(turn.events)
                    if len(turns) == 30 and isinstance(events[0], Quote):
                        events[0] = replace(events[0], bid_lots=events[0].bid_lots + 1)
                        changed_count += 1
                    turns.append(events)
                payload = _with_recorded_answers(payload, turns)
            file.write(frame(record.kind, record.sequence, payload))
    assert changed_count == 1
    compared = replay([copy], make_model())
    assert compared.difference is not None
    assert " turn " in compared.difference
    assert "recorded" in compared.difference


def _with_recorded_answers(payload: bytes, events: list[list[Event]]) -> bytes:
    """Write the turns again with other events; answers and hashes stay as recorded."""
    rows = msgspec.msgpack.decode(payload, type=list[list[msgspec.Raw]])
    fresh = msgspec.msgpack.decode(
        encode_turns([(each, [], {}) for each in events]),
        type=list[list[msgspec.Raw]],
    )
    return msgspec.msgpack.encode(
        [[new[0], *old[1:]] for old, new in zip(rows, fresh, strict=True)]
    )


def test_missing_record_is_named(recorded: Path, tmp_path: Path) -> None:
    """A record cut out whole leaves a gap in the numbering."""
    whole = recorded.read_bytes()
    records = list(read_records(recorded))
    copy = tmp_path / recorded.name
    copy.write_bytes(whole[: records[2].offset] + whole[records[3].offset :])
    compared = replay([copy], make_model())
    assert compared.difference is not None
    assert "records are missing" in compared.difference


def test_broken_length_is_corruption_not_a_torn_tail(recorded: Path, tmp_path: Path) -> None:
    """A length that reaches beyond the file is told from a record that was never finished."""
    whole = bytearray(recorded.read_bytes())
    record = list(read_records(recorded))[2]
    crc, length, sequence, kind = HEADER.unpack_from(whole, record.offset)
    HEADER.pack_into(whole, record.offset, crc, length + 10**6, sequence, kind)
    copy = tmp_path / recorded.name
    copy.write_bytes(whole)
    compared = replay([copy], make_model())
    assert compared.difference is not None
    assert "its length reaches too far" in compared.difference


def test_state_comes_back_whole(recorded: Path) -> None:
    """An engine restored from a state goes on exactly as the one that never stopped."""
    (first, *_) = [each for each in read_records(recorded) if each.kind is RecordKind.FACTS]
    assert decode_facts(first.payload).account == "fake"
    batches = list(market_batches(900))
    kept = make_engine()
    trade_in_memory(kept, iter(batches[:500]))
    restored = make_engine()
    restored.restore(decode_state(encode(kept.state)))
    assert encode(restored.state) == encode(kept.state)
    assert _attributes(restored) == _attributes(kept)
    kept_effects = trade_in_memory(kept, iter(batches[500:]))
    assert trade_in_memory(restored, iter(batches[500:])) == kept_effects
    assert len(kept_effects) > 30
    assert encode(restored.state) == encode(kept.state)


def _attributes(value: object, depth: int = 0) -> object:
    """Walk an object's own attributes, so that state added later and not saved is noticed."""
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, MetaChain):  # what else its row holds is scratch of a weighing
        constants = value.row[:CONSTANTS].copy()
        constants[[IS_FORETOLD, HEDGE_RATE]] = 0.0
        return [constants.tobytes(), value.state.tobytes(), value.shape, value.prior_J.tobytes()]
    if isinstance(value, dict):
        return {str(key): _attributes(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_attributes(each, depth + 1) for each in value]
    names = [*getattr(value, "__dict__", {}), *_slots(type(value))]
    if not names or depth > 12 or callable(value) or type(value).__module__ == "config.settings":
        return repr(value) if type(value).__module__ == "builtins" else type(value).__name__
    left_out = {"history", "_handlers", "_probe", "_model", "_scene"}  # views
    left_out |= {"obs_BF", "_shadow_BF", "_extras_E", "_seen_K", "_score_N"}  # scratch
    left_out |= {"_bars_M3", "_confidence_N"}  # scratch as well
    left_out |= {"learned_bars", "last_earned_N"}  # what just happened, for who looks on
    return {
        name: _attributes(getattr(value, name), depth + 1)
        for name in names
        if name not in left_out and hasattr(value, name)
    }


def _slots(kind: type) -> list[str]:
    return [name for each in kind.__mro__ for name in getattr(each, "__slots__", ())]


def test_disk_full_ends_the_segment_and_a_state_begins_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be written is counted, said, and never continued over."""
    engine = make_engine()
    log = EventLog(tmp_path, make_facts(), WIDE, started_ns=START_NS)
    batches = list(market_batches(300))
    trade_in_memory(engine, iter(batches[:100]), log)
    assert log.flush()

    real_write = os.write

    def full(descriptor: int, block: bytes) -> int:
        if len(block) > 100:
            return real_write(descriptor, block[:50])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("daemon.event_log.os.write", full)
        for batch in batches[100:110]:
            log.put(batch, [], engine)
        assert log.flush()
        assert log.error is not None
        assert "No space left" in log.error
    assert log.is_state_due()
    trade_in_memory(engine, iter(batches[110:]), log)
    log.put_state(engine, is_last=True)
    assert not log.close()
    assert log.lost_count > 0
    first, second = segments(tmp_path)
    assert replay([first], make_model()).difference is None
    assert replay([second], make_model()).difference is None
    together = replay([first, second], make_model())
    assert together.difference is None
    assert any("unfinished" in warning for warning in together.warnings)


def test_old_segments_go_and_the_running_one_stays(tmp_path: Path) -> None:
    """Size is bounded over runs; the oldest go first."""
    tight = Retention(segment_bytes=1, total_bytes=1, age_ns=10**18, state_interval_ns=S)
    record_run(tmp_path, 600, tight, "0000000000aa")
    record_run(tmp_path, 600, tight, "0000000000bb")
    names = [path.name for path in segments(tmp_path)]
    assert len(names) <= 2
    assert names[-1].startswith("0000000000bb")


def test_newest_run_is_found_below_a_state_directory(tmp_path: Path) -> None:
    """The user names the journal's directory; the log lies two folders below."""
    record_run(tmp_path / "sim" / "events", 50, run_id="0000000000aa")
    record_run(tmp_path / "sim" / "events", 50, run_id="0000000000bb")
    (newest,) = find_segments(tmp_path)
    assert newest.name.startswith("0000000000bb")
    (older,) = find_segments(tmp_path, "0000000000aa")
    assert older.name.startswith("0000000000aa")
    with pytest.raises(ReplayRefused, match="no run"):
        find_segments(tmp_path, "none")


def test_command_refuses_what_is_no_journal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 with a sentence for an empty directory, 1 with the place for a broken file."""
    assert run(tmp_path, None, as_json=True) == 2
    assert "to replay" in capsys.readouterr().err
    (tmp_path / "0123456789ab-000001.events").write_bytes(b"something else")
    assert run(tmp_path, None, as_json=True) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["equal"] is False
    assert "no event log" in document["difference"]


def test_opening_account_is_part_of_the_facts() -> None:
    """Facts survive the words they are written in."""
    facts = make_facts()
    assert decode_facts(encode(facts)) == facts
    assert isinstance(facts.opening, AccountState)
