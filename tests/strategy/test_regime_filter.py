"""The regime filter: equal to a naive twin, blind to the future, the same bar by bar."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.labelled_bars import STATE, WORLDS, draw_labelled, state_numbers
from kernels.market_worlds import STATE_REGIMES
from strategy.regime_filter import RegimeFilter, uninformed_filter
from strategy.regime_fit import FilterShape, build_filter, fit_filter, fit_path, for_any_instrument
from strategy.regime_steps import BARS, REGIME, SCALE
from tests.naive.naive_regimes import forward_probabilities

Floats = NDArray[np.float64]

RICH = FilterShape(
    phases=3, level_sd=0.25, offset_sd=0.3, volume_memory=0.5, shock=0.1, memory=0.85, tau=0.8
)


@pytest.fixture(scope="module", name="path_T4")
def labelled_path() -> Floats:
    """Return a labelled path of the misspecified world."""
    return draw_labelled("misspecified", 30_000, np.random.default_rng(3))


@pytest.fixture(scope="module")
def rich(path_T4: Floats) -> RegimeFilter:
    """Return a filter with every effect switched on."""
    return build_filter(path_T4, STATE_REGIMES, RICH)


@pytest.mark.parametrize("phases", [1, 3])
@pytest.mark.parametrize("tau", [0.4, 1.0])
def test_equals_a_dense_forward_pass(path_T4: Floats, phases: int, tau: float) -> None:
    """Without effects per episode it is the textbook forward algorithm on K x P states."""
    fitted = build_filter(path_T4, STATE_REGIMES, FilterShape(phases=phases, tau=tau))
    found_TR = fitted.run(path_T4[:400])
    wanted_TR = forward_probabilities(fitted, path_T4[:400])
    np.testing.assert_allclose(found_TR, wanted_TR, atol=1e-10)


@pytest.mark.parametrize("live", [False, True])
def test_streaming_equals_batch(rich: RegimeFilter, path_T4: Floats, live: bool) -> None:
    """Bar by bar, stored and restored in between, gives the batch's very bits."""
    fitted = for_any_instrument(rich) if live else rich
    batch_TR = fitted.run(path_T4[:2000])
    state, row_R = fitted.opening_state(), np.empty(7)
    for t in range(2000):
        state = np.frombuffer(state.tobytes()).copy()
        fitted.step(state, path_T4[t, :3].copy(), row_R)
        assert row_R.tobytes() == batch_TR[t].tobytes()


def test_the_future_changes_nothing(rich: RegimeFilter, path_T4: Floats) -> None:
    """Cut at any bar, what was said before stays bit for bit; 100,000 bars are compared."""
    fitted = for_any_instrument(rich)
    whole_TR = fitted.run(path_T4)
    generator = np.random.default_rng(9)
    compared = 0
    while compared < 100_000:
        cut = int(generator.integers(1, len(path_T4)))
        other_T4 = path_T4.copy()
        other_T4[cut:, :2] = generator.normal(size=(len(path_T4) - cut, 2))
        assert fitted.run(other_T4)[:cut].tobytes() == whole_TR[:cut].tobytes()
        compared += cut


def test_a_leak_would_be_seen(rich: RegimeFilter, path_T4: Floats) -> None:
    """The truncation test can fail: rows moved by one bar differ after a cut."""
    other_T4 = path_T4[:1000].copy()
    other_T4[500:, 0] *= 40.0
    early_TR = rich.run(path_T4[:1000])[1:501]
    assert early_TR.tobytes() != rich.run(other_T4)[1:501].tobytes()


def test_tables_give_the_filter_back(rich: RegimeFilter, path_T4: Floats) -> None:
    """A bundle's tables hold the whole filter; without tables it knows nothing."""
    again = RegimeFilter.from_tables(rich.to_tables())
    assert again.run(path_T4[:500]).tobytes() == rich.run(path_T4[:500]).tobytes()
    unknown_TR = RegimeFilter.from_tables({}).run(path_T4[:500])
    np.testing.assert_allclose(unknown_TR, 1.0 / 7.0, atol=1e-12)
    tables = rich.to_tables()
    del tables["regime_filter.next"]
    with pytest.raises(ValueError, match=r"regime_filter\.next is missing"):
        RegimeFilter.from_tables(tables)


def test_refuses_impossible_numbers(rich: RegimeFilter) -> None:
    """Shapes, volatilities and transitions are checked where a filter is built."""
    with pytest.raises(ValueError, match="no distribution"):
        replace(rich, next_KK=rich.next_KK * 1.1)
    with pytest.raises(ValueError, match="not positive"):
        replace(rich, level_M2=rich.level_M2 * np.array([-1.0, 1.0]))
    with pytest.raises(ValueError, match="numbers"):
        replace(rich, numbers_N=rich.numbers_N[:-1])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e12, -1e12, 0.0])
def test_bad_bars_leave_a_posterior(rich: RegimeFilter, path_T4: Floats, bad: float) -> None:
    """No print, however wild or missing, turns the posterior into something else."""
    for fitted in (rich, for_any_instrument(rich)):
        bars_T3 = path_T4[:600, :3].copy()
        bars_T3[300:310, 0] = bad
        bars_T3[305:315, 1] = bad
        found_TR = fitted.run(bars_T3)
        assert np.isfinite(found_TR).all()
        np.testing.assert_allclose(found_TR.sum(axis=1), 1.0, atol=1e-9)


def test_own_units_do_not_matter_live(rich: RegimeFilter, path_T4: Floats) -> None:
    """An instrument a hundred times calmer, with other volumes, reads the same."""
    fitted = for_any_instrument(rich)
    other_T4 = path_T4[:3000] * np.array([0.01, 1.0, 1.0, 1.0]) + np.array([0.0, 9.0, 0.0, 0.0])
    np.testing.assert_allclose(fitted.run(other_T4), fitted.run(path_T4[:3000]), atol=1e-6)


def test_finds_planted_regimes(path_T4: Floats) -> None:
    """On a world it assumes, the filter names the state far better than the commonest would."""
    train_T4 = draw_labelled("textbook", 30_000, np.random.default_rng(5))
    test_T4 = draw_labelled("textbook", 10_000, np.random.default_rng(6))
    fitted, shape = fit_path(train_T4, rounds=1)
    label_T = np.array(STATE_REGIMES)[test_T4[:, STATE].astype(int)]
    hit = (fitted.run(test_T4).argmax(axis=1) == label_T).mean()
    assert hit > 0.85 > 2 * np.bincount(label_T).max() / len(label_T)
    assert shape.phases == 1


def test_fit_is_a_pure_function() -> None:
    """The same worlds and seed give the same tables; another seed others."""
    first, again, other = (fit_filter(("realistic",), seed, 8_000) for seed in (1, 1, 2))
    for name, table in first.to_tables().items():
        assert table.tobytes() == again.to_tables()[name].tobytes()
    assert first.state_KP.tobytes() != other.state_KP.tobytes()


def test_range_is_used_where_a_market_has_it() -> None:
    """A range that follows the volatility raises the hit rate; a missing one is passed over."""
    generator = np.random.default_rng(4)
    path_T4 = draw_labelled("realistic", 30_000, generator)
    states_T = path_T4[:, STATE].astype(int)
    sigma_T = state_numbers(WORLDS["realistic"])[states_T, 0]
    ranged_T4 = path_T4.copy()
    ranged_T4[:, 2] = np.log(sigma_T) + 0.3 * generator.normal(size=len(path_T4))
    label_T = np.array(STATE_REGIMES)[states_T]
    hits = []
    for path in (path_T4, ranged_T4):
        fitted = build_filter(path[:20_000], STATE_REGIMES, FilterShape())
        hits.append((fitted.run(path[20_000:]).argmax(axis=1) == label_T[20_000:]).mean())
    assert hits[1] > hits[0] + 0.03


def test_state_counts_bars(rich: RegimeFilter, path_T4: Floats) -> None:
    """The flat state keeps the number of bars; its size does not depend on it."""
    state = rich.opening_state()
    rich.run(path_T4[:100], state)
    assert state[BARS] == 100
    assert len(state) == len(rich.opening_state())
    assert rich.numbers_N[SCALE] > 0.0
    assert rich.state_KP[:, REGIME].max() == 6
    assert uninformed_filter(3).regime_count == 3
