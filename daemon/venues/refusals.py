"""Counts frames that cannot be read, and says so at most once a second."""

from __future__ import annotations

from collections.abc import Callable

from daemon.venues.normalize import FrameRefusedError

NOTE_INTERVAL_NS = 1_000_000_000
_VENUE_ID_CHARACTERS_MAX = 40


class Refusals:
    """What was refused so far; ``say`` takes an event, its time and fields."""

    def __init__(self, say: Callable[..., None]) -> None:
        """Start with none."""
        self.count = 0
        self._say = say
        self._noted_ns = 0

    def add(self, refusal: FrameRefusedError, received_ns: int) -> None:
        """Count one, and note it unless another was noted within the second."""
        self.count += 1
        if received_ns - self._noted_ns < NOTE_INTERVAL_NS:
            return
        self._noted_ns = received_ns
        self._say(
            "feed_frame_refused",
            received_ns,
            kind=refusal.kind,
            instrument=refusal.venue_id[:_VENUE_ID_CHARACTERS_MAX],
            reason=refusal.reason,
            refused=self.count,
        )
