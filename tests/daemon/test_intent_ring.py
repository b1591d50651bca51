"""The intent ring: nothing stored is lost or overwritten, and a torn slot is told from a whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.intent_ring import HEAD_BYTES, SLOT_BYTES, IntentRing, RingError
from kernels.events import OrderIntent, OrderType, Side

RUN, SYMBOL = "000000000001", "BTC/USDT:USDT"


def intent(sequence: int, **changes: Any) -> OrderIntent:
    values: dict[str, Any] = {
        "sequence": sequence,
        "instrument": 0,
        "side": Side.SELL,
        "quantity_lots": 12,
        "price_ticks": 600_000,
        "order_type": OrderType.IOC,
        "reduce_only": True,
        "decided_ns": 10**18,
        "reason": "decided",
        "agent_share_A": (0.5, 0.25, 0.25, 0.0, 0.0),
    }
    return OrderIntent(**(values | changes))


def store(ring: IntentRing, sequence: int, **changes: Any) -> None:
    ring.store(f"me-{RUN}-{sequence}", RUN, SYMBOL, intent(sequence, **changes), 77)


def reopened(path: Path, slot_count: int) -> tuple[list[int], int]:
    """Open the ring as the next process does: sequences of what is unsettled, torn slots."""
    ring = IntentRing(path, slot_count)
    found = [each.intent.sequence for each in ring.found.intents]
    torn_count = ring.found.torn_count
    ring.close()
    return found, torn_count


def test_what_is_unsettled_comes_back_in_order(tmp_path: Path) -> None:
    """Through many laps of the ring, the next process finds exactly the open intents."""
    ring = IntentRing(tmp_path / "ring", 8)
    draws = np.random.default_rng(3)
    open_sequences: list[int] = []
    for sequence in range(400):
        while len(open_sequences) >= 8 or (open_sequences and draws.random() < 0.45):
            settled = open_sequences.pop(int(draws.integers(len(open_sequences))))
            ring.settle(f"me-{RUN}-{settled}")
        store(ring, sequence)
        open_sequences.append(sequence)
        if sequence % 40 == 0:
            assert reopened(tmp_path / "ring", 8) == (open_sequences, 0)
    ring.close()


def test_full_ring_refuses_and_overwrites_nothing(tmp_path: Path) -> None:
    """With every slot unsettled a new intent is refused; one settled slot makes room for one."""
    ring = IntentRing(tmp_path / "ring", 4)
    for sequence in range(4):
        store(ring, sequence)
    with pytest.raises(RingError, match="not settled"):
        store(ring, 9)
    with pytest.raises(RingError, match="not settled"):
        ring.store_synced([("x", RUN, SYMBOL, intent(9), 1)])
    assert reopened(tmp_path / "ring", 4) == ([0, 1, 2, 3], 0)
    ring.settle(f"me-{RUN}-2")
    store(ring, 5)
    ring.close()
    assert reopened(tmp_path / "ring", 4) == ([0, 1, 3, 5], 0)


def test_group_is_stored_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """When the last of a group finds no slot, none of the group counts."""
    ring = IntentRing(tmp_path / "ring", 4, is_synced=True)
    ring.store_synced([(f"me-{RUN}-0", RUN, SYMBOL, intent(0), 1)])
    rows = [(f"me-{RUN}-{n}", RUN, SYMBOL, intent(n), 1) for n in range(1, 5)]
    with pytest.raises(RingError):
        ring.store_synced(rows)
    assert ring.open_count == 1
    ring.store_synced(rows[:3])
    ring.close()
    assert reopened(tmp_path / "ring", 4) == ([0, 1, 2, 3], 0)


def test_failed_sync_stores_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that reports an error has promised nothing."""
    ring = IntentRing(tmp_path / "ring", 4, is_synced=True)

    def failing(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("daemon.intent_ring.os.fdatasync", failing)
    with pytest.raises(OSError, match="Input/output"):
        ring.store_synced([(f"me-{RUN}-0", RUN, SYMBOL, intent(0), 1)])
    assert ring.open_count == 0
    ring.close()
    assert reopened(tmp_path / "ring", 4) == ([], 0)


def test_any_damaged_byte_of_a_slot_is_noticed(tmp_path: Path) -> None:
    """A slot that does not check is counted as torn and frees its place."""
    path = tmp_path / "ring"
    ring = IntentRing(path, 2)
    store(ring, 0)
    store(ring, 1)
    ring.close()
    whole = path.read_bytes()
    length = len(whole[HEAD_BYTES : HEAD_BYTES + SLOT_BYTES - 1].rstrip(b"\0"))
    for at in range(0, length, 3):
        broken = bytearray(whole)
        broken[HEAD_BYTES + at] ^= 0x10
        path.write_bytes(broken)
        assert reopened(path, 2) == ([1], 1), at
        assert reopened(path, 2) == ([1], 0), "a torn slot is told once"


def test_what_does_not_fit_is_refused_and_the_ring_goes_on(tmp_path: Path) -> None:
    """Numbers beyond 64 bits, too much text and broken text deny the one intent."""
    ring = IntentRing(tmp_path / "ring", 4)
    for changes in ({"quantity_lots": 2**63}, {"reason": "x" * 600}, {"reason": "\ud800"}):
        with pytest.raises(RingError):
            store(ring, 0, **changes)
    store(ring, 1)
    with pytest.raises(RingError, match="stored already"):
        store(ring, 1)
    ring.close()
    assert reopened(tmp_path / "ring", 4) == ([1], 0)


def test_foreign_file_is_refused(tmp_path: Path) -> None:
    """A file of another size or kind is not written over."""
    path = tmp_path / "ring"
    path.write_bytes(b"precious")
    with pytest.raises(RingError, match="no intent ring"):
        IntentRing(path, 4)
    assert path.read_bytes() == b"precious"
    assert os.stat(path).st_size == 8
