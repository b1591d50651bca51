"""Ten minutes of trading come out again bit for bit in another process, a flipped bit apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from daemon.replay import find_segments
from tests.fakes.daemon_process import ROOT, replay_run, run_daemon

CAPTURE = ROOT.parent / "shared/data/captures/binance_usdm_btcusdt_20240808.gz"
RUN_S = 600
MARKETS = {
    "synthetic": (),
    # 344 recorded seconds, stretched
    "recorded": ("--capture", str(CAPTURE), "--speed", "0.57"),
}


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("market", MARKETS)
def test_ten_minutes_replay_bit_for_bit_in_another_process(tmp_path: Path, market: str) -> None:
    """Every decision, order and state is the same; a flipped bit is found, with file and byte."""
    if market == "recorded" and not CAPTURE.exists():
        pytest.skip("needs the shared recordings")
    run = run_daemon(tmp_path, *MARKETS[market], "--for", f"{RUN_S}s", timeout_s=RUN_S + 300)
    assert run.exit_code == 0, run.stderr[-3_000:]
    summary = run.summary
    assert summary is not None
    assert summary["duration_s"] >= RUN_S
    assert summary["events"]["lost"] == 0
    assert summary["position_lots"] == summary["venue_position_lots"]
    compared = replay_run(tmp_path, timeout_s=RUN_S * 2)
    assert compared["equal"] is True, compared["difference"]
    assert compared["ending"] == "closed"
    assert compared["decisions"] == summary["decisions"] > RUN_S / 2
    assert compared["orders"] == summary["orders"]["sent"] > 10
    print(
        f"{market}: {sum(compared['events'].values()):,} events, {compared['decisions']:,} "
        f"decisions, {compared['orders']} orders, {compared['hashes']:,} hashes equal"
    )
    segment = find_segments(tmp_path)[-1]
    whole = bytearray(segment.read_bytes())
    at = int(np.random.default_rng(len(whole)).integers(len(whole) // 2, len(whole)))
    whole[at] ^= 1
    segment.write_bytes(whole)
    found = replay_run(tmp_path, timeout_s=RUN_S * 2)
    assert found["equal"] is False
    assert found["difference"].startswith("corrupt:")
    assert segment.name in found["difference"]
    assert "at byte" in found["difference"]
    print(f"{market}: bit 0 of byte {at:,} flipped: {found['difference']}")
