"""How old the market is when the daemon decides on it: a recorded day at its pace and at ten times.

The whole daemon, over TLS, on the recorded stream of one busy contract, decides at every drain
(``decision.trigger: event``). Age counts from the receipt of the newest event to the end of the
decision. Ratios are to the decision's own median of the same run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.daemon_process import ROOT, run_daemon

pytestmark = pytest.mark.bench

CAPTURE = ROOT.parent / "shared/data/captures/binance_usdm_btcusdt_20240808.gz"
EVERY_DRAIN = (
    *("--set", "decision.trigger=event", "--set", "decision.min_gap_ms=1"),
    *("--set", "instruments=['BTC/USDT:USDT']"),
)
RUN_S = 60
AGE_RATIO_MAX = 4.0
"""p99 of the age against the p50 of the decision, at the market's own pace; the goal is 3."""

DIVERGED_NS = 50_000_000
"""A daemon that falls behind is seconds late after a minute; one that keeps up, milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ages:
    """One run: decisions, the decision's p50, the age at its end (p99 at most, and the oldest)."""

    decisions: int
    decide_p50_ns: int
    age_p99_ns: int
    start_age_max_ns: int
    conflated: int
    waiting_max: int

    def __str__(self) -> str:
        """Write microseconds."""
        ratio = self.age_p99_ns / self.decide_p50_ns
        return (
            f"{self.decisions:6} decisions of p50 {self.decide_p50_ns / 1e3:.0f} us, age p99 at "
            f"most {self.age_p99_ns / 1e3:.0f} us ({ratio:.1f}x), oldest at the start "
            f"{self.start_age_max_ns / 1e6:.1f} ms; {self.conflated} quotes conflated, at most "
            f"{self.waiting_max} events waiting"
        )


def ages_at(speed: int, directory: Path) -> Ages:
    """Run a minute of the recording at a pace."""
    words = (*EVERY_DRAIN, "--capture", str(CAPTURE), "--speed", str(speed))
    run = run_daemon(directory, *words, "--for", f"{RUN_S}s")
    assert run.summary is not None, run.stderr[-2_000:]
    stages = run.summary["latency_ns"]
    return Ages(
        decisions=run.summary["decisions"],
        decide_p50_ns=stages["decide"]["p50"],
        age_p99_ns=stages["data_age"]["p99"] + stages["decide"]["p99"],
        start_age_max_ns=stages["data_age"]["max"],
        conflated=run.summary["events"]["conflated"],
        waiting_max=run.summary["feed"]["waiting_max"],
    )


@pytest.mark.skipif(not CAPTURE.is_file(), reason=f"recorded streams are not here: {CAPTURE}")
@pytest.mark.timeout(600)
def test_decisions_are_on_fresh_data_at_ten_times_the_pace(tmp_path: Path) -> None:
    """The tail of the age stays a few decisions long, and ten times the messages add no backlog."""
    found = {speed: ages_at(speed, tmp_path / str(speed)) for speed in (1, 10)}
    for speed, ages in found.items():
        print(f"{speed:2}x: {ages}")
    assert found[10].start_age_max_ns < DIVERGED_NS
    assert found[1].age_p99_ns <= AGE_RATIO_MAX * found[1].decide_p50_ns
