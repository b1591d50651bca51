"""Rings inside a flat vector against a list."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.rings import ring_back, ring_put, ring_slot


@given(values=st.lists(st.floats(allow_nan=False), min_size=1, max_size=50), room=st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_ring_returns_the_last_values(values: list[float], room: int) -> None:
    """Looking back gives what a list gives, as far as the capacity reaches, and touches no more."""
    state = np.full(room + 4, -7.0)
    for index, value in enumerate(values):
        ring_put(state, 2, room, index, value)
        for back in range(min(room, index + 1)):
            assert ring_back(state, 2, room, index, back) == values[index - back]
    assert state[:2].tolist() == [-7.0, -7.0]
    assert state[2 + room :].tolist() == [-7.0, -7.0]
    assert ring_slot(2, room, 3, room + 1) == 2 + 3 * (1 % room)
