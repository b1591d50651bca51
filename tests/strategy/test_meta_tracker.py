"""The tracker counts what a run decided; each figure against one counted by hand."""

from __future__ import annotations

import pytest

from strategy.meta_tracker import MetaLearningTracker


def test_every_series_is_what_was_decided() -> None:
    """Two instruments, five decisions, one of them abstained: all figures by hand."""
    tracker = MetaLearningTracker(("calm", "wild"))
    tracker.track(regime=0, weights_N=(0.5, 0.5), action=2, instrument=0)
    tracker.track(regime=1, weights_N=(1.0, 0.0), action=0, instrument=1)
    tracker.track(regime=1, weights_N=(1.0, 0.0), action=1, instrument=0)
    tracker.track(regime=1, weights_N=(0.0, 0.0), action=1, instrument=1)
    tracker.track(regime=0, weights_N=(0.8, 0.2), action=2, instrument=0)
    assert tracker.decision_count == 5
    assert tracker.regime_transition_rate == pytest.approx(2 / 3)  # 0>1, 1=1, 1>0
    assert tracker.weight_diversity == pytest.approx((2.0 + 1.0 + 1.0 + 1.0 / 0.68) / 4.0)
    assert tracker.decision_distribution == {"SELL": 0.2, "HOLD": 0.4, "BUY": 0.4}
    assert tracker.regime_distribution == {"calm": 0.4, "wild": 0.6}
    assert set(tracker.summary()) == {
        "decision_count",
        "regime_transition_rate",
        "weight_diversity",
        "decision_distribution",
        "regime_distribution",
    }


def test_nothing_seen_is_none_or_zero() -> None:
    """Before a decision no rate and no diversity is claimed."""
    tracker = MetaLearningTracker()
    assert tracker.decision_count == 0
    assert tracker.regime_transition_rate is None
    assert tracker.weight_diversity is None
    assert not any(tracker.decision_distribution.values())


@pytest.mark.parametrize(("regime", "action"), [(7, 1), (-1, 1), (0, 3), (0, -1)])
def test_what_does_not_exist_is_refused(regime: int, action: int) -> None:
    """An index outside the regimes or actions is a caller's bug."""
    with pytest.raises(ValueError, match="does not exist"):
        MetaLearningTracker().track(regime=regime, weights_N=(1.0,), action=action)
