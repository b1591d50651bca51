"""The tear sheet says what the report says, escapes what it is given, and asks nobody."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from strategy.evaluation.figures import INSUFFICIENT
from strategy.evaluation.tear_figures import figures_of
from strategy.evaluation.tear_sheet import tear_sheet


def interval(estimate: float) -> dict[str, Any]:
    span = {"estimate": estimate, "low": estimate - 1.0, "high": estimate + 1.0}
    return {**span, "bars": 900, "draws": 1_000, "block_bars": 2.0}


def small_report() -> dict[str, Any]:
    """Return a report by hand, one row of each kind, with what a page must escape."""
    metrics = {
        **{"total_return": 0.1, "drawdown_frac_max": 0.05, "sortino": None, "calmar": 1.5},
        "win_frac": 0.5,
    }
    activity = {"turnover_per_year": 80.0, "cost_frac": 0.01, "shortfall_bps": 6.0}
    standing = {"is_tradable": True, "metrics": metrics, "activity": activity, "spa_p": 0.4}
    random = {
        **{"name": "turnover-matched random", "draws": 1000, "median": 0.1, "low": -1.0},
        **{"high": 1.2, "percentile_frac": 0.42, "total_return": 0.02, "turnover_per_year": 81.0},
    }
    variant = {
        **{"sharpe": interval(0.2), "lead": interval(0.1), "change": None},
        **{"total_return": 0.1, "cost_frac": 0.01},
    }
    regime = {"bars": 10, "share": 0.1, "episodes": 3, "verdict": INSUFFICIENT}
    nothing = {"mean_bps": None, "low_bps": None, "high_bps": None, "win_frac": None}
    names = ["trending_bull", "trending_bear", "high_vol_range", "low_vol_range"]
    names += ["breakout", "reversal", "crisis"]
    return {
        "headline": "The ensemble is not distinguishable from equal weight: <b>&",
        "missing": ["DSR 0.10, needed above 0.95"],
        "findings": [{"name": "ledger", "is_clean": False, "said": "</script><i>"}],
        **{"bundle": "models/<x>", "bundle_sha256": "ab" * 32, "status": "trained"},
        **{"bars_file": "btc.parquet", "bars_sha256": "cd" * 32, "config_sha256": "ef" * 32},
        **{"commit": "", "resampling_seed": 7, "created": "2026-01-01T00:00:00+00:00"},
        "bars": {"training": 100, "test": 900, "length_s": 3600.0},
        **{"test_from_ns": 1_600_000_000 * 10**9, "test_to_ns": 1_603_240_000 * 10**9},
        "costs": {"fee_frac": 5e-4, "funding_frac": 1e-4, "half_ticks": 1.0},
        "seal": ["opened once, 2026-01-01"],
        "random": random,
        "standings": [
            {**standing, "name": "ensemble", "sharpe": interval(0.2), "lead": None, "spa_p": None},
            {**standing, "name": "equal weight", "sharpe": interval(0.1), "lead": interval(0.1)},
            {**standing, "name": "cash", "sharpe": None, "lead": None, "is_tradable": False},
        ],
        "cost_sensitivity": [{**variant, "name": "costs x 2"}],
        "latency": [{**variant, "name": "filled 1 bars later"}],
        "starts": [{**variant, "name": "from 0.0% of the test on"}],
        "ablations": [{**variant, "name": "without ppo", "change": interval(-0.1)}],
        "regimes": [{**regime, **nothing, "name": name, "sharpe": None} for name in names],
        "certainty": {
            **{"psr": 0.6, "dsr": 0.1, "pbo": None, "record_years_min": None, "trials": 12},
            **{"trials_effective": 3.2, "confident": ["ensemble", "cash"]},
        },
        "calibration": [{"name": "skill", "slope": None, "low": None, "high": None, "bars": 9}],
        "risk": {
            **{"windows": 4, "near_frac": 0.5, "ratio": 1.1, "bars": 900, "beyond_frac": 0.04},
            **{"coverage_p": 0.2, "independence_p": None, "learned_beyond_frac": 0.051},
            **{"learned_coverage_p": 0.6, "learned_independence_p": 0.7},
        },
        "requirements": [{"name": "R4 risk", "is_met": False, "said": "too <wild>"}],
        "specified": {"episodes": 20, "mean_return": 0.01, "mean_sharpe_ratio": 0.2, "grade": "D"},
        "curves": {
            "ms": [1_600_000_000_000, 1_600_003_600_000],
            "equity": {"ensemble": [1.0, 1.1], "equal weight": [1.0, 1.0]},
            "drawdown": [0.0, 0.01],
            "regime": [0, 6],
            "regimes": names,
            "weights": {"ppo": [0.6, 0.5], "cash": [0.4, 0.5]},
            "posterior": {name: [1 / 7, 1 / 7] for name in names},
        },
    }


class Words(HTMLParser):
    """Collects what a reader sees, and every address that the page names in an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.addresses: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("script", "style")
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "action")]

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text.append(data)


@pytest.fixture(scope="module")
def page() -> str:
    """Draw the sheet once."""
    return tear_sheet(small_report())


def test_the_sheet_says_what_the_report_says(page: str) -> None:
    """Headline, reasons, trials, hashes, intervals and what is insufficient, as text."""
    words = Words()
    words.feed(page)
    text = " ".join(words.text)
    report = small_report()
    for part in (
        *(report["headline"], report["missing"][0], "btc.parquet", "ab" * 32, "cd" * 32),
        *("+0.20 [-0.80, +1.20]", "not tradable", INSUFFICIENT, "undefined", "12 trials"),
        *(
            "50% of 4",
            "opened once, 2026-01-01",
            "without ppo",
            "costs x 2",
            "above 42.0% of 1,000",
            "at least 1 half price steps",
            "models/<x>",
            "</script><i>",
            "MISSED",
            "too <wild>",
            "5.1%",
        ),
    ):
        assert part in text, part


def test_the_sheet_needs_nothing_else(page: str) -> None:
    """No address but the empty icon, and a policy that forbids to ask for one."""
    words = Words()
    words.feed(page)
    assert words.addresses == ["data:,"]
    assert "default-src 'none'" in page
    assert page.count("<script") == 3
    embedded = re.search(r'id="figures">(.*?)</script>', page, re.DOTALL)
    assert embedded is not None
    assert json.loads(embedded[1]) == json.loads(json.dumps(figures_of(small_report())))


def test_figures_leave_out_what_is_undefined() -> None:
    """A rival without a Sharpe has no point; intervals are drawn from the report's ends."""
    figures = figures_of(small_report())
    (trace,) = figures["rivals"]["data"]
    assert trace["y"] == ["turnover-matched random", "equal weight", "ensemble"]
    assert trace["error_x"]["array"] == pytest.approx([1.1, 1.0, 1.0])
    stacked = figures["weights"]["data"]
    assert [line["name"] for line in stacked] == ["ppo", "cash"]
    kinds = [part["type"] for part in figures["equity"]["data"]]
    assert kinds == ["heatmap", "scatter", "scatter", "scatter"]
