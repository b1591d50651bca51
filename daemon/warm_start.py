"""Continue where an earlier run of the same account stood, to its last recorded event.

The newest event log gives a whole state and the turns after it; folding those leads to exactly the
engine that was killed. Its orders come back with it, those that the log did not get to are added
from the journal, and the desk settles them all as it settles any order: by the venue's evidence.
Ledger, peaks and losses always continue; books, features and the ensemble's memory only over a
short gap, and no verdict is believed before the feed gives it anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from daemon.decisions import Model
from daemon.engine import Engine, EngineState
from daemon.event_frames import MAGIC, LogCorruptError, RecordKind, Tail, read_records
from daemon.event_log import DIRECTORY, FORMAT, segment_name, segments
from daemon.event_words import (
    RunFacts,
    WordsError,
    decode_facts,
    decode_state,
    decode_turns,
    encode,
)
from daemon.identity import RUN_ID_LENGTH
from daemon.journal_tables import OpenIntent
from daemon.replay import ReplayRefused, build_engine
from daemon.rollout import BundleName, Find
from kernels.events import Fill, OrderUpdate, Verdict
from kernels.units import Instrument

GAP_NS_MAX = 60_000_000_000
"""Over a longer silence the features begin anew: the market moved unseen."""


NEWS_NS = 10_000_000_000
"""News of our orders this young may be missing in the journal: its thread was killed as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """Where an earlier run stood; ``at_ns`` is the time of its last recorded event.

    ``flaw`` names what was wrong with the log behind the last whole record, None for nothing.
    ``news`` is what was last heard of our orders: the journal's own thread may not have got to it.
    """

    run_id: str
    state: EngineState
    at_ns: int
    turns_count: int
    flaw: str | None
    news: tuple[Fill | OrderUpdate, ...]


def find_earlier(
    directory: Path,
    *,
    account: str,
    instruments: tuple[Instrument, ...],
    model: Model,
    bundle: BundleName,
    find: Find,
) -> Earlier | None:
    """Return where the newest run of this account stood; None when it was another or no run.

    ``directory`` is the journal's, of one mode. Only a run of the same instruments and the same
    bundle can be continued. A run that was killed before its first state was on disk is passed
    over: what stood before it stands, and its orders are in the intent journal. Raises OSError.
    """
    newest_first = reversed(segments(directory / DIRECTORY))
    known = (account, instruments, bundle.sha256)
    for _, of_run in groupby(newest_first, key=lambda path: path.name[:RUN_ID_LENGTH]):
        paths = list(of_run)
        for path in paths:
            facts = _facts_of(path)
            if facts is None:
                continue  # killed while it began this segment: the one before is whole
            if not account or (facts.account, facts.instruments, facts.bundle_sha256) != known:
                return None
            earlier = _fold(path, build_engine(facts, model, bundle, find), facts.run_id)
            if earlier is not None:
                return earlier
        if not _never_began(paths[-1]):
            return None
    return None


def continue_from(
    earlier: Earlier, engine: Engine, intents: Iterable[OpenIntent], now_ns: int
) -> bool:
    """Let a new run's engine continue; True when its features continue as well.

    ``intents`` are those of earlier runs that may still be open. Raises ValueError when the state
    does not fit; the engine must then be made anew.
    """
    is_warm = now_ns - earlier.at_ns <= GAP_NS_MAX
    if is_warm:
        engine.restore(earlier.state)
        engine.is_stopping = engine.closes_down = False
        for market in engine.markets:
            market.verdict = Verdict.RECONNECTING
            market.reason = "restarted"
    else:
        engine.desk.restore(earlier.state.desk)
    engine.intent_count = max(engine.intent_count, earlier.state.numbers[1])
    add_intents(engine, intents)
    return is_warm


def add_intents(engine: Engine, intents: Iterable[OpenIntent]) -> int:
    """Track orders of earlier runs that may be open; they count in full until proven otherwise."""
    index_of = {each.instrument.symbol: each.instrument.index for each in engine.markets}
    added_count = 0
    for left in intents:
        known = engine.desk.orders.get(left.client_order_id) is not None
        if known or index_of.get(left.symbol) != left.intent.instrument:
            continue
        engine.desk.orders.add(left.client_order_id, left.intent, left.approved_ns)
        added_count += 1
    return added_count


# inner ----------------------------------------------------------------------------------------


def _facts_of(path: Path) -> RunFacts | None:
    try:
        first = next(read_records(path), None)
        if first is None or first.kind is not RecordKind.FACTS:
            return None
        facts = decode_facts(first.payload)
    except (LogCorruptError, WordsError):
        return None
    return facts if facts.format == FORMAT else None


def _never_began(path: Path) -> bool:
    """Say whether this is a run's first segment, undamaged, and without a whole state."""
    if path.name != segment_name(path.name[:RUN_ID_LENGTH], 1):
        return False
    if path.stat().st_size < len(MAGIC):
        return True
    try:
        return all(record.kind is not RecordKind.STATE for record in read_records(path, Tail()))
    except LogCorruptError:
        return False


def _fold(path: Path, engine: Engine, run_id: str) -> Earlier | None:
    """Restore the last whole state of a segment and fold the turns after it."""
    state: bytes | None = None
    before: list[bytes] = []
    turns: list[bytes] = []
    tail = Tail()
    flaw: str | None = None
    try:
        for record in read_records(path, tail):
            if record.kind is RecordKind.STATE:
                state, before, turns = record.payload, turns, []
            elif record.kind is RecordKind.TURNS:
                turns.append(record.payload)
    except LogCorruptError as error:
        flaw = str(error)
    if tail.torn_bytes and flaw is None:
        flaw = f"{path.name}: the last {tail.torn_bytes} bytes are no whole record"
    if state is None:
        return None
    turns_count = 0
    news: list[Fill | OrderUpdate] = []
    try:
        for block in before:
            for turn in decode_turns(block):
                news += (each for each in turn.events if isinstance(each, Fill | OrderUpdate))
        engine.restore(decode_state(state))
        for block in turns:
            for turn in decode_turns(block):
                for event in turn.events:
                    engine.step(event)
                    if isinstance(event, Fill | OrderUpdate):
                        news.append(event)
                turns_count += 1
    except (WordsError, ValueError, ReplayRefused) as error:
        raise ValueError(f"{path.name} cannot be continued: {error}") from error
    return Earlier(
        run_id=run_id,
        state=decode_state(encode(engine.state)),  # a copy of its own
        at_ns=engine.now_ns,
        turns_count=turns_count,
        flaw=flaw,
        news=tuple(each for each in news if engine.now_ns - each.received_ns < NEWS_NS),
    )
