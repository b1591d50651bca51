"""A synthetic market as a history: reproducible, whole, and blind to what comes later."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.features import DEFAULT_FEATURE_NAMES
from strategy.learning.bar_history import History
from strategy.learning.market_history import market_history

SECOND_NS = 1_000_000_000


def drawn(market: str = "trending", *, bars: int = 40, seed: int = 1, seconds: int = 1) -> History:
    """Return a short history."""
    return market_history(
        market,
        bars=bars,
        interval_ns=seconds * SECOND_NS,
        seed=seed,
        feature_names=DEFAULT_FEATURE_NAMES,
        half_spread_frac=1e-5,
    )


@pytest.fixture(scope="module")
def history() -> History:
    """Return one history for all."""
    return drawn()


def test_rows_are_whole(history: History) -> None:
    """As many as asked for, finite, on the second, and features of the book among them."""
    assert len(history) == 40
    assert np.isfinite(history.features_TF).all()
    assert (np.diff(history.close_ns_T) == SECOND_NS).all()
    np.testing.assert_allclose(history.half_tick_T * history.close_T, 0.05)
    for name in ("imbalance_5", "depth_slope", "order_flow_imbalance", "basis_bps"):
        assert history.features_TF[:, DEFAULT_FEATURE_NAMES.index(name)].std() > 0.0, name


def test_returns_are_those_of_the_closes(history: History) -> None:
    """The return of a row is that of the bar which follows, as the engine closed it too."""
    wanted_T = np.diff(np.log(history.close_T))
    np.testing.assert_allclose(history.return_T[:-1], wanted_T)
    assert history.return_T[-1] == 0.0
    closed_T = history.bars_M3[history.bar_end_T[1:] - 1, 0]
    np.testing.assert_allclose(closed_T, wanted_T, atol=1e-7)


def test_a_longer_history_begins_the_same(history: History) -> None:
    """What comes later changes no earlier row; another seed changes them all."""
    shorter, other = drawn(bars=15), drawn(bars=15, seed=2)
    np.testing.assert_array_equal(shorter.features_TF, history.features_TF[:15])
    np.testing.assert_array_equal(shorter.return_T[:-1], history.return_T[:14])
    assert not (other.close_T == shorter.close_T).any()


@pytest.mark.parametrize(
    ("market", "bars", "seconds", "reason"),
    [("nowhere", 10, 1, "no synthetic market"), ("calm", 1, 1, "at least 2")],
)
def test_what_cannot_be_drawn_is_refused(market: str, bars: int, seconds: int, reason: str) -> None:
    """One sentence says what is wrong."""
    with pytest.raises(ValueError, match=reason):
        drawn(market, bars=bars, seconds=seconds)
