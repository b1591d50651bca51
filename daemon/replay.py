"""``metaensemble replay JOURNAL``: fold a recorded run again and hold every answer against it.

The engine is built from the log's own facts and folds the same events in this process. Every
effect must have the same bytes, every hashed part of the state the same hash, every whole state the
same values; the first place where that is not so ends the replay and is named with its event.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.settings import Settings
from daemon.clock import ManualClock
from daemon.decisions import UNNAMED, Decider, Model
from daemon.engine import Engine
from daemon.event_frames import LogCorruptError, Record, RecordKind, Tail, read_records
from daemon.event_log import DIRECTORY, FORMAT, SUFFIX, segments
from daemon.event_opening import versions
from daemon.event_words import (
    RunFacts,
    Turn,
    WordsError,
    decode_facts,
    decode_state,
    decode_turns,
    describe_effects,
    digest,
    encode,
    encode_effects,
    state_difference,
    state_parts,
)
from daemon.exit_codes import EXIT_DONE, EXIT_FAILED, EXIT_REFUSED
from daemon.identity import RUN_ID_LENGTH
from daemon.model_loading import load_model
from daemon.rollout import BundleName, Find
from strategy.bundle import BundleError


class ReplayRefused(Exception):  # noqa: N818 - a refused input is an outcome, not a fault
    """There is nothing to replay here; the sentence is for the user."""


@dataclass(slots=True, kw_only=True)
class Comparison:
    """What was compared so far; ``difference`` tells the first place that is not the same."""

    run_id: str = ""
    segments: int = 0
    events: Counter[str] = field(default_factory=Counter)
    turns: int = 0
    decisions: int = 0
    orders: int = 0
    effects: int = 0
    hashes: int = 0
    states: int = 0
    ending: str = "unfinished"
    torn_bytes: int = 0
    difference: str | None = None
    warnings: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Lay the result out for ``--json``."""
        return {
            "schema": 1,
            "run_id": self.run_id,
            "equal": self.difference is None,
            "difference": self.difference,
            "segments": self.segments,
            "events": dict(self.events),
            "turns": self.turns,
            "decisions": self.decisions,
            "orders": self.orders,
            "effects": self.effects,
            "hashes": self.hashes,
            "states": self.states,
            "ending": self.ending,
            "torn_bytes": self.torn_bytes,
            "warnings": self.warnings,
        }


def run(journal: Path, run_id: str | None, *, as_json: bool) -> int:
    """Replay the newest run below ``journal``, or the one named, and print what came out."""
    try:
        compared = replay(find_segments(journal, run_id))
    except (ReplayRefused, OSError) as error:
        print(f"metaensemble: {error}", file=sys.stderr)
        return EXIT_REFUSED
    print(json.dumps(compared.summary()) if as_json else "\n".join(_lines(compared)))
    return EXIT_DONE if compared.difference is None else EXIT_FAILED


def find_segments(journal: Path, run_id: str | None = None) -> list[Path]:
    """List the segments of one run, oldest first; ``journal`` is a segment or a directory.

    A directory may be that of the log, of a mode or of all modes; ReplayRefused when none is there.
    """
    if journal.is_file():
        return [journal]
    found: list[Path] = []
    for directory in (journal, journal / DIRECTORY, *sorted(journal.glob(f"*/{DIRECTORY}"))):
        found += segments(directory)
    wanted = run_id or max((path.name[:RUN_ID_LENGTH] for path in found), default="")
    chosen = [path for path in found if path.name[:RUN_ID_LENGTH] == wanted]
    if not chosen:
        what = f"no run {run_id}" if run_id else f"no *{SUFFIX} file"
        raise ReplayRefused(f"{journal}: {what} to replay")
    return chosen


def replay(paths: Sequence[Path], model: Model | None = None) -> Comparison:
    """Fold the segments of one run and compare; ``model`` instead of the recorded bundle.

    Raises ReplayRefused when the log cannot be replayed on this installation at all.
    """
    compared = Comparison()
    engine: Engine | None = None
    expected_segment = 0
    try:
        for path in paths:
            tail = Tail()
            records = read_records(path, tail)
            facts = _read_facts(path, records)
            if expected_segment and facts.segment != expected_segment:
                engine = None  # the run lost turns here, and its log began anew with a whole state
                compared.warnings.append(f"turns are missing before {path.name}")
            elif compared.ending == "unfinished" and compared.segments:
                engine = None
                compared.warnings.append(f"{path.name} follows an unfinished segment")
            compared.run_id = facts.run_id
            compared.segments += 1
            compared.ending = "unfinished"
            expected_segment = facts.segment + 1
            if engine is None:
                bundles = RecordedBundles(facts)
                if model is None:
                    engine = build_engine(facts, *bundles.first(compared), bundles)
                else:
                    engine = build_engine(facts, model, UNNAMED, bundles)
                starts_afresh = True
            else:
                starts_afresh = False
            _replay_segment(path, records, engine, compared, starts_afresh=starts_afresh)
            compared.torn_bytes = tail.torn_bytes
            if compared.difference is not None:
                break
    except (LogCorruptError, WordsError) as error:
        compared.difference = f"corrupt: {error}"
    return compared


class RecordedBundles:
    """Loads the bundles that a run names, from where it kept them; called as ``rollout.Find``."""

    def __init__(self, facts: RunFacts) -> None:
        """Load as that run did."""
        self._facts = facts
        self._loaded: dict[str, Model] = {}

    def first(self, compared: Comparison) -> tuple[Model, BundleName]:
        """Load the bundle that decided first; other library versions are named."""
        facts = self._facts
        model, name = self._load(facts.bundle_path, facts.bundle_sha256)
        if (now := versions()) != facts.versions:
            compared.warnings.append(f"recorded with {facts.versions}, replayed with {now}")
        return model, BundleName(name=name, sha256=facts.bundle_sha256, path=facts.bundle_path)

    def __call__(self, bundle: BundleName) -> Model:
        """Give the model of a later bundle; ReplayRefused when it is not there any more."""
        if bundle.sha256 not in self._loaded:
            self._loaded[bundle.sha256], _ = self._load(bundle.path, bundle.sha256)
        return self._loaded[bundle.sha256]

    def _load(self, path: str, sha256: str) -> tuple[Model, str]:
        settings = Settings.model_validate(self._facts.settings)
        named = settings.model_copy(
            update={
                "model": settings.model.model_copy(
                    update={"bundle": path, "runtime": self._facts.runtime}
                )
            }
        )
        try:
            model, bundle = load_model(named, ManualClock(self._facts.started_ns))
        except BundleError as error:
            raise ReplayRefused(str(error)) from error
        if bundle.sha256 != sha256:
            raise ReplayRefused(f"{path} is another bundle than the one that decided")
        return model, bundle.name


def build_engine(
    facts: RunFacts, model: Model, bundle: BundleName = UNNAMED, find: Find = lambda _: None
) -> Engine:
    """Build the engine of a recorded run as it stood before its first event."""
    settings = Settings.model_validate(facts.settings)
    return Engine(
        instruments=facts.instruments,
        settings=settings,
        run_id=facts.run_id,
        decider=Decider(model, settings, len(facts.instruments), bundle, find),
        opening=facts.opening,
    )


# inner ----------------------------------------------------------------------------------------


def _read_facts(path: Path, records: Iterator[Record]) -> RunFacts:
    first = next(records, None)
    if first is None or first.kind is not RecordKind.FACTS:
        raise LogCorruptError(path, 0, 0, "does not begin with the facts of a run")
    facts = decode_facts(first.payload)
    if facts.format != FORMAT:
        raise ReplayRefused(f"{path} has format {facts.format}, this program reads {FORMAT}")
    return facts


def _replay_segment(
    path: Path,
    records: Iterator[Record],
    engine: Engine,
    compared: Comparison,
    *,
    starts_afresh: bool,
) -> None:
    for record in records:
        where = f"{path.name} record {record.sequence}"
        if record.kind is RecordKind.STATE:
            if starts_afresh:
                engine.restore(decode_state(record.payload))
                starts_afresh = False
            difference = state_difference(record.payload, encode(engine.state))
            compared.states += 1
            if difference is not None:
                compared.difference = f"{where}: {difference}"
                return
        elif record.kind is RecordKind.TURNS:
            for place, turn in enumerate(decode_turns(record.payload)):
                difference = _replay_turn(turn, engine, compared)
                if difference is not None:
                    compared.difference = f"{where} turn {place}: {difference}"
                    return
        else:
            compared.ending = "continued" if record.kind is RecordKind.NEXT else "closed"


def _replay_turn(turn: Turn, engine: Engine, compared: Comparison) -> str | None:
    decisions, orders = engine.decision_count, engine.desk.orders.counts["sent"]
    for place, event in enumerate(turn.events):
        effects = engine.step(event)
        compared.events[type(event).__name__] += 1
        written = encode_effects(effects) if effects else None
        recorded = turn.effects.get(place)
        if written != recorded:
            then = describe_effects(recorded) if recorded is not None else ["nothing"]
            now = describe_effects(written) if written is not None else ["nothing"]
            return f"event {place} {event}\n  recorded: {then}\n  now: {now}"
        compared.effects += len(effects)
    compared.turns += 1
    compared.decisions += engine.decision_count - decisions
    compared.orders += engine.desk.orders.counts["sent"] - orders
    if turn.digests:
        for name, part in state_parts(engine).items():
            compared.hashes += 1
            if turn.digests.get(name) != digest(part):
                return f"after event {turn.events[-1]}: {name} differs from what was recorded"
    return None


def _lines(compared: Comparison) -> list[str]:
    events = sum(compared.events.values())
    lines = [
        f"run {compared.run_id}: {compared.segments} segments, {compared.ending}",
        f"{events} events in {compared.turns} turns; {compared.decisions} decisions, "
        f"{compared.orders} orders, {compared.effects} effects, {compared.hashes} hashes and "
        f"{compared.states} states compared",
        *(f"note: {warning}" for warning in compared.warnings),
    ]
    if compared.torn_bytes:
        lines.append(f"torn: the last {compared.torn_bytes} bytes are no whole record")
    if compared.difference is None:
        return [*lines, "equal, bit for bit"]
    return [*lines, f"DIFFERENT: {compared.difference}"]
