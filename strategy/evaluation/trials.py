"""The ledger of trials: one JSON line for each thing ever tried, appended by the runner.

A deflated Sharpe ratio is worth as much as the count behind it, so nothing that ran is left out and
no line is ever changed. A damaged line is an error, not a line less.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

TRIALS_FILE = "trials.jsonl"
SEALED = "sealed"


class LedgerError(ValueError):
    """A ledger that cannot be trusted; the message names file and line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One thing tried. ``sharpe`` is annual and out of sample, None where undefined.

    ``kind`` is train, evaluate, backtest, walkforward or sealed; ``created_ns`` UNIX time. The
    hashes are SHA-256 in hex, of the settings and of the data that were used. ``details`` are
    whatever else the runner knows, for people.
    """

    kind: str
    created_ns: int
    config_sha256: str
    bars_sha256: str
    commit: str
    seed: int
    sharpe: float | None
    bars: int
    note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


def append_trial(path: Path, trial: Trial) -> None:
    """Append one line and force it to disk; an interrupted line of before stays, and is found."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(asdict(trial), sort_keys=True, allow_nan=False) + "\n"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line.encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def read_trials(path: Path) -> tuple[Trial, ...]:
    """Return every trial so far, none where there is no file; LedgerError for a damaged line."""
    if not path.exists():
        return ()
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            trial = Trial(**json.loads(line))
            is_number = trial.sharpe is None or isinstance(trial.sharpe, int | float)
            if not (isinstance(trial.kind, str) and is_number):
                raise TypeError("kind or sharpe of another type")
        except (ValueError, TypeError) as error:
            raise LedgerError(f"{path}:{number}: no trial: {error}") from None
        found.append(trial)
    return tuple(found)


def sharpe_variance(trials: tuple[Trial, ...], year_bars: float) -> float | None:
    """Return the variance per bar of the trials' Sharpes, None below two that are defined."""
    known = sorted(trial.sharpe for trial in trials if trial.sharpe is not None)
    if len(known) < 2:
        return None
    mean = sum(known) / len(known)
    return sum((value - mean) ** 2 for value in known) / (len(known) - 1) / year_bars


def seal_openings(path: Path, bars_sha256: str) -> tuple[Trial, ...]:
    """Return every time a sealed file was opened before; a second look is never silent."""
    return tuple(
        trial
        for trial in read_trials(path)
        if trial.kind == SEALED and trial.bars_sha256 == bars_sha256
    )
