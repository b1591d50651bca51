"""R8: what is charged by default is near what orders paid, on a drawn market and a recorded one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daemon.cli import main
from tests.fakes.daemon_process import ROOT, run_daemon

CAPTURE = ROOT.parent / "shared/data/captures/binance_usdm_btcusdt_20240808.gz"
ERROR_FRAC_MAX = 0.10
"""Half of the bar: within it at both ends of the interval is clearly within."""


@pytest.mark.nightly
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("market", ["drawn", "recorded"])
def test_the_default_charge_is_near_what_orders_paid(
    market: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Decisions every 250 ms for some minutes; all orders that filled, weighted by size."""
    words = ["--for", "180s"]
    if market == "recorded":
        if not CAPTURE.exists():
            pytest.skip("no recorded streams here")
        words = ["--capture", str(CAPTURE)]
    words += ["--set", "decision.interval_ms=250"]
    run = run_daemon(tmp_path, *words, timeout_s=1_000)
    assert run.exit_code == 0, run.stderr
    assert main(["costs", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["all"]
    assert found["orders"] >= 30
    assert -ERROR_FRAC_MAX <= found["error_low_frac"] <= found["error_high_frac"] <= ERROR_FRAC_MAX
