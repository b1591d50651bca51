"""The open bar: its prices, its volumes and when it is due."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels import feature_slots as at
from kernels.bars import bar_of, bar_price, bar_trade, bars_due, next_bar

INTERVAL_NS = 250_000_000


def new_state() -> NDArray[np.float64]:
    """Return a state that has seen nothing."""
    state = np.zeros(at.VARIABLE_PART)
    state[at.BAR_INTERVAL_NS] = INTERVAL_NS
    state[at.BAR_INDEX] = -1.0
    return state


@given(now_ns=st.integers(0, 4 * 10**18))
@settings(max_examples=80, deadline=None)
def test_bars_lie_on_the_grid_of_the_epoch(now_ns: int) -> None:
    """The index times the interval is the last grid time not after now, exactly, in nanoseconds."""
    start_ns = bar_of(new_state(), now_ns) * INTERVAL_NS
    assert start_ns <= now_ns < start_ns + INTERVAL_NS


@given(steps=st.lists(st.integers(-3, 40), min_size=1, max_size=20))
@settings(max_examples=80, deadline=None)
def test_due_bars_are_those_that_ended(steps: list[int]) -> None:
    """The first time only starts the count; then every ended interval is due once; none before."""
    state = new_state()
    now_ns = 10**15
    assert bars_due(state, now_ns) == 0
    opened = now_ns // INTERVAL_NS
    for step in steps:
        now_ns += step * INTERVAL_NS // 4
        due = bars_due(state, now_ns)
        assert due == max(0, now_ns // INTERVAL_NS - opened)
        for _ in range(due):
            next_bar(state)
        opened += due
        assert bars_due(state, now_ns) == 0


def test_a_long_silence_skips_bars() -> None:
    """Beyond the bound the index jumps, so that the last bar due still ends at the right time."""
    state = new_state()
    bars_due(state, 0)
    far = 10 * at.CATCH_UP_BARS_MAX
    assert bars_due(state, far * INTERVAL_NS) == at.CATCH_UP_BARS_MAX
    assert state[at.BAR_INDEX] == far - at.CATCH_UP_BARS_MAX


@given(mids=st.lists(st.floats(1.0, 1e9), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_prices_and_volumes_of_a_bar(mids: list[float]) -> None:
    """Open, high and low follow the quotes; volumes add up; the next bar starts empty."""
    state = new_state()
    for i, mid in enumerate(mids):
        bar_price(state, mid, 2.0, 3.0)
        bar_trade(state, mid, 2.0, 1.0 if i % 2 else -1.0)
    assert state[at.BAR_OPEN] == mids[0]
    assert (state[at.BAR_HIGH], state[at.BAR_LOW]) == (max(mids), min(mids))
    assert state[at.BAR_VOLUME_LOTS] == 2.0 * len(mids)
    assert state[at.BAR_SIGNED_LOTS] == -2.0 * (len(mids) % 2)
    assert state[at.BAR_NOTIONAL] == pytest.approx(2.0 * sum(mids), rel=1e-12)
    assert state[at.BAR_SPREAD_SUM_BPS] / state[at.BAR_QUOTES] == 2.0
    assert state[at.BAR_ORDER_FLOW_LOTS] == 3.0 * len(mids)
    next_bar(state)
    for slot in (at.BAR_QUOTES, at.BAR_VOLUME_LOTS, at.BAR_SIGNED_LOTS, at.BAR_NOTIONAL):
        assert state[slot] == 0.0
