"""Sealed bars: opened once per file, on record; a second look is never silent.

The ledger of trials holds a line for every opening, written before anything is computed on them:
a look that ended in a crash is a look as well. Every later report on the same ledger tells of all
openings.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from strategy.evaluation.trials import SEALED, Trial, append_trial, seal_openings


class SealBrokenError(ValueError):
    """A sealed file was opened before; the message says when."""


def file_sha256(path: Path) -> str:
    """Return the hash of a file, in hex; OSError where it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def break_seal(
    ledger_path: Path, sealed_path: Path, *, now_ns: int, commit: str, again: bool
) -> None:
    """Record that a sealed file is opened; SealBrokenError for a second time, unless ``again``."""
    sha256 = file_sha256(sealed_path)
    before = seal_openings(ledger_path, sha256)
    if before and not again:
        raise SealBrokenError(
            f"{sealed_path.name} was opened on {_day(before[0].created_ns)}: it is no longer "
            "sealed; a second look needs --again, and every later report will say so"
        )
    append_trial(
        ledger_path,
        Trial(
            kind=SEALED,
            created_ns=now_ns,
            config_sha256="",
            bars_sha256=sha256,
            commit=commit,
            seed=0,
            sharpe=None,
            bars=0,
            note=sealed_path.name,
        ),
    )


def seal_lines(trials: Sequence[Trial]) -> Iterator[str]:
    """Yield a sentence for every file that was ever opened, with what was seen in it."""
    opened: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        if trial.kind == SEALED:
            opened[trial.bars_sha256].append(trial)
    for sha256, openings in opened.items():
        seen = [t for t in trials if t.kind == "evaluate" and t.details.get("sealed") == sha256]
        results = "; ".join(f"{_day(trial.created_ns)}: {trial.note}" for trial in seen)
        days = ", ".join(_day(trial.created_ns) for trial in openings)
        count = "once" if len(openings) == 1 else f"{len(openings)} times, so no longer unseen"
        yield f"{openings[0].note} ({sha256[:12]}) was opened {count}: {days}. {results}".strip()


def _day(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M")
