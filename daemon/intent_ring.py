"""The intent ring: what is about to be sent, in mapped memory that outlives the process.

One preallocated file of fixed slots. Storing an intent is a few memory writes: the page cache keeps
them when the process is killed. ``store_synced`` writes the same slots with one ``fdatasync`` for a
whole group, and then outlives the machine. A slot is used again only after its order was settled
elsewhere; while none is free, new intents are refused. A checksum tells a slot that was torn.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kernels.events import OrderIntent, OrderType, Side

FILE_NAME = "intents.ring"
MAGIC = b"MERING\x00\x01"
HEAD_BYTES = 4096
SLOT_BYTES = 512
SLOT_COUNT = 4096
SHARES_MAX = 16

_OPEN, _SETTLED = 1, 2  # 0: never used
_OPEN_MARK = b"\x01"
_STATUS_AT = SLOT_BYTES - 1
"""The last byte of a slot, outside the checksum: one store makes a slot count, or free."""

_FIXED = struct.Struct("<IQqqqqqHbBBBBBBB")
"""CRC-32 of what follows; stamp; approved_ns, sequence, quantity_lots, price_ticks, decided_ns;
text bytes; side; order type; reduce only; instrument; bytes of id, run and symbol; shares."""

_CRC_BYTES = 4
_ROOM_BYTES = _STATUS_AT - _FIXED.size
_SHARES = tuple(struct.Struct(f"<{count}d") for count in range(SHARES_MAX + 1))


class RingError(Exception):
    """The intent is not stored: no free slot, or it does not fit; nothing may be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RingIntent:
    """One stored intent; ``stamp`` orders the slots by age."""

    stamp: int
    client_order_id: str
    run_id: str
    symbol: str
    approved_ns: int
    intent: OrderIntent


@dataclass(frozen=True, slots=True, kw_only=True)
class RingScan:
    """What a ring held when it was opened: unsettled intents, oldest first, and torn slots."""

    intents: tuple[RingIntent, ...]
    torn_count: int


class IntentRing:
    """The open ring of one journal directory; calls come from one thread but for ``settle``.

    One that ``is_synced`` never stores into the map: the first store into a page after a sync
    costs the next sync a commit of the file system, three times the price.
    """

    def __init__(
        self, path: Path, slot_count: int = SLOT_COUNT, *, is_synced: bool = False
    ) -> None:
        """Open or create the ring; OSError when that fails, RingError for a foreign file."""
        self._is_synced = is_synced
        self._slot_count = slot_count
        size = HEAD_BYTES + slot_count * SLOT_BYTES
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _prepare(self._descriptor, size, path)
            self._map = mmap.mmap(self._descriptor, size)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._slot_of: dict[str, int] = {}
        self.found = self._scan()
        stamps = [each.stamp for each in self.found.intents]
        self._stamp = max(stamps, default=0)
        self._cursor = 0
        if not is_synced:
            self._touch()

    @property
    def open_count(self) -> int:
        """Slots that hold an intent not yet settled."""
        return len(self._slot_of)

    def store(
        self, client_order_id: str, run_id: str, symbol: str, intent: OrderIntent, approved_ns: int
    ) -> None:
        """Store an intent; when this returns it outlives this process. RingError if it cannot."""
        at, written = self._take(client_order_id, run_id, symbol, intent, approved_ns)
        self._map[at : at + len(written)] = written
        self._map[at + _STATUS_AT] = _OPEN

    def store_synced(self, rows: Sequence[tuple[str, str, str, OrderIntent, int]]) -> None:
        """Store a group and make it outlive the machine, with one sync for all.

        RingError or OSError, and none of them counts, when one cannot be stored.
        """
        places: list[int] = []
        try:
            for row in rows:
                at, written = self._take(*row)
                places.append(at)
                os.pwrite(self._descriptor, written.ljust(_STATUS_AT, b"\0") + _OPEN_MARK, at)
            os.fdatasync(self._descriptor)
        except (RingError, OSError):
            for row, at in zip(rows, places, strict=False):
                self._mark_settled(at)
                self._slot_of.pop(row[0], None)
            raise

    def settle(self, client_order_id: str) -> None:
        """Free the slot of an order whose end is recorded elsewhere; any thread, any number."""
        at = self._slot_of.pop(client_order_id, None)
        if at is not None:
            self._mark_settled(at)

    def close(self) -> None:
        """Let go; what is stored stays."""
        self._map.close()
        os.close(self._descriptor)

    def _take(
        self, client_order_id: str, run_id: str, symbol: str, intent: OrderIntent, approved_ns: int
    ) -> tuple[int, bytes]:
        """Take the next free slot; return where it is and what belongs into it."""
        if client_order_id in self._slot_of:
            raise RingError(f"{client_order_id} is stored already")
        at = self._free_slot()
        try:
            identity, run, name = client_order_id.encode(), run_id.encode(), symbol.encode()
            reason, shares = intent.reason.encode(), intent.agent_share_A
            text = b"".join((identity, run, name, _SHARES[len(shares)].pack(*shares), reason))
            if len(text) > _ROOM_BYTES:
                raise RingError(f"{client_order_id} does not fit a slot")
            slot = _FIXED.pack(
                0,
                self._stamp + 1,
                approved_ns,
                intent.sequence,
                intent.quantity_lots,
                intent.price_ticks,
                intent.decided_ns,
                len(text),
                intent.side,
                intent.order_type,
                intent.reduce_only,
                intent.instrument,
                len(identity),
                len(run),
                len(name),
                len(shares),
            )
        except (struct.error, UnicodeEncodeError, IndexError, TypeError) as error:
            raise RingError(f"{client_order_id}: {error}") from error
        body = slot[_CRC_BYTES:] + text
        written = zlib.crc32(body).to_bytes(_CRC_BYTES, "little") + body
        self._stamp += 1
        self._slot_of[client_order_id] = at
        self._cursor = (at - HEAD_BYTES) // SLOT_BYTES + 1
        return at, written

    def _mark_settled(self, at: int) -> None:
        if self._is_synced:
            os.pwrite(self._descriptor, bytes((_SETTLED,)), at + _STATUS_AT)
        else:
            self._map[at + _STATUS_AT] = _SETTLED

    def _free_slot(self) -> int:
        """Find the next slot that is not in use; RingError when all are."""
        if len(self._slot_of) >= self._slot_count:
            raise RingError(f"all {self._slot_count} slots hold orders that are not settled")
        for step in range(self._slot_count):
            number = (self._cursor + step) % self._slot_count
            at = HEAD_BYTES + number * SLOT_BYTES
            if self._map[at + _STATUS_AT] != _OPEN:
                return at
        raise RingError("no free slot")

    def _scan(self) -> RingScan:
        found: list[RingIntent] = []
        torn_count = 0
        for number in range(self._slot_count):
            at = HEAD_BYTES + number * SLOT_BYTES
            if self._map[at + _STATUS_AT] != _OPEN:
                continue
            stored = _read(self._map[at : at + SLOT_BYTES])
            if stored is None:
                torn_count += 1
                self._mark_settled(at)  # never promised: its store did not return
            else:
                found.append(stored)
                self._slot_of[stored.client_order_id] = at
        found.sort(key=lambda each: each.stamp)
        return RingScan(intents=tuple(found), torn_count=torn_count)

    def _touch(self) -> None:
        """Fault every page in, writable, so that no intent waits for one."""
        for at in range(0, len(self._map), mmap.PAGESIZE):
            self._map[at] = self._map[at]


def _prepare(descriptor: int, size: int, path: Path) -> None:
    """Fill a new file with zeros, so that no store needs room on the disk; check an old one."""
    present = os.fstat(descriptor).st_size
    if present == 0:
        os.posix_fallocate(descriptor, 0, size)
        os.pwrite(descriptor, bytes(size), 0)
        os.pwrite(descriptor, MAGIC + SLOT_BYTES.to_bytes(4, "little"), 0)
        os.fsync(descriptor)
    elif present != size or os.pread(descriptor, len(MAGIC), 0) != MAGIC:
        raise RingError(f"{path} is no intent ring of this version")


def _read(slot: bytes) -> RingIntent | None:
    """Read one slot back, None when its checksum does not match."""
    (
        crc,
        stamp,
        approved_ns,
        sequence,
        quantity_lots,
        price_ticks,
        decided_ns,
        text_bytes,
        side,
        order_type,
        reduce_only,
        instrument,
        id_bytes,
        run_bytes,
        symbol_bytes,
        share_count,
    ) = _FIXED.unpack_from(slot)
    end = _FIXED.size + text_bytes
    if end > _STATUS_AT or zlib.crc32(slot[_CRC_BYTES:end]) != crc:
        return None
    text = slot[_FIXED.size : end]
    run_at, symbol_at = id_bytes, id_bytes + run_bytes
    shares_at = symbol_at + symbol_bytes
    reason_at = shares_at + _SHARES[share_count].size
    return RingIntent(
        stamp=stamp,
        client_order_id=text[:run_at].decode(),
        run_id=text[run_at:symbol_at].decode(),
        symbol=text[symbol_at:shares_at].decode(),
        approved_ns=approved_ns,
        intent=OrderIntent(
            sequence=sequence,
            instrument=instrument,
            side=Side(side),
            quantity_lots=quantity_lots,
            price_ticks=price_ticks,
            order_type=OrderType(order_type),
            reduce_only=bool(reduce_only),
            decided_ns=decided_ns,
            reason=text[reason_at:].decode(),
            agent_share_A=_SHARES[share_count].unpack_from(text, shares_at),
        ),
    )
