"""A feed that is cut off a hundred times: nothing of the market is missing, nothing comes twice.

On USD-M and on spot alike. The cuts are drawn from seeds that are printed with a failure; the
whole of it is the nightly run, two seeds a market are the ordinary one.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from kernels.events import Verdict
from tests.fakes.recording import btc, recording_lines, spot_btc, spot_recording_lines
from tests.fakes.virtual_time import run_virtual
from tests.fakes.virtual_venue import Recording, read_recording, replay

FRAMES = 4_000
SEEDS, SEEDS_EVERY_DAY, CUTS_PER_SEED = 10, 2, 10
MARKETS = ("USD-M", "spot")
RUNS = [
    pytest.param(market, seed, marks=() if seed < SEEDS_EVERY_DAY else (pytest.mark.nightly,))
    for market in MARKETS
    for seed in range(SEEDS)
]


@lru_cache(maxsize=2)
def _recording(market: str) -> Recording:
    if market == "spot":
        return read_recording(spot_recording_lines(FRAMES), spot_btc())
    return read_recording(recording_lines(FRAMES), btc())


@pytest.mark.parametrize("market", MARKETS)
def test_an_undisturbed_recording_raises_no_alarm(market: str) -> None:
    """Clean streams: WARMING once, then OK to the end, every audit right, every trade once."""
    recording = _recording(market)
    replayed = run_virtual(replay(recording, recording.frames))
    witness, counters = replayed.witness, replayed.feed.counters
    assert [verdict for _, verdict, _ in witness.statuses] == [Verdict.WARMING, Verdict.OK]
    assert counters.audit_count > 3
    assert counters.audit_failed_count == counters.gap_count == counters.recovered_count == 0
    assert counters.lost_count == counters.repeated_count == counters.late_count == 0
    assert witness.state.top_checked_count > 100
    assert witness.state.top_mismatch_count == 0
    assert witness.decision_count > 100
    assert not witness.wrong_decisions


@pytest.mark.parametrize(("market", "seed"), RUNS)
def test_no_trade_is_missing_or_doubled_after_disconnects(market: str, seed: int) -> None:
    """Ten random cuts per seed, also in the middle of a recovery: the ids are an unbroken row."""
    recording = _recording(market)
    generator = np.random.default_rng(1_000 + seed)
    last_ns = recording.duration_ns - 500_000_000
    cuts_ns = sorted(generator.integers(0, last_ns, CUTS_PER_SEED).tolist())
    print(f"{market} seed {seed}: cuts at {[f'{each / 1e9:.3f} s' for each in cuts_ns]}")
    replayed = run_virtual(replay(recording, recording.frames, seed=seed, cuts_ns=cuts_ns))
    witness, counters = replayed.witness, replayed.feed.counters
    heard = [trade.trade_id for trade in witness.trades]
    assert heard == list(range(heard[0], recording.trades[-1][1].trade_id + 1))
    told = {trade.trade_id: trade for _, trade in recording.trades}
    assert all(
        (trade.price_ticks, trade.quantity_lots, trade.aggressor)
        == (
            told[trade.trade_id].price_ticks,
            told[trade.trade_id].quantity_lots,
            told[trade.trade_id].aggressor,
        )
        for trade in witness.trades
    )
    assert counters.lost_count == 0
    assert counters.reconnect_count >= CUTS_PER_SEED // 2
    assert counters.recovered_count > 0
    assert counters.audit_failed_count == 0
    assert not witness.wrong_decisions
