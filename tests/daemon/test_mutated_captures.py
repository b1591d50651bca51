"""Spoiled recordings: whatever matters is noticed in time, and no decision stands on a wrong book.

``python -m tests.benchmarks.mutated_captures`` does the same with 200 seeds and prints the table.
"""

from __future__ import annotations

from functools import lru_cache

import pytest

from tests.fakes.mutation_runs import Tally, false_alarms, spoil
from tests.fakes.mutations import MUTATIONS
from tests.fakes.recording import btc, recording_lines, spot_btc, spot_recording_lines
from tests.fakes.virtual_venue import Recording, read_recording

FRAMES = 3_500
SEEDS = 3
MARKETS = ("USD-M", "spot")


@lru_cache(maxsize=2)
def _recording(market: str) -> Recording:
    if market == "spot":
        return read_recording(spot_recording_lines(FRAMES), spot_btc())
    return read_recording(recording_lines(FRAMES), btc())


@pytest.mark.parametrize("market", MARKETS)
def test_the_clean_recording_gives_no_false_alarm(market: str) -> None:
    """Unspoiled, nothing is withdrawn, and the book equals the quote of every same update id."""
    alarms, clean = false_alarms(_recording(market))
    assert not alarms
    assert clean.witness.state.top_checked_count > 100
    assert clean.witness.state.top_mismatch_count == 0
    assert not clean.witness.wrong_decisions


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize("kind", MUTATIONS)
def test_what_matters_is_noticed_in_time(kind: str, market: str) -> None:
    """Each way of spoiling, some seeds: detected within its bound, no trade missing or doubled."""
    tally = Tally()
    for seed in range(SEEDS):
        spoil(_recording(market), kind, seed, tally)
    assert tally.injected >= SEEDS
    assert tally.detected + tally.healed == tally.mattered
    assert not tally.missed
    assert not tally.wrong_outside
    assert not tally.trades_wrong
    assert tally.decisions > 100
    if kind != "duplicate":
        assert tally.detected > 0
