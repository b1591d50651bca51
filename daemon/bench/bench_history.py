"""Earlier runs of the bench beside a new one: has anything become slower than noise explains?

Machines differ and drift, so no microsecond is compared with another run's. A form counts by its
multiple of the empty compiled call of its own run, a goal with a base by its ratio; both against
the median of the newest earlier runs on the same machine. Noise is what those runs, and the rounds
inside each run, differ by.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from daemon.bench.bench_report import SCHEMA
from daemon.bench.stopwatch import EMPTY_CALL, EMPTY_KERNEL

EARLIER_MAX = 5
"""So many of the newest earlier runs are what a new one is held against."""

TOLERATED_FRAC = 0.15
"""A form may cost so much more before noise is even asked for: two runs in a row differ by 10 %."""

Document = Mapping[str, Any]


class HistoryError(Exception):
    """A folder that cannot be read or written; the text says which file and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """A form that became slower: its multiples of the floor, and how much more was tolerable."""

    stage: str
    form: str
    before: float
    after: float
    tolerated_frac: float

    def __str__(self) -> str:
        """Say it in a line."""
        return (
            f"{self.stage}: {self.form} costs {self.after / self.before:.2f} times what it did "
            f"(tolerated {1.0 + self.tolerated_frac:.2f})"
        )


def read_history(folder: Path, machine: Mapping[str, Any]) -> list[Document]:
    """Return the newest runs of this machine, oldest first; void ones and others' are left out."""
    found: list[Document] = []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        try:
            document = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise HistoryError(f"{path}: {error}") from None
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise HistoryError(f"{path}: no report of bench --json")
        if document["void"] or _identity(document["machine"]) != _identity(machine):
            continue
        found.append(document)
    return found[-EARLIER_MAX:]


def keep(folder: Path, document: Document, stamp_ns: int) -> Path:
    """Write a run into the folder under its time."""
    path = folder / f"{stamp_ns:020d}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document) + "\n")
    except OSError as error:
        raise HistoryError(f"{path}: {error.strerror}") from None
    return path


def regressions(earlier: Sequence[Document], new: Document) -> list[Regression]:
    """Return every form that costs more than noise explains; nothing without an earlier run."""
    past: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for document in earlier:
        for key, multiple, spread_frac in _multiples(document):
            past.setdefault(key, []).append((multiple, spread_frac))
    found = []
    for (stage, form), multiple, spread_frac in _multiples(new):
        known = past.get((stage, form))
        if known is None:
            continue
        before = median(each for each, _ in known)
        apart_frac = (max(each for each, _ in known) - min(each for each, _ in known)) / before
        noise_frac = apart_frac + spread_frac + median(spread for _, spread in known)
        tolerated_frac = max(TOLERATED_FRAC, noise_frac)
        if multiple > before * (1.0 + tolerated_frac):
            found.append(
                Regression(
                    stage=stage,
                    form=form,
                    before=before,
                    after=multiple,
                    tolerated_frac=tolerated_frac,
                )
            )
    return found


def _multiples(document: Document) -> list[tuple[tuple[str, str], float, float]]:
    """Return (stage, form), its median over the floor's, and what its rounds differ by."""
    found = []
    for stage, report in document["stages"].items():
        timings = {timing["name"]: timing for timing in report["timings"]}
        floor_ns = timings[EMPTY_KERNEL]["p50_ns"]
        for name, timing in timings.items():
            if name in (EMPTY_CALL, EMPTY_KERNEL):
                continue
            rounds_ns = sorted(timing["p50_by_round_ns"])
            middle = rounds_ns[len(rounds_ns) // 4 : len(rounds_ns) - len(rounds_ns) // 4]
            spread_frac = (middle[-1] - middle[0]) / timing["p50_ns"]
            found.append(((stage, name), timing["p50_ns"] / floor_ns, spread_frac))
    return found


def _identity(machine: Mapping[str, Any]) -> tuple[object, ...]:
    """What must be the same for two runs to be compared; libraries may differ, they are tested."""
    return machine["processor"], machine["cores_total"], machine["python"]
