"""Spoil a capture in six ways and print what the feed made of it.

Run: ``python -m tests.benchmarks.mutated_captures [--capture FILE] [--seeds 200] [--lines N]``.
Without ``--capture`` a recording of the built-in synthetic market is used. Time is virtual: nothing
waits, nothing depends on this machine's speed.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from itertools import islice
from pathlib import Path

from daemon.kernel_cache import prepare

BOUNDS = {
    "drop": "next frame of the stream",
    "duplicate": "absorbed",
    "reorder": "next frame of the stream",
    "stall": "3 s quotes, 5 s depth",
    "skew": "10 s (two windows)",
    "corrupt": "next frame; levels: audit",
}


def main() -> int:
    """Run all and return 1 when something that matters went by."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--capture", type=Path)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--lines", type=int, default=5_000, help="from the head of the capture")
    options = parser.parse_args()
    prepare()
    from tests.fakes.mutation_runs import Tally, false_alarms, spoil
    from tests.fakes.mutations import MUTATIONS
    from tests.fakes.recording import btc, recording_lines
    from tests.fakes.virtual_venue import read_recording

    if options.capture is None:
        lines = recording_lines(options.lines)
    else:
        with gzip.open(options.capture, "rb") as opened:
            lines = list(islice(opened, options.lines))
    recording = read_recording(lines, btc())
    name = options.capture.name if options.capture else "synthetic recording"
    print(f"{name}: {len(recording.frames):,} frames, {recording.duration_ns / 1e9:.1f} s")
    alarms, clean = false_alarms(recording)
    state, counters = clean.witness.state, clean.feed.counters
    matched = state.top_checked_count - state.top_mismatch_count
    rate = matched / max(state.top_checked_count, 1)
    print(
        f"clean: {len(alarms)} false alarms, {counters.audit_count} audits, "
        f"{counters.audit_failed_count} failed; book against bookTicker at equal update ids: "
        f"{matched} of {state.top_checked_count} ({rate:.2%})"
    )
    print(
        f"{'mutation':<10}{'runs':>5}{'injected':>9}{'harmless':>9}{'mattered':>9}{'detected':>9}"
        f"{'healed':>7}{'unprovable':>11}{'missed':>7}{'worst':>10}{'decisions':>10}"
        f"{'wrong':>6}{'in bound':>9}  bound"
    )
    has_failed = bool(alarms) or state.top_mismatch_count > 0
    for kind in MUTATIONS:
        tally = Tally()
        for seed in range(options.seeds):
            spoil(recording, kind, seed, tally)
        print(
            f"{kind:<10}{tally.runs:>5}{tally.injected:>9}{tally.harmless:>9}{tally.mattered:>9}"
            f"{tally.detected:>9}{tally.healed:>7}{tally.unprovable:>11}{len(tally.missed):>7}"
            f"{tally.worst_ns / 1e6:>7.0f} ms{tally.decisions:>10,}{len(tally.wrong_outside):>6}"
            f"{tally.wrong_in_bound:>9}  {BOUNDS[kind]}",
            flush=True,
        )
        for fault in (*tally.missed, *tally.wrong_outside, *tally.trades_wrong):
            has_failed = True
            print(f"  FAILED: {fault}")
    return int(has_failed)


if __name__ == "__main__":
    sys.exit(main())
