"""A second copy of the book, held against whatever else the venue says about it.

The copy takes exactly the events that go into the lanes, so what it proves holds for the engine's
book as well. Pure: no I/O, no clock.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.book import Book, Continuity, DepthSequence
from kernels.events import DepthDiff, DepthSnapshot, Side

Top = tuple[int, int, int, int]
"""Best bid ticks and lots, best ask ticks and lots."""

EQUAL = ""
"""Answer of an audit that found no difference."""

_SIDES = (Side.BUY, Side.SELL)
_EVERY_LEVEL = 2**31


class BookProof:
    """The book as the feed has passed it on; ``is_crossed`` is renewed by every change."""

    def __init__(self, snapshot_levels: int) -> None:
        """Hold nothing; ``snapshot_levels`` is how many levels a side the venue is asked for."""
        self._book = Book()
        self._snapshot_levels = snapshot_levels
        self._reach = (0, 0)
        self._kept: list[DepthDiff] | None = None
        self.is_crossed = False

    @property
    def update_id(self) -> int:
        """Id of the newest change, 0 without a book."""
        return self._book.last_update_id

    def best(self) -> Top:
        """Return best bid ticks and lots, best ask ticks and lots; zeros for an empty side."""
        return self._book.best()

    def load(self, snapshot: DepthSnapshot) -> None:
        """Start anew from a snapshot."""
        self._book.load(snapshot)
        self._reach = _reach(snapshot, self._snapshot_levels)
        self._kept = None
        self.is_crossed = self._book.is_crossed()

    def apply(self, diff: DepthDiff) -> None:
        """Take a change that continues the book."""
        self._book.apply(diff)
        if self._kept is not None:
            self._kept.append(diff)
        self.is_crossed = self._book.is_crossed()

    def clear(self) -> None:
        """Forget the book; an audit under way can no longer be answered."""
        self._book.clear()
        self._kept = None
        self.is_crossed = False

    def begin_audit(self) -> None:
        """Keep the changes from now on: a snapshot asked for after this can be brought up to us."""
        self._kept = []

    def end_audit(self) -> None:
        """Keep no changes any more."""
        self._kept = None

    def audit(self, snapshot: DepthSnapshot) -> str | None:
        """Compare with a snapshot: ``EQUAL``, the first difference, or None: it cannot be said.

        None means that the snapshot is ahead of the stream (ask again after the next change) or
        that it does not join the changes kept. Levels that either snapshot did not reach are left
        out: the venue tells nothing of a far level that does not change.
        """
        kept = self._kept
        if kept is None or self.update_id < snapshot.last_update_id:
            return None
        theirs = Book()
        theirs.load(snapshot)
        sequence = DepthSequence()
        sequence.snapshot(snapshot.last_update_id)
        for diff in kept:
            continuity = sequence.check(
                diff.first_update_id, diff.last_update_id, diff.previous_update_id
            )
            if continuity is Continuity.GAP:
                return None
            if continuity is not Continuity.OLD:
                theirs.apply(diff)
        if theirs.last_update_id != self.update_id:
            return None
        reach = _reach(snapshot, self._snapshot_levels)
        for side, mine, other in zip(_SIDES, self._reach, reach, strict=True):
            bounds = [key for key in (mine, other) if key]
            reason = self._difference(theirs, side, max(bounds, default=0))
            if reason:
                return reason
        return EQUAL

    def _difference(self, theirs: Book, side: Side, farthest_key: int) -> str:
        """Name the first level that differs; ``farthest_key`` is side * ticks, 0 for no bound."""
        mine_n2, theirs_n2 = (
            _within(book.levels(side, _EVERY_LEVEL), side, farthest_key)
            for book in (self._book, theirs)
        )
        if np.array_equal(mine_n2, theirs_n2):
            return EQUAL
        held = dict(mine_n2.tolist())
        stated = dict(theirs_n2.tolist())
        ticks = max(
            (each for each in held.keys() | stated.keys() if held.get(each) != stated.get(each)),
            key=lambda each: int(side) * each,
        )
        return (
            f"{side.name} {ticks} ticks: {held.get(ticks, 0)} lots here, "
            f"{stated.get(ticks, 0)} at the venue"
        )


def _reach(snapshot: DepthSnapshot, snapshot_levels: int) -> tuple[int, int]:
    """Return side * ticks of the farthest level told per side; 0 where all levels were told."""
    bids_n2, asks_n2 = snapshot.bid_levels_n2, snapshot.ask_levels_n2
    return (
        int(bids_n2[:, 0].min()) if len(bids_n2) >= snapshot_levels else 0,
        -int(asks_n2[:, 0].max()) if len(asks_n2) >= snapshot_levels else 0,
    )


def _within(levels_n2: NDArray[np.int64], side: Side, farthest_key: int) -> NDArray[np.int64]:
    if not farthest_key:
        return levels_n2
    return levels_n2[int(side) * levels_n2[:, 0] >= farthest_key]
