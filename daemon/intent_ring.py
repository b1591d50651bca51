"""The intent ring: what is about to be sent, in mapped memory that outlives the process.

One preallocated file of fixed slots. Storing an intent is a few memory writes: the page cache keeps
them when the process is killed. ``store_synced`` writes the same slots with one ``fdatasync`` for a
whole group, and then outlives the machine. A slot is used again only after its order was settled
elsewhere; while none is free, new intents are refused. A checksum tells a slot that was torn.
"""

from __future__ import annotations

import itertools
import mmap
import os
import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from kernels.events import OrderIntent, OrderType, Side

FILE_NAME = "intents.ring"
MAGIC = b"MERING\x00\x01"
HEAD_BYTES = 4096
SLOT_BYTES = 512
SLOT_COUNT = 4096
SHARES_MAX = 16
AHEAD = 16
"""Free slots whose pages are kept ready."""

_OPEN, _SETTLED = 1, 2  # 0: never used
_OPEN_MARK = b"\x01"
_STATUS_AT = SLOT_BYTES - 1
"""The last byte of a slot, outside the checksum: one store makes a slot count, or free."""

_CRC = struct.Struct("<I")
"""CRC-32 of what follows it."""

_FIXED = struct.Struct("<QqqqqqHbBBBBBBB")
"""Stamp; approved_ns, sequence, quantity_lots, price_ticks, decided_ns; text bytes; side; order
type; reduce only; instrument; bytes of id, run and symbol; shares. Then the text: id, run, symbol,
shares, reason."""

_TEXT_AT = _CRC.size + _FIXED.size
_ROOM_BYTES = _STATUS_AT - _TEXT_AT
_SHARES = tuple(struct.Struct(f"<{count}d") for count in range(SHARES_MAX + 1))
_WORDS_MAX = 1_024
_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE of Linux 5.14, which mmap has no name for


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
        self._words: dict[tuple[str, str, str], tuple[int, int, int, bytes, bytes]] = {}
        self.found = self._scan()
        self._stamp = max((each.stamp for each in self.found.intents), default=0)
        taken = set(self._slot_of.values())
        places = range(HEAD_BYTES, size, SLOT_BYTES)
        self._free = deque(at for at in places if at not in taken)
        self.prepare()

    @property
    def open_count(self) -> int:
        """Slots that hold an intent not yet settled."""
        return len(self._slot_of)

    def store(
        self, client_order_id: str, run_id: str, symbol: str, intent: OrderIntent, approved_ns: int
    ) -> None:
        """Store an intent; when this returns it outlives this process. RingError if it cannot."""
        body = self._body(client_order_id, run_id, symbol, intent, approved_ns)
        slot_of = self._slot_of
        if client_order_id in slot_of or not self._free:
            self._take(client_order_id)  # says which of the two
        slot_of[client_order_id] = at = self._free.popleft()
        ring = self._map
        ring[at : at + 4 + len(body)] = crc32(body).to_bytes(4, "little") + body
        ring[at + _STATUS_AT] = _OPEN

    def store_synced(self, rows: Sequence[tuple[str, str, str, OrderIntent, int]]) -> None:
        """Store a group and make it outlive the machine, with one sync for all.

        RingError or OSError, and none of them counts, when one cannot be stored.
        """
        places: list[int] = []
        try:
            for row in rows:
                body = self._body(*row)
                at = self._take(row[0])
                places.append(at)
                slot = (_CRC.pack(crc32(body)) + body).ljust(_STATUS_AT, b"\0") + _OPEN_MARK
                os.pwrite(self._descriptor, slot, at)
            os.fdatasync(self._descriptor)
        except (RingError, OSError):
            for row, _ in zip(rows, places, strict=False):
                self.settle(row[0])
            raise

    def settle(self, client_order_id: str) -> None:
        """Free the slot of an order whose end is recorded elsewhere; any thread, any number."""
        at = self._slot_of.pop(client_order_id, None)
        if at is not None:
            self._mark_settled(at)
            self._free.append(at)

    def prepare(self) -> None:
        """Have the pages of the next slots in memory and writable, so that no intent waits.

        The kernel makes every page that it has written to disk read-only again: a store into one
        then waits for the file system (6 us at best, milliseconds behind a commit).
        """
        if self._is_synced:
            return
        for at in list(itertools.islice(self._free, AHEAD)):
            page = at - at % mmap.PAGESIZE
            try:
                self._map.madvise(_POPULATE_WRITE, page, mmap.PAGESIZE)
            except OSError:  # an older kernel: the store itself faults the page in
                return

    def close(self) -> None:
        """Let go; what is stored stays."""
        self._map.close()
        os.close(self._descriptor)

    def _take(self, client_order_id: str) -> int:
        """Take the slot that has been free for longest; RingError when there is none."""
        if client_order_id in self._slot_of:
            raise RingError(f"{client_order_id} is stored already")
        try:
            at = self._free.popleft()
        except IndexError:
            message = f"all {self._slot_count} slots hold orders that are not settled"
            raise RingError(message) from None
        self._slot_of[client_order_id] = at
        return at

    def _body(
        self, client_order_id: str, run_id: str, symbol: str, intent: OrderIntent, approved_ns: int
    ) -> bytes:
        """Lay out what belongs into a slot, behind its checksum; RingError when it does not fit."""
        key = (run_id, symbol, intent.reason)
        try:
            run_bytes, symbol_bytes, size, before, after = self._words[key]
        except KeyError:
            run_bytes, symbol_bytes, size, before, after = self._encode(key)
        shares = intent.agent_share_A
        count = len(shares)
        self._stamp = stamp = self._stamp + 1
        try:
            identity = client_order_id.encode()
            id_bytes = len(identity)
            text_bytes = id_bytes + size + 8 * count
            if text_bytes > _ROOM_BYTES:
                raise RingError(f"{client_order_id} does not fit a slot")
            fixed = _FIXED.pack(
                stamp,
                approved_ns,
                intent.sequence,
                intent.quantity_lots,
                intent.price_ticks,
                intent.decided_ns,
                text_bytes,
                intent.side,
                intent.order_type,
                intent.reduce_only,
                intent.instrument,
                id_bytes,
                run_bytes,
                symbol_bytes,
                count,
            )
            return b"".join((fixed, identity, before, _SHARES[count].pack(*shares), after))
        except (struct.error, UnicodeEncodeError, IndexError, TypeError) as error:
            raise RingError(f"{client_order_id}: {error}") from error

    def _encode(self, key: tuple[str, str, str]) -> tuple[int, int, int, bytes, bytes]:
        """Encode the words of a slot that come again and again; RingError for broken text."""
        try:
            run, symbol, reason = (word.encode() for word in key)
        except UnicodeEncodeError as error:
            raise RingError(f"an intent's words: {error}") from error
        if len(self._words) >= _WORDS_MAX:
            self._words.clear()
        before = run + symbol
        encoded = (len(run), len(symbol), len(before) + len(reason), before, reason)
        self._words[key] = encoded
        return encoded

    def _mark_settled(self, at: int) -> None:
        if self._is_synced:
            os.pwrite(self._descriptor, bytes((_SETTLED,)), at + _STATUS_AT)
        else:
            self._map[at + _STATUS_AT] = _SETTLED

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
    (crc,) = _CRC.unpack_from(slot)
    (
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
    ) = _FIXED.unpack_from(slot, _CRC.size)
    end = _TEXT_AT + text_bytes
    if end > _STATUS_AT or crc32(slot[_CRC.size : end]) != crc:
        return None
    text = slot[_TEXT_AT:end]
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
