"""A flash crash on the simulated exchange costs the configured limit and one tick, no more."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.event_frames import RecordKind, read_records
from daemon.event_words import decode_turns
from daemon.replay import find_segments
from kernels.events import Action, Event, MarkPrice
from strategy.archive import write_bundle
from strategy.export import demonstration_recipe
from tests.fakes.daemon_process import Ended, run_daemon
from tests.fakes.small_bundle import lean

LIMIT_FRAC = 0.002
INSTRUMENTS = 2
FULL_POSITION_FRAC = 0.5
COLLAR_SLACK_FRAC = 0.0005
"""What a closing order may pay beside the move: spread and latency of the thinned book."""


def recorded_events(directory: Path) -> Iterator[Event]:
    """Yield every event that the engine of the newest run was given, in order."""
    for path in find_segments(directory):
        for record in read_records(path):
            if record.kind is RecordKind.TURNS:
                for turn in decode_turns(record.payload):
                    yield from turn.events


def worst_tick_frac(events: Iterator[Event]) -> float:
    """Return the largest move between two marks of one instrument, as a share of the price."""
    marks: dict[int, list[int]] = {}
    for event in events:
        if isinstance(event, MarkPrice):
            marks.setdefault(event.instrument, []).append(event.mark_ticks)
    moves = [
        abs(after / before - 1.0)
        for ticks in marks.values()
        for before, after in itertools.pairwise(ticks)
    ]
    assert moves, "a run without marks proves nothing"
    return max(moves)


def crash(directory: Path) -> Ended:
    """Hold large long positions into the crash, without fees, with a narrow limit."""
    bundle = directory / "stubborn"
    recipe = demonstration_recipe(seed=7, bars=400)
    write_bundle(bundle, lean(recipe, Action.BUY))
    knobs = {
        "model.bundle": bundle,
        "sizing.position_frac": FULL_POSITION_FRAC,
        "sizing.volatility_target_frac": 100.0,
        "meta.kelly_criterion_enabled": "false",
        "limits.drawdown_frac_max": LIMIT_FRAC,
        "limits.daily_loss_frac_max": LIMIT_FRAC,
        "simulated.taker_fee_bps": 0,
        "simulated.maker_fee_bps": 0,
    }
    words = [word for key, value in knobs.items() for word in ("--set", f"{key}={value}")]
    market = ("--market", "flash_crash", "--seed", "34", "--speed", "2")
    return run_daemon(directory, *market, "--for", "50s", *words)


@pytest.mark.nightly
def test_flash_crash_costs_the_limit_and_one_tick(tmp_path: Path) -> None:
    """Positions are closed at the limit; what is lost beyond it is less than one mark's move."""
    ended = crash(tmp_path)
    assert ended.exit_code == 0, ended.stderr[-2_000:]
    assert ended.summary is not None
    tripped = [row for row in ended.events("breaker_changed") if row["state"] == "FLATTEN"]
    assert [row["trigger"] for row in tripped] == ["drawdown_flatten"]
    assert ended.summary["breaker"] == "HALTED"
    assert not any(ended.summary["position_lots"].values())
    assert not any(ended.summary["venue_position_lots"].values())
    tick_frac = worst_tick_frac(recorded_events(tmp_path))
    exposure_frac = INSTRUMENTS * FULL_POSITION_FRAC
    bound_frac = LIMIT_FRAC + exposure_frac * (tick_frac + COLLAR_SLACK_FRAC)
    lost_frac = ended.summary["drawdown_frac"]
    print(
        f"limit {LIMIT_FRAC:.3%}, lost {lost_frac:.3%}; one tick of the crash {tick_frac:.3%} "
        f"at {exposure_frac:.0%} exposure: at most {bound_frac:.3%}"
    )
    assert LIMIT_FRAC <= lost_frac <= bound_frac
