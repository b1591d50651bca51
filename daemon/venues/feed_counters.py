"""What came through a feed so far, as numbers that add up over its instruments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from daemon.venues.integrity import InstrumentTrack


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedCounters:
    """What came through so far.

    ``lost_count`` events were sent and never seen by the engine, ``recovered_count`` trades were
    missed by the stream and fetched; ``late_count`` quotes came after a newer one and were dropped.
    """

    depth_count: int
    trade_count: int
    quote_count: int
    mark_count: int
    user_count: int
    lost_count: int
    recovered_count: int
    repeated_count: int
    late_count: int
    refused_count: int
    gap_count: int
    resync_count: int
    audit_count: int
    audit_failed_count: int
    reconnect_count: int
    skew_ns: int
    not_ok_ns: dict[str, dict[str, int]]


def count(
    tracks: Sequence[InstrumentTrack], now_ns: int, *, overflow_lost_count: int, **seen: int
) -> FeedCounters:
    """Add up what the instruments counted to what their feed has ``seen``, by field name."""

    def total(name: str) -> int:
        return sum(getattr(track, name) for track in tracks)

    return FeedCounters(
        lost_count=total("lost_trade_count") + overflow_lost_count,
        recovered_count=total("recovered_trade_count"),
        repeated_count=total("repeated_trade_count"),
        late_count=total("late_quote_count"),
        gap_count=total("gap_count"),
        resync_count=total("resync_count"),
        audit_count=total("audit_count"),
        audit_failed_count=total("audit_failed_count"),
        not_ok_ns={each.instrument.symbol: each.not_ok_until(now_ns) for each in tracks},
        **seen,
    )
