"""The breaker's latch on disk: what tripped stays tripped, through every restart.

One small JSON file beside the journal of the mode, replaced as a whole. It always fills one block,
so that it can still be rewritten in place where a full disk allows no second file. A latch that
cannot be read counts as HALTED: only an operator who looked may trade on.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

import orjson

from risk.breaker import Breaker, BreakerState, Trigger

FILE_NAME = "breaker.json"
SCHEMA = 1
FILE_BYTES = 4096
REASON_CHARACTERS_MAX = 500
OPERATOR = "operator"
"""Who wrote a latch that was lifted while no daemon ran."""


class LatchError(Exception):
    """The latch could not be written; the state lives in memory only."""


def read(directory: Path, now_ns: int) -> Breaker:
    """Return the latched breaker, NORMAL where none was ever written.

    A file that is damaged, foreign or unreadable gives HALTED with trigger ``latch_error``.
    """
    path = directory / FILE_NAME
    try:
        with path.open("rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise ValueError("is no regular file")
            words = orjson.loads(stream.read(FILE_BYTES + 1))
        if words["schema"] != SCHEMA:
            raise ValueError(f"has schema {words['schema']!r}")
        state = BreakerState[words["state"]]
        if state is BreakerState.NORMAL:
            return Breaker()
        return Breaker(
            state=state,
            since_ns=int(words["since_ns"]),
            trigger=Trigger(words["trigger"]),
            reason=str(words["reason"]),
        )
    except FileNotFoundError:
        return Breaker()
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{path} cannot be read: {type(error).__name__}"
        return Breaker().apply(Trigger.LATCH_ERROR, now_ns, reason)


def offline_reason(directory: Path) -> str | None:
    """Return why an operator lifted the latch while no daemon ran; None where nobody did."""
    try:
        words = orjson.loads((directory / FILE_NAME).read_bytes())
        return str(words["reason"]) if words["by"] == OPERATOR else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # damage is judged by ``read``


def write(directory: Path, breaker: Breaker, by: str) -> None:
    """Put the breaker on disk before anything else happens; ``by`` says which process did.

    Raises LatchError when neither a new file nor the old one in place could be written.
    """
    words = {
        "schema": SCHEMA,
        "state": breaker.state.name,
        "trigger": breaker.trigger.value if breaker.trigger is not None else None,
        "since_ns": breaker.since_ns,
        "reason": breaker.reason[:REASON_CHARACTERS_MAX],
        "by": by,
    }
    block = (orjson.dumps(words) + b"\n").ljust(FILE_BYTES, b" ")
    path = directory / FILE_NAME
    try:
        _replace(path, block)
    except OSError as error:
        try:
            _overwrite(path, block)
        except OSError:
            raise LatchError(f"{path}: {error.strerror}") from error


def _replace(path: Path, block: bytes) -> None:
    """Write a new file beside the old one and rename it: a crash leaves one of the two."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write_whole(descriptor, block)
        finally:
            os.close(descriptor)
        beside.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _overwrite(path: Path, block: bytes) -> None:
    """Rewrite the existing block; it needs no space."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        _write_whole(descriptor, block)
    finally:
        os.close(descriptor)


def _write_whole(descriptor: int, block: bytes) -> None:
    written = 0
    while written < len(block):
        written += os.write(descriptor, block[written:])
    os.fsync(descriptor)
