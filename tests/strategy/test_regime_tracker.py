"""The reported regime: hysteresis, the quick way into crisis, stability, history."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.events import REGIMES
from strategy.regime_tracker import (
    RegimeTracker,
    crisis_alarms,
    false_alarms,
    fit_crisis_level,
    stability_of,
)


def posterior(index: int, chance: float, count: int = 7) -> np.ndarray:
    """Return a posterior with one regime at a chance and the others alike."""
    rest_K = np.full(count, (1.0 - chance) / (count - 1))
    rest_K[index] = chance
    return rest_K


@pytest.mark.parametrize(("threshold", "changes"), [(0.5, True), (0.7, False), (0.8, False)])
def test_presets_differ_in_what_changes_the_name(threshold: float, changes: bool) -> None:
    """A posterior of .6 is enough for aggressive, not for balanced or conservative."""
    tracker = RegimeTracker(threshold=threshold, window=50)
    for _ in range(5):
        tracker.update(posterior(0, 0.9))
    for _ in range(5):
        last = tracker.update(posterior(2, 0.6))
    assert (last == 2) is changes


def test_dwell_holds_a_name_for_five_bars() -> None:
    """A name that just changed stays for five bars, however sure the posterior is."""
    tracker = RegimeTracker(threshold=0.5, window=50)
    seen = [tracker.update(posterior(0, 0.9))]
    seen += [tracker.update(posterior(1, 0.9)) for _ in range(6)]
    assert seen == [0, 0, 0, 0, 0, 1, 1]


def test_regime_that_has_long_been_ruled_out_gives_way_below_the_threshold() -> None:
    """Seven bars likeliest and the reported one under a twentieth: enough at any threshold."""
    tracker = RegimeTracker(threshold=0.99, window=50)
    seen = [tracker.update(posterior(0, 0.9))]
    seen += [tracker.update(posterior(1, 0.8)) for _ in range(8)]
    assert seen == [0] * 7 + [1, 1]
    tracker = RegimeTracker(threshold=0.99, window=50)
    seen = [tracker.update(posterior(0, 0.9))]
    seen += [tracker.update(posterior(1, 0.6)) for _ in range(8)]
    assert seen == [0] * 9, "what is still possible is not ruled out"


def test_crisis_is_quick_in_and_slow_out() -> None:
    """A crisis posterior above its level names it at once; it stays to a quarter of that level."""
    tracker = RegimeTracker(threshold=0.7, window=50, crisis_level=0.2)
    for _ in range(9):
        tracker.update(posterior(3, 0.95))
    assert tracker.update(posterior(6, 0.25)) == 6
    assert tracker.update(posterior(3, 0.6)) == 6
    assert tracker.get_regime_info()["is_crisis_alarm"] is True
    for _ in range(5):
        last = tracker.update(posterior(3, 0.95))
    assert last == 3


def test_stability_is_not_one_for_a_stuck_label() -> None:
    """A label that never changes on an unsure posterior is not stable."""
    stuck = RegimeTracker(threshold=0.7, window=10)
    sure = RegimeTracker(threshold=0.7, window=10)
    for _ in range(10):
        stuck.update(posterior(0, 0.2))
        sure.update(posterior(0, 0.999))
    assert stuck.stability < 0.1
    assert sure.stability > 0.95
    assert stability_of(np.full(7, 1.0 / 7.0)) == pytest.approx(0.0, abs=1e-12)


def test_information_names_what_happened() -> None:
    """Name, confidence, probabilities and history of the window are told; unknown before."""
    tracker = RegimeTracker(threshold=0.5, window=4)
    assert tracker.get_regime_info()["current_regime"] == "unknown"
    for index in (0, 0, 0, 0, 0, 1, 1):
        tracker.update(posterior(index, 0.8))
    told = tracker.get_regime_info()
    assert told["current_regime"] == "trending_bear"
    assert told["regime_confidence"] == pytest.approx(0.8)
    assert told["regime_history"] == ["trending_bull"] * 2 + ["trending_bear"] * 2
    assert tuple(told["regime_probabilities"]) == REGIMES  # type: ignore[arg-type]  # the answer is a mapping


def test_regimes_are_configurable() -> None:
    """Any list of names works; one without a crisis has no quick way."""
    tracker = RegimeTracker(threshold=0.5, window=4, names=("up", "down"), crisis_level=0.1)
    assert tracker.update(posterior(1, 0.9, 2)) == 1
    assert tracker.get_regime_info()["current_regime"] == "down"
    with pytest.raises(ValueError, match="repeat"):
        RegimeTracker(threshold=0.5, window=4, names=("up", "up"))
    with pytest.raises(ValueError, match="posterior"):
        tracker.update(posterior(1, 0.9))


def test_a_posterior_that_is_not_finite_changes_nothing() -> None:
    """The report survives a broken bar."""
    tracker = RegimeTracker(threshold=0.5, window=4)
    tracker.update(posterior(2, 0.9))
    assert tracker.update(np.full(7, np.nan)) == 2


def test_level_keeps_the_rate_of_false_alarms() -> None:
    """The fitted level allows no more false alarms than asked, and a lower one would."""
    generator = np.random.default_rng(2)
    crisis_T = generator.beta(0.3, 6.0, 20_000)
    nothing_T = np.zeros(20_000, dtype=np.bool_)
    level = fit_crisis_level(crisis_T, nothing_T, 5.0)
    allowed = 5.0 * 20_000 / 720
    assert false_alarms(crisis_alarms(crisis_T, level), nothing_T) <= allowed
    assert false_alarms(crisis_alarms(crisis_T, 0.05), nothing_T) > allowed


def test_a_tracker_restored_reports_the_same_from_there_on() -> None:
    """State out and in: name, age, alarm, stability and history go on unchanged."""
    generator = np.random.default_rng(3)
    kept = RegimeTracker(threshold=0.4, window=9, crisis_level=0.3)
    for _ in range(30):
        kept.update(generator.dirichlet(np.full(7, 0.4)))
    restored = RegimeTracker(threshold=0.4, window=9, crisis_level=0.3)
    restored.restore(kept.state)
    for _ in range(30):
        posterior_K = generator.dirichlet(np.full(7, 0.4))
        assert restored.update(posterior_K) == kept.update(posterior_K)
        assert restored.get_regime_info() == kept.get_regime_info()
    with pytest.raises(ValueError, match="other regimes"):
        restored.restore(np.zeros(9))


def test_a_shorter_window_keeps_the_newest_bars() -> None:
    """A reload changes threshold and history from the next bar on."""
    tracker = RegimeTracker(threshold=0.9, window=50)
    for index in range(6):
        tracker.update(posterior(index, 0.5))
    tracker.use(threshold=0.4, window=3)
    info = tracker.get_regime_info()
    assert len(info["regime_history"]) == 3  # type: ignore[arg-type]  # a list under that name
    assert tracker.update(posterior(4, 0.5)) == 4
