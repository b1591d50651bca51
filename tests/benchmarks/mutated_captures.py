"""Spoil a capture in six ways and print what the feed made of it.

Run: ``python -m tests.benchmarks.mutated_captures [--capture FILE] [--seeds 200] [--seconds 40]``.
Without ``--capture`` a recording of the built-in synthetic market is used; a capture may be of
USD-M or of spot. Time is virtual: nothing waits, nothing depends on this machine's speed.

The clean file is replayed whole. Each seed then draws a stretch of it, of ``--seconds`` (0: all of
it), that begins with the true book of that moment, and spoils it. Seeds are shared out among the
cores; what they count does not depend on how many there are.
"""

from __future__ import annotations

import argparse
import gzip
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.kernel_cache import prepare

if TYPE_CHECKING:
    from tests.fakes.mutation_runs import Tally
    from tests.fakes.virtual_venue import Recording

BOUNDS = {
    "drop": "next frame of the stream",
    "duplicate": "absorbed",
    "reorder": "next frame of the stream",
    "stall": "3 s quotes, 5 s depth",
    "skew": "10 s (two windows)",
    "corrupt": "next frame; levels: audit",
}
SYNTHETIC_LINES = 20_000
COLUMNS = (
    ("runs", 5),
    ("injected", 9),
    ("harmless", 9),
    ("at end", 7),
    ("mattered", 9),
    ("detected", 9),
    ("healed", 7),
    ("unprovable", 11),
    ("missed", 7),
    ("worst", 10),
    ("decisions", 10),
    ("wrong", 6),
    ("in bound", 9),
)

_shared: dict[str, Recording] = {}
"""The recording, read before the workers are forked off: they share its memory."""


def main() -> int:
    """Run all and return 1 when something that matters went by."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--capture", type=Path)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=40.0, help="of market a seed; 0: all")
    parser.add_argument("--only", choices=tuple(BOUNDS), help="one way of spoiling")
    parser.add_argument("--lines", type=int, help="from the head of the capture; all unless given")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    prepare()
    from tests.fakes.mutations import MUTATIONS

    began_s = time.monotonic()
    _shared["recording"] = recording = _read(options.capture, options.lines)
    name = options.capture.name if options.capture else "synthetic recording"
    print(f"{name}: {len(recording.frames):,} frames, {recording.duration_ns / 1e9:.1f} s")
    has_failed = _judge_clean(recording)
    print(f"{'mutation':<10}{''.join(f'{title:>{width}}' for title, width in COLUMNS)}  bound")
    stretch_ns = int(options.seconds * 1e9) or None
    frames = 0
    with multiprocessing.get_context("fork").Pool(options.workers) as pool:
        for kind in [options.only] if options.only else MUTATIONS:
            jobs = [(kind, seed, stretch_ns) for seed in range(options.seeds)]
            tally = _sum(pool.imap(_spoil, jobs, chunksize=4))
            frames += tally.frames
            print(_row(kind, tally), flush=True)
            for fault in (*tally.missed, *tally.wrong_outside, *tally.trades_wrong):
                has_failed = True
                print(f"  FAILED: {fault}")
    print(f"{frames:,} spoiled frames replayed in {time.monotonic() - began_s:.0f} s")
    return int(has_failed)


def _read(capture: Path | None, line_count: int | None) -> Recording:
    from daemon.simulated.spot_capture import is_spot_capture
    from tests.fakes.recording import btc, recording_lines, spot_btc
    from tests.fakes.virtual_venue import read_recording

    if capture is None:
        return read_recording(recording_lines(line_count or SYNTHETIC_LINES), btc())
    with gzip.open(capture, "rb") as opened:
        lines = list(islice(opened, line_count))
    return read_recording(lines, spot_btc() if is_spot_capture(capture) else btc())


def _judge_clean(recording: Recording) -> bool:
    """Replay the file as it is, whole; True when anything was raised that should not be."""
    from tests.fakes.mutation_runs import false_alarms

    alarms, clean = false_alarms(recording)
    state, counters = clean.witness.state, clean.feed.counters
    matched = state.top_checked_count - state.top_mismatch_count
    rate = matched / max(state.top_checked_count, 1)
    wrong = clean.witness.wrong_decisions
    print(
        f"clean: {len(alarms)} false alarms, {counters.audit_count} audits, "
        f"{counters.audit_failed_count} failed; {clean.witness.decision_count:,} decisions, "
        f"{len(wrong)} on a wrong book; book against bookTicker at equal update ids: "
        f"{matched} of {state.top_checked_count} ({rate:.2%})"
    )
    return bool(alarms or wrong) or matched < state.top_checked_count


def _spoil(job: tuple[str, int, int | None]) -> Tally:
    from tests.fakes.mutation_runs import Tally, spoil

    kind, seed, stretch_ns = job
    tally = Tally()
    spoil(_shared["recording"], kind, seed, tally, stretch_ns)
    return tally


def _sum(tallies: Iterable[Tally]) -> Tally:
    from tests.fakes.mutation_runs import Tally

    total = Tally()
    for each in tallies:
        total.add(each)
    return total


def _row(kind: str, tally: Tally) -> str:
    values = (
        *(tally.runs, tally.injected, tally.harmless, tally.at_end, tally.mattered),
        *(tally.detected, tally.healed, tally.unprovable, len(tally.missed)),
        f"{tally.worst_ns / 1e6:.0f} ms",
        *(f"{tally.decisions:,}", len(tally.wrong_outside), tally.wrong_in_bound),
    )
    cells = "".join(f"{value:>{width}}" for value, (_, width) in zip(values, COLUMNS, strict=True))
    return f"{kind:<10}{cells}  {BOUNDS[kind]}"


if __name__ == "__main__":
    sys.exit(main())
