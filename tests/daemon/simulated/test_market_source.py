"""Frames: stamping touches nothing but the times."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.simulated.market_source import NO_STAMP, frame_of
from kernels.events import Quote

QUOTE = Quote(
    instrument=0,
    event_ns=0,
    received_ns=0,
    update_id=1,
    bid_ticks=1,
    bid_lots=1,
    ask_ticks=2,
    ask_lots=1,
)
STAMPS = st.integers(min_value=15 * 10**11, max_value=10**13 - 1)


@given(event_ms=STAMPS, lag_ms=st.integers(min_value=0, max_value=5_000), now_ms=STAMPS)
def test_render_replaces_only_the_times(event_ms: int, lag_ms: int, now_ms: int) -> None:
    """E becomes now, T keeps its distance, all else stays as it was recorded."""
    recorded: dict[str, object] = {"e": "bookTicker", "b": "1.0", "E": event_ms}
    recorded["T"] = event_ms - lag_ms
    payload = json.dumps(recorded, separators=(",", ":")).encode()
    frame = frame_of(5, "btcusdt@bookTicker", QUOTE, payload)
    assert json.loads(frame.render(now_ms)) == recorded | {"E": now_ms, "T": now_ms - lag_ms}
    assert frame.payload == payload


def test_document_without_times_is_sent_as_it_is() -> None:
    """A frame without E and T renders to its own bytes."""
    frame = frame_of(0, "btcusdt@bookTicker", QUOTE, b'{"u":1}')
    assert frame.event_time_at == frame.transaction_time_at == NO_STAMP
    assert frame.render(10**12) == b'{"u":1}'


@pytest.mark.parametrize("payload", [b'{"E":17}', b'{"E":"1723161256299"}', b'{"T":null}'])
def test_unreadable_time_is_refused(payload: bytes) -> None:
    """A time that is no number of thirteen digits cannot be stamped."""
    with pytest.raises(ValueError, match="13 digits"):
        frame_of(0, "s", QUOTE, payload)
