"""Alerts that look back: each fires beyond its limit, none without enough to go by."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.safety import AlertSettings
from config.settings import Settings
from daemon.alert_watch import AlertWatch
from daemon.alerts import MB, Finding, RecentEquity, Standing, look_back, regime_stability
from daemon.clock import ManualClock
from daemon.metrics import Metrics
from daemon.note import Note
from kernels.units import E8
from tests.fakes.recorded_run import make_engine

SETTINGS = AlertSettings(
    sharpe_samples_min=30, samples_max=500, sample_interval_ms=60_000, memory_mb_max=4096
)
STEADY = {"BTC/USDT:USDT": [1] * 50}


def equity_of(path: Sequence[float]) -> RecentEquity:
    equity = RecentEquity(SETTINGS)
    for value in path:
        equity.add(round(value * E8))
    return equity


def growing(drift: float, count: int = 100) -> list[float]:
    noise = np.random.default_rng(7).normal(drift, 0.001, count)
    return list(100_000 * np.exp(np.cumsum(noise)))


def events(
    equity: RecentEquity, labels: dict[str, list[int]] = STEADY, memory_bytes: int = 0
) -> list[str]:
    return [finding.event for finding in look_back(SETTINGS, equity, labels, memory_bytes)]


def test_nothing_is_wrong_with_a_quiet_profit() -> None:
    """A good Sharpe, no drawdown, a steady regime, little memory: silence."""
    assert events(equity_of(growing(0.0005))) == []


def test_low_sharpe_fires() -> None:
    """A strategy that loses steadily is worth a look."""
    assert events(equity_of(growing(-0.0002))) == ["sharpe_low"]


def test_sharpe_has_no_verdict_on_few_samples() -> None:
    """Thirty returns are wanted; twenty-nine say nothing."""
    falling = growing(-0.0005, 31)
    assert events(equity_of(falling[:30])) == []
    assert events(equity_of(falling)) == ["sharpe_low"]


def test_account_that_does_not_move_has_no_sharpe() -> None:
    """Without deviation the ratio is undefined, and undefined is no alert."""
    equity = equity_of([100_000.0] * 100)
    assert equity.sharpe() is None
    assert events(equity) == []


def test_sharpe_is_the_textbook_figure() -> None:
    """Mean over sample deviation of simple returns, times the root of the periods in a year."""
    path = growing(0.0003)
    rounded = np.round(np.array(path) * E8)
    returns = rounded[1:] / rounded[:-1] - 1.0
    expected = returns.mean() / returns.std(ddof=1) * math.sqrt(31_557_600 / 60)
    assert equity_of(path).sharpe() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("fall", "fires"), [(0.2, False), (0.2001, True)])
def test_recent_drawdown_fires_beyond_a_fifth(fall: float, fires: bool) -> None:
    """From the highest equity in the window to now."""
    equity = equity_of([90_000, 100_000, 100_000 * (1 - fall)])
    assert ("drawdown_recent" in events(equity)) is fires


def test_old_peaks_leave_the_window() -> None:
    """Recent means recent."""
    equity = equity_of([200_000.0, *([100_000.0] * SETTINGS.samples_max), 100_000.0])
    assert equity.drawdown_frac() == 0.0


def test_unstable_regime_fires_by_instrument() -> None:
    """A regime that changes with four of five decisions is of no use."""
    labels = {"BTC/USDT:USDT": [1] * 50, "ETH/USDT:USDT": [0, 1, 2, 3, 3] * 10}
    (finding,) = look_back(SETTINGS, equity_of([]), labels, 0)
    assert finding.event == "regime_unstable"
    assert finding.fields["instrument"] == "ETH/USDT:USDT"


@given(st.lists(st.integers(0, 6), max_size=60))
def test_stability_is_a_share(labels: list[int]) -> None:
    """Between 0 and 1, 1 for one regime throughout, undefined for too few."""
    stability = regime_stability(labels)
    if len(labels) < 10:
        assert stability is None
    else:
        assert stability is not None
        assert 0.0 <= stability <= 1.0
        assert (stability == 1.0) is (len(set(labels)) == 1)


@pytest.mark.parametrize(("memory_mb", "fires"), [(4096, False), (4097, True)])
def test_memory_fires_beyond_its_limit(memory_mb: int, fires: bool) -> None:
    """Four gigabytes are allowed."""
    assert ("memory_high" in events(equity_of([]), memory_bytes=memory_mb * MB)) is fires


def test_busy_core_fires() -> None:
    """A loop that has no time left is worth a look before it falls behind."""
    calm, busy = (look_back(SETTINGS, equity_of([]), STEADY, 0, frac) for frac in (0.9, 0.91))
    assert (calm, [finding.event for finding in busy]) == ([], ["cpu_high"])


def test_standing_finding_is_said_at_once_now_and_then_and_when_it_ends() -> None:
    """New findings need no wait, repeats do, and the end is told with the name of what ended."""
    standing = Standing(300)
    high = Finding(event="memory_high", fields={"memory_mb": 5000})
    assert standing.news([high], 0) == [high]
    assert standing.news([high], 299) == []
    assert standing.news([high], 300) == [high]
    (gone,) = standing.news([], 301)
    assert (gone.event, gone.fields) == ("alert_recovered", {"alert_event": "memory_high"})
    assert standing.news([], 302) == []
    assert standing.news([high], 303) == [high]


def test_instruments_stand_apart() -> None:
    """The regime of one instrument may calm down while another's does not."""
    standing = Standing(300)
    one, other = (
        Finding(event="regime_unstable", fields={"instrument": symbol}) for symbol in ("A", "B")
    )
    assert standing.news([one, other], 0) == [one, other]
    (gone,) = standing.news([other], 1)
    assert gone.fields == {"alert_event": "regime_unstable", "instrument": "A"}


def test_watch_looks_with_every_sample_and_measures_cpu_between_checks() -> None:
    """A change is heard within one sample; what a core spent counts over a whole interval."""
    clock, notes, metrics = ManualClock(), list[Note](), Metrics()
    spent_s, memory = [0.0], [0]
    settings = Settings(alerts=AlertSettings(check_interval_ms=60_000, sample_interval_ms=10_000))
    engine = make_engine()
    watch = AlertWatch(
        settings,
        engine,
        tuple(market.instrument for market in engine.markets),
        metrics=metrics,
        note=notes.append,
        clock=clock,
        memory_bytes=lambda: memory[0],
        cpu_s=lambda: spent_s[0],
    )

    def pass_s(seconds: int, share: float) -> list[str]:
        notes.clear()
        for _ in range(seconds):
            clock.advance(1_000_000_000)
            spent_s[0] += share
            watch.look()
        return [note.event for note in notes]

    assert pass_s(9, 1.0) == []
    memory[0] = 5000 * MB
    assert pass_s(1, 1.0) == ["memory_high"]
    memory[0] = 0
    assert pass_s(50, 1.0) == ["alert_recovered", "cpu_high"]
    assert pass_s(60, 0.1) == ["alert_recovered"]
