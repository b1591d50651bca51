"""The grade by hand, its borders, and a dead ensemble that earns nothing."""

from __future__ import annotations

import pytest

from strategy.evaluation.grade import grade, score

GOOD = {
    "sharpe": 1.0,
    "win_frac": 0.6,
    "drawdown_frac_max": 0.1,
    "confidence_frac": 0.5,
    "exposure_frac": 0.4,
}


def test_score_by_hand() -> None:
    """20 + 15 + 15 + 5 of 90 points, and all 90 make 100."""
    assert score(**GOOD) == pytest.approx(55.0 / 0.9)
    best = {"sharpe": 3.0, "win_frac": 1.0, "drawdown_frac_max": 0.0, "confidence_frac": 1.0}
    assert score(**best, exposure_frac=1.0) == pytest.approx(100.0)


def test_dead_ensemble_scores_nothing() -> None:
    """No position, or no Sharpe, is no merit, however small the drawdown."""
    assert score(**(GOOD | {"exposure_frac": 0.0})) == 0.0
    assert score(**GOOD | {"sharpe": None}) == 0.0  # type: ignore[arg-type]  # None is a case of it
    assert grade(0.0) == "F"


def test_letters_and_refusals() -> None:
    """Borders belong to the better letter; a fraction out of range is refused."""
    assert [grade(p) for p in (85, 84.9, 70, 55, 40, 39.9)] == ["A", "B", "B", "C", "D", "F"]
    with pytest.raises(ValueError, match="win rate"):
        score(**(GOOD | {"drawdown_frac_max": 1.5}))
