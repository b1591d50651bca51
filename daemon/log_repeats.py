"""Keeps a log readable when the same thing is said over and over: few lines, and then a count.

Two lines are the same when nothing but their time differs, so no order, fill or decision is ever
held back: each has numbers of its own. Time comes from the events; nothing here reads a clock.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

WINDOW_NS = 60_000_000_000
KEYS_MAX = 256


@dataclass(slots=True)
class _Said:
    first_ns: int
    count: int = 0


class Repeats:
    """Which lines may be written: the first ``repeats_max`` of the same ones in each minute."""

    def __init__(self, repeats_max: int) -> None:
        """Know no line yet."""
        self._repeats_max = repeats_max
        self._said: OrderedDict[str, _Said] = OrderedDict()

    def admit(self, key: str, now_ns: int) -> tuple[bool, int]:
        """Say whether a line may be written now, and how many of it were held back before.

        The count is told with the first line of the next window; a line that never comes again is
        told by ``held_back``.
        """
        said = self._said.get(key)
        before = 0
        if said is None or not 0 <= now_ns - said.first_ns < WINDOW_NS:
            before = 0 if said is None else max(said.count - self._repeats_max, 0)
            said = self._said[key] = _Said(now_ns)
            self._said.move_to_end(key)
        said.count += 1
        while len(self._said) > KEYS_MAX:
            self._said.popitem(last=False)
        return said.count <= self._repeats_max, before

    def held_back(self, now_ns: int) -> dict[str, int]:
        """Return and forget the counts of windows that are over; for the end, give a late time."""
        over = {
            key: said.count - self._repeats_max
            for key, said in self._said.items()
            if now_ns - said.first_ns >= WINDOW_NS
        }
        for key in over:
            del self._said[key]
        return {key: count for key, count in over.items() if count > 0}
