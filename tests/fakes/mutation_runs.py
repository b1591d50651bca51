"""Replays spoiled recordings through the feed and says, injection by injection, what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields

import numpy as np

from kernels.events import Verdict
from tests.fakes.mutations import AUDIT_INTERVAL_S, MUTATIONS, Duty, Injection
from tests.fakes.virtual_time import run_virtual
from tests.fakes.virtual_venue import Recording, Replayed, Witness, replay


@dataclass(slots=True, kw_only=True)
class Tally:
    """What came of all injections of one kind; times in nanoseconds."""

    runs: int = 0
    injected: int = 0
    harmless: int = 0
    at_end: int = 0
    unprovable: int = 0
    mattered: int = 0
    detected: int = 0
    healed: int = 0
    missed: list[str] = field(default_factory=list)
    worst_ns: int = 0
    decisions: int = 0
    wrong_in_bound: int = 0
    wrong_outside: list[str] = field(default_factory=list)
    trades_wrong: list[str] = field(default_factory=list)
    frames: int = 0

    def add(self, other: Tally) -> None:
        """Add what another one counted."""
        for each in fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            total = max(mine, theirs) if each.name == "worst_ns" else mine + theirs
            setattr(self, each.name, total)


def spoil(
    recording: Recording, kind: str, seed: int, tally: Tally, stretch_ns: int | None = None
) -> None:
    """Spoil one recording in one way, replay it and add to the tally.

    With ``stretch_ns`` only so much of it is replayed, from one of its openings on that the seed
    draws; the rule of one frame in a thousand and all bounds are the same.
    """
    generator = np.random.default_rng((seed, sorted(MUTATIONS).index(kind)))
    if stretch_ns is not None and stretch_ns < recording.duration_ns:
        last_ns = recording.duration_ns - stretch_ns
        count = sum(at_ns <= last_ns for at_ns, _ in recording.openings)
        recording = recording.stretch(int(generator.integers(count)), stretch_ns)
    sent, injections = MUTATIONS[kind](recording.frames, generator, recording.instrument)
    replayed = run_virtual(replay(recording, sent, audit_interval_s=AUDIT_INTERVAL_S, seed=seed))
    witness = replayed.witness
    where = f"{kind} seed {seed}"
    tally.runs += 1
    tally.frames += len(sent)
    tally.decisions += witness.decision_count
    late_count = replayed.feed.counters.late_count
    for injection in injections:
        tally.injected += 1
        late_count -= _weigh(recording, witness, injection, late_count, tally, where)
    for at_ns in witness.wrong_decisions:
        if kind == "corrupt" and any(each.from_ns <= at_ns <= each.until_ns for each in injections):
            tally.wrong_in_bound += 1
        else:
            tally.wrong_outside.append(f"{where} at {at_ns / 1e9:.3f} s")
    _check_trades(recording, replayed, injections, tally, where)


def _weigh(
    recording: Recording,
    witness: Witness,
    injection: Injection,
    late_count: int,
    tally: Tally,
    where: str,
) -> int:
    """Judge one injection; return how many late quotes it explains."""
    if injection.duty is Duty.NONE:
        tally.harmless += 1
        return 0
    if injection.until_ns > recording.duration_ns:
        tally.at_end += 1  # the recording ends before the bound does
        return 0
    if injection.duty is Duty.UNPROVABLE:
        tally.unprovable += 1
        return 0
    tally.mattered += 1
    if injection.duty is Duty.DROP_LATE:
        if late_count > 0:
            tally.detected += 1
            return 1
        tally.missed.append(f"{where} late quote at {injection.from_ns / 1e9:.3f} s")
        return 0
    noticed_ns = withdrawn_ns(witness, injection.from_ns)
    if noticed_ns is not None and noticed_ns <= injection.until_ns:
        tally.detected += 1
        tally.worst_ns = max(tally.worst_ns, noticed_ns - injection.from_ns)
    elif injection.duty is Duty.WITHDRAW_OR_HEAL:
        tally.healed += 1  # decisions after the bound would show below, as wrong outside it
    else:
        tally.missed.append(f"{where} at {injection.from_ns / 1e9:.3f} s")
    return 0


def withdrawn_ns(witness: Witness, from_ns: int) -> int | None:
    """Return the first moment from ``from_ns`` on at which the verdict is not OK."""
    verdict = Verdict.WARMING
    for at_ns, each, _ in witness.statuses:
        if at_ns >= from_ns:
            if verdict is not Verdict.OK:
                break
            if each is not Verdict.OK:
                return at_ns
        verdict = each
    return from_ns if verdict is not Verdict.OK else None


def _check_trades(
    recording: Recording,
    replayed: Replayed,
    injections: Iterable[Injection],
    tally: Tally,
    where: str,
) -> None:
    """Hold the ids of the trades against the truth: an unbroken row without repeats."""
    heard = [trade.trade_id for trade in replayed.witness.trades]
    whole = list(range(heard[0], recording.trades[-1][1].trade_id + 1))
    if heard[: len(whole)] != whole[: len(heard)] or len(whole) - len(heard) > 3:
        tally.trades_wrong.append(where)


def false_alarms(recording: Recording) -> tuple[list[str], Replayed]:
    """Replay the recording as it is; name every verdict after the first OK, and every alarm."""
    replayed = run_virtual(replay(recording, recording.frames, audit_interval_s=AUDIT_INTERVAL_S))
    verdicts = [verdict.name for _, verdict, _ in replayed.witness.statuses]
    alarms = verdicts[2:] if verdicts[:2] == ["WARMING", "OK"] else verdicts
    quiet = {"feed_connected", "feed_resynced", "feed_verdict_changed"}
    alarms += [note.event for _, note in replayed.witness.notes if note.event not in quiet]
    return alarms, replayed
