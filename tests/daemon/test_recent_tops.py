"""Quotes remembered by update id: the newest only, saved and restored exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.instrument_state import RECENT_QUOTES, RecentTops, Top


def top_of(number: int) -> Top:
    """Build a touch that tells which quote it came from."""
    return (number, 1, number + 1, 2)


@given(st.lists(st.integers(0, 60), max_size=200))
def test_last_word_on_every_id_is_remembered(update_ids: list[int]) -> None:
    """Like a dictionary as long as there is room, repeated ids included."""
    recent = RecentTops()
    wanted: dict[int, Top] = {}
    for number, update_id in enumerate(update_ids):
        recent.put(update_id, top_of(number))
        wanted[update_id] = top_of(number)
    assert {each: recent.get(each) for each in range(61)} == {
        each: wanted.get(each) for each in range(61)
    }


@pytest.mark.parametrize("extra", [0, 1, 5000])
def test_oldest_quotes_make_room(extra: int) -> None:
    """Exactly the newest ids are held, after a save and a restore too."""
    recent, copy = RecentTops(), RecentTops()
    count = RECENT_QUOTES + extra
    for number in range(count):
        recent.put(10 * number, top_of(number))
    copy.restore(*recent.state)
    for held in (recent, copy):
        assert held.get(10 * (extra - 1)) is None
        assert held.get(10 * extra) == top_of(extra)
        assert held.get(10 * (count - 1)) == top_of(count - 1)
    for held in (recent, copy):
        held.put(7, top_of(7))
    assert [recent.get(n) for n in range(0, 10 * count, 10)] == [
        copy.get(n) for n in range(0, 10 * count, 10)
    ]


def test_state_of_another_size_is_refused() -> None:
    """Arrays of another number of quotes are no state of this."""
    ids_n, top_n4, following = RecentTops().state
    with pytest.raises(ValueError, match="another number"):
        RecentTops().restore(ids_n[:5], top_n4, following)
    with pytest.raises(ValueError, match="another number"):
        RecentTops().restore(ids_n, np.zeros((5, 4), np.int64), following)
