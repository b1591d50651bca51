"""The four examples of the specification, each as a user starts it, at small size.

Seconds with compiled kernels at hand; without them the first one waits for nearly all there are.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.examples import advanced_session, basic_session, evaluation_report, production_loop

SMALL = ["--bars", "1100", "--episodes", "2", "--steps", "15"]


@pytest.mark.timeout(1_200)
def test_basic_team_is_trained_and_judged(tmp_path: Path) -> None:
    """The session's bundle is what the evaluation example takes."""
    result = basic_session.main(["--out", str(tmp_path), *SMALL])
    assert result["episodes"] == 2
    assert result["training_stats"]["steps_completed"] == 30
    judged = tmp_path / "judged"
    bundle = tmp_path / "final_session" / "model"
    found = evaluation_report.main(
        ["--bundle", str(bundle), "--out", str(judged), "--episodes", "2", "--steps", "200"]
    )
    assert found["detailed_analysis"]["episodes"] == 2
    assert Path(found["report_path"]).is_file()
    assert len((judged / "trials.jsonl").read_text().splitlines()) == 1


@pytest.mark.timeout(1_200)
def test_advanced_team_goes_to_production(tmp_path: Path) -> None:
    """What the advanced example keeps, the production example loads; every bar is decided."""
    kept = advanced_session.main(["--out", str(tmp_path), *SMALL])
    assert kept[-1] == "kept_0001"
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["max_agent_weight"] == 0.75
    assert written["agents"]["twin_d3qn"] is False
    taken = production_loop.main(
        ["--session", str(tmp_path), "--checkpoint", kept[-1], "--bars", "40"]
    )
    assert taken.total() == 40


def test_production_reads_states_and_prices_of_one_market() -> None:
    """The close that is handed over is the price that the tape's own account trades at."""
    feed = production_loop.Feed(1_100, 20)
    rows = range(0, len(feed.tape), 50)
    closes = np.array([feed.bar(row)[0] for row in rows])
    ticks = feed.tape.price_ticks_T[rows.start : rows.stop : rows.step]
    np.testing.assert_allclose(closes / closes[0], ticks / ticks[0], rtol=1e-4)
    assert all(feed.bar(row)[1] > 0.0 for row in rows)


def test_examples_run_as_files() -> None:
    """A user starts the file itself; the public module is found."""
    path = Path(basic_session.__file__)
    said = subprocess.run(
        [sys.executable, str(path), "--help"], capture_output=True, text=True, check=True
    )
    assert "--episodes" in said.stdout
