"""The event log: everything the engine folds and everything it answered, on disk, off the hot path.

The loop hands over whole turns (one append); a thread writes them in compressed blocks. A segment
begins with the facts of the run and the whole state, so a replay and a warm restart can begin at
any segment, and old segments can be deleted. What cannot be written is lost until the next state:
``error`` says so, and a log never continues over a hole.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from daemon.effects import Effect
from daemon.engine import Engine
from daemon.event_frames import MAGIC, RecordKind, frame
from daemon.event_words import RunFacts, TurnParts, encode, encode_turns, state_parts
from kernels.events import Event

FORMAT = 4
DIRECTORY = "events"
SUFFIX = ".events"
NS_PER_S = 1_000_000_000

DIGEST_INTERVAL_NS = 1_000_000_000
"""Parts of the state are hashed into the log this often: a difference is found within it."""

QUEUE_EVENTS_MAX = 400_000
BLOCK_EVENTS_MAX = 2_048
_GATHER_S = 0.05
_RETRY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """When a segment ends and when old ones go; the running one always stays."""

    segment_bytes: int
    total_bytes: int
    age_ns: int
    state_interval_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """A whole state, written out; ``is_last`` at the end of the run."""

    written: bytes
    is_last: bool


class _Hole:
    """Turns are missing here: the segment ends."""


_Item = TurnParts | _State | _Hole


class EventLog:
    """The growing log of one run; ``put`` is called by the loop, all else happens in a thread.

    ``error`` is None while everything is being written, ``lost_count`` counts turns that were not.
    """

    def __init__(
        self, directory: Path, facts: RunFacts, retention: Retention, *, started_ns: int
    ) -> None:
        """Create the directory and start the thread; the first state opens the first segment.

        Raises OSError when the directory cannot be made.
        """
        self.error: str | None = None
        self.lost_count = 0
        self.wants_state = True
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._facts = facts
        self._retention = retention
        self._now_ns = started_ns
        self._state_ns = 0
        self._digest_ns = 0
        self._queue: deque[_Item] = deque()
        self._queued_events = 0  # added by the loop
        self._taken_events = 0  # by the thread
        self._segment: _Segment | None = None
        self._segment_count = 0
        self._closing = threading.Event()
        self._idle = threading.Event()
        self._thread = threading.Thread(target=self._run, name="event-log", daemon=True)
        self._thread.start()

    def put(
        self,
        events: Sequence[Event],
        effects: Sequence[tuple[int, Sequence[Effect]]],
        engine: Engine,
    ) -> None:
        """Queue one turn, its ``DrainEnd`` last; the objects must not change afterwards."""
        now_ns = events[-1].received_ns
        self._now_ns = now_ns
        if self._queued_events - self._taken_events > QUEUE_EVENTS_MAX:
            self._lose("the writer of the event log is too slow")
            return
        parts: dict[str, bytes] = {}
        if now_ns - self._digest_ns >= DIGEST_INTERVAL_NS:
            self._digest_ns = now_ns
            parts = state_parts(engine)
        self._queued_events += len(events)
        self._queue.append((events, effects, parts))

    def is_state_due(self) -> bool:
        """Say whether a state should be put: now and then, and at once after a loss."""
        return (
            self.wants_state or self._now_ns - self._state_ns >= self._retention.state_interval_ns
        )

    def put_state(self, engine: Engine, *, is_last: bool = False) -> None:
        """Queue the whole state between two turns; about a millisecond."""
        self.wants_state = False
        self._state_ns = self._now_ns
        self._queue.append(_State(written=encode(engine.state), is_last=is_last))

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until what was put is written or lost; False when that takes longer."""
        waited_s = 0.0
        while self._queue or not self._idle.is_set():
            if waited_s >= timeout_s or not self._thread.is_alive():
                return not self._queue
            self._closing.wait(0.01)
            waited_s += 0.01
        return True

    def close(self, timeout_s: float = 5.0) -> bool:
        """Write what waits and end; False when something was lost or is left."""
        self._closing.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive() and not self._queue and self.lost_count == 0

    # the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closing.wait(_GATHER_S):
                self._idle.clear()
                self._write_all()
                self._idle.set()
            self._write_all()
        finally:
            self._end_segment()

    def _write_all(self) -> None:
        while self._queue:
            block = self._take_block()
            try:
                if isinstance(block, _Hole):
                    self._end_segment()
                elif isinstance(block, _State):
                    self._write_state(block)
                elif self._segment is not None:
                    self._segment.append(RecordKind.TURNS, encode_turns(block))
                else:
                    self.lost_count += len(block)
            except (OSError, TypeError) as error:  # disk full; a value without words: our bug
                self._give_up(f"the event log is not written: {error}")
                if isinstance(block, list):
                    self.lost_count += len(block)

    def _take_block(self) -> _State | _Hole | list[TurnParts]:
        """Take one state or hole, or the turns before the next one."""
        first = self._queue.popleft()
        if isinstance(first, _State | _Hole):
            return first
        turns, count = [first], len(first[0])
        while self._queue and count < BLOCK_EVENTS_MAX:
            following = self._queue[0]
            if isinstance(following, _State | _Hole):
                break
            turns.append(following)
            count += len(following[0])
            self._queue.popleft()
        self._taken_events += count
        return turns

    def _write_state(self, state: _State) -> None:
        segment = self._segment
        if segment is not None and segment.bytes_count >= self._retention.segment_bytes:
            segment.append(RecordKind.NEXT, b"")
            self._end_segment()
            segment = None
        if segment is None:
            self._segment = segment = self._open_segment()
        segment.append(RecordKind.STATE, state.written)
        if state.is_last:
            segment.append(RecordKind.END, b"")
        self.error = None

    def _open_segment(self) -> _Segment:
        self._segment_count += 1
        name = segment_name(self._facts.run_id, self._segment_count)
        segment = _Segment(self._directory / name)
        segment.append(RecordKind.FACTS, encode(replace(self._facts, segment=self._segment_count)))
        _forget_old(self._directory, self._retention, self._now_ns, keep=segment.path)
        return segment

    def _give_up(self, reason: str) -> None:
        """Close the segment at its last whole record; the next state begins another."""
        self._end_segment()
        self.error = reason
        self._closing.wait(_RETRY_S)
        self.wants_state = True

    def _end_segment(self) -> None:
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def _lose(self, reason: str) -> None:
        self.lost_count += 1
        if self.error is None:
            self.error = reason
            self._queue.append(_Hole())  # what follows must not be appended to what was before
        self.wants_state = True


class _Segment:
    """One file of the log, whole records only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes_count = 0
        self._record_count = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        self._write(MAGIC)

    def append(self, kind: RecordKind, payload: bytes) -> None:
        """Write one record whole, or leave the file as it was; OSError."""
        self._write(frame(kind, self._record_count, payload))
        self._record_count += 1

    def close(self) -> None:
        os.close(self._descriptor)

    def _write(self, block: bytes) -> None:
        view = memoryview(block)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError:
            os.ftruncate(self._descriptor, self.bytes_count)
            os.lseek(self._descriptor, self.bytes_count, os.SEEK_SET)
            raise
        self.bytes_count += len(block)


def segment_name(run_id: str, number: int) -> str:
    """Return the file name of a run's segment; the first has number 1."""
    return f"{run_id}-{number:06d}{SUFFIX}"


def segments(directory: Path) -> list[Path]:
    """List the segments of a directory, oldest first: their names sort by age."""
    return sorted(directory.glob(f"*{SUFFIX}"))


def _forget_old(directory: Path, retention: Retention, now_ns: int, keep: Path) -> None:
    """Delete the oldest segments beyond the bounds of size and age."""
    old = [path for path in segments(directory) if path != keep]
    sizes = {path: path.stat().st_size for path in old}
    total = sum(sizes.values())
    for path in old:
        too_old = now_ns - path.stat().st_mtime_ns > retention.age_ns
        if total <= retention.total_bytes and not too_old:
            break
        path.unlink(missing_ok=True)
        total -= sizes[path]
