"""Ways to spoil a stream of frames, and what a feed must make of each: pure and seeded.

Every injection says until when the feed must have withdrawn its OK. What no receiver can prove (one
wrong price inside a well-formed print or quote, between two right ones) is said to be so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from config.settings import FeedSettings
from daemon.venues.normalize import EmptyTrade, FrameRefusedError, Normalizer
from kernels.events import DepthDiff, Quote, Trade
from kernels.units import Instrument
from tests.fakes.virtual_venue import Sent, normalizer_of

MS = 1_000_000
S = 1_000_000_000
ONE_IN = 1_000
SLACK_NS = 250 * MS
"""Room for the watch, which looks ten times a second, and for a REST call."""

UNHEARD_NS = 100 * MS
"""The feed dials and subscribes meanwhile: what is sent then reaches nobody, spoiled or not."""

AUDIT_INTERVAL_S = 5
AUDIT_BOUND_NS = (AUDIT_INTERVAL_S + 4) * S
"""An audit begins once per interval, and may wait three seconds for the stream to reach it."""

DEPTH, TRADE, QUOTE = "depthUpdate", "trade", "bookTicker"
SHIPPED = FeedSettings()


class Duty(Enum):
    """What the feed owes to an injection."""

    NONE = "harmless"
    WITHDRAW = "withdraw OK"
    DROP_LATE = "drop the late quote"
    WITHDRAW_OR_HEAL = "withdraw OK, or the book is right again by itself"
    UNPROVABLE = "no receiver can tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """One spoiled frame or span: from when it works and until when it must have been noticed."""

    from_ns: int
    until_ns: int
    duty: Duty


Mutated = tuple[list[Sent], list[Injection]]
Mutation = Callable[[Sequence[Sent], np.random.Generator, Instrument], Mutated]


def _next_due(frames: Sequence[Sent], at: int, kind: str) -> int:
    """Return when the next frame of a kind comes, the end of the recording where none does."""
    return next((each.due_ns for each in frames[at + 1 :] if each.kind == kind), 2**62)


def _chosen(frames: Sequence[Sent], generator: np.random.Generator) -> list[int]:
    """Choose one in a thousand, at least one, of those that are heard and that others follow."""
    count = max(1, len(frames) // ONE_IN)
    first = next(at for at, frame in enumerate(frames) if frame.due_ns >= UNHEARD_NS)
    return sorted(set(generator.integers(first, len(frames) - 50, count).tolist()))


def _loss(frames: Sequence[Sent], at: int) -> Injection:
    """Say what a frame that is not there, or not to be read, calls for."""
    frame = frames[at]
    if frame.kind == QUOTE:  # the next quote says all that this one would have said
        return Injection(from_ns=frame.due_ns, until_ns=frame.due_ns, duty=Duty.NONE)
    until_ns = _next_due(frames, at, frame.kind)
    return Injection(from_ns=frame.due_ns, until_ns=until_ns, duty=Duty.WITHDRAW)


def drop(frames: Sequence[Sent], generator: np.random.Generator, instrument: Instrument) -> Mutated:
    """Leave out one frame in a thousand."""
    gone = set(_chosen(frames, generator))
    kept = [frame for at, frame in enumerate(frames) if at not in gone]
    return kept, [_loss(frames, at) for at in sorted(gone)]


def duplicate(
    frames: Sequence[Sent], generator: np.random.Generator, instrument: Instrument
) -> Mutated:
    """Send one frame in a thousand twice."""
    twice = set(_chosen(frames, generator))
    sent: list[Sent] = []
    for at, frame in enumerate(frames):
        sent += [frame, frame] if at in twice else [frame]
    return sent, [
        Injection(from_ns=frames[at].due_ns, until_ns=frames[at].due_ns, duty=Duty.NONE)
        for at in sorted(twice)
    ]


def reorder(
    frames: Sequence[Sent], generator: np.random.Generator, instrument: Instrument
) -> Mutated:
    """Exchange one frame in a thousand with the next of its stream."""
    sent = list(frames)
    injections = []
    touched: set[int] = set()
    for at in _chosen(frames, generator):
        kind = frames[at].kind
        other = next((i for i in range(at + 1, len(frames)) if frames[i].kind == kind), None)
        if other is None or {at, other} & touched:
            continue
        touched |= {at, other}
        sent[at] = replace(frames[other], due_ns=frames[at].due_ns)
        sent[other] = replace(frames[at], due_ns=frames[other].due_ns)
        duty = Duty.DROP_LATE if kind == QUOTE else Duty.WITHDRAW
        until_ns = frames[other].due_ns
        injections.append(Injection(from_ns=frames[at].due_ns, until_ns=until_ns, duty=duty))
    return sent, injections


def stall(
    frames: Sequence[Sent], generator: np.random.Generator, instrument: Instrument
) -> Mutated:
    """Hold back all frames, or those of one stream, for some seconds; then they come at once."""
    end_ns = frames[-1].due_ns
    from_ns = int(generator.integers(2 * S, end_ns - 12 * S))
    kind = (None, DEPTH, QUOTE)[int(generator.integers(3))]
    bound_ms = SHIPPED.depth_stale_ms if kind == DEPTH else SHIPPED.quote_stale_ms
    held_ns = bound_ms * MS + int(generator.integers(S, 4 * S))
    until_ns = from_ns + held_ns
    sent = [
        replace(frame, due_ns=until_ns)
        if from_ns <= frame.due_ns < until_ns and kind in (None, frame.kind)
        else frame
        for frame in frames
    ]
    sent.sort(key=lambda frame: frame.due_ns)  # stable: within a stream the order stays
    noticed_ns = from_ns + bound_ms * MS + SLACK_NS
    return sent, [Injection(from_ns=from_ns, until_ns=noticed_ns, duty=Duty.WITHDRAW)]


def skew(frames: Sequence[Sent], generator: np.random.Generator, instrument: Instrument) -> Mutated:
    """Set the venue's clock forward or back by more than is allowed, from some moment on."""
    from_ns = int(generator.integers(2 * S, frames[-1].due_ns - 12 * S))
    shift_ms = int(generator.integers(SHIPPED.skew_ms_max + 200, 5_000))
    shift_ms *= 1 if generator.random() < 0.5 else -1

    def shifted(match: re.Match[str]) -> str:
        return f'"E":{int(match[1]) + shift_ms}'

    sent = [
        replace(frame, text=re.sub(r'"E":\s?(\d+)', shifted, frame.text))
        if frame.due_ns >= from_ns
        else frame
        for frame in frames
    ]
    # the estimate is the smallest lag of up to two windows of five seconds
    until_ns = from_ns + 10 * S + SLACK_NS
    return sent, [Injection(from_ns=from_ns, until_ns=until_ns, duty=Duty.WITHDRAW)]


def corrupt(
    frames: Sequence[Sent], generator: np.random.Generator, instrument: Instrument
) -> Mutated:
    """Replace one character of one frame in a thousand."""
    normalizer = normalizer_of(instrument)
    sent = list(frames)
    injections = []
    for at in _chosen(frames, generator):
        text = frames[at].text
        place = int(generator.integers(len(text)))
        letter = "0123456789"[int(generator.integers(10))]
        if generator.random() < 0.3:
            letter = chr(int(generator.integers(33, 127)))
        spoiled = text[:place] + letter + text[place + 1 :]
        sent[at] = replace(frames[at], text=spoiled)
        injections.append(_corruption(frames, at, spoiled, normalizer))
    return sent, injections


def _corruption(frames: Sequence[Sent], at: int, spoiled: str, normalizer: Normalizer) -> Injection:
    """Say what a changed character means by reading both texts."""
    frame = frames[at]
    before = normalizer.market(frame.text, 0)
    try:
        after = normalizer.market(spoiled, 0)
    except FrameRefusedError:
        return _loss(frames, at)
    harmless = Injection(from_ns=frame.due_ns, until_ns=frame.due_ns, duty=Duty.NONE)
    unprovable = replace(harmless, duty=Duty.UNPROVABLE)
    if isinstance(before, DepthDiff) and isinstance(after, DepthDiff):
        if before.previous_update_id != after.previous_update_id:
            return replace(harmless, duty=Duty.WITHDRAW)
        if before.last_update_id != after.last_update_id:
            return _loss(frames, at)
        if _levels(before) == _levels(after):
            return harmless
        until_ns = frame.due_ns + AUDIT_BOUND_NS
        return Injection(from_ns=frame.due_ns, until_ns=until_ns, duty=Duty.WITHDRAW_OR_HEAL)
    if isinstance(before, Quote) and isinstance(after, Quote):
        same = _touch(before) == _touch(after)
        return harmless if same else unprovable
    if isinstance(before, Trade | EmptyTrade) and isinstance(after, Trade | EmptyTrade):
        if before.trade_id != after.trade_id:
            return _loss(frames, at)
        return harmless if before == after else unprovable
    return _loss(frames, at)


def _levels(diff: DepthDiff) -> tuple[list[list[int]], list[list[int]]]:
    return diff.bid_levels_n2.tolist(), diff.ask_levels_n2.tolist()


def _touch(quote: Quote) -> tuple[int, int, int, int]:
    return quote.bid_ticks, quote.bid_lots, quote.ask_ticks, quote.ask_lots


MUTATIONS: dict[str, Mutation] = {
    "drop": drop,
    "duplicate": duplicate,
    "reorder": reorder,
    "stall": stall,
    "skew": skew,
    "corrupt": corrupt,
}
"""Every way, by its name in the table."""
