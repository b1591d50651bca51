"""The frame of every record of the event log: length, number, kind and a checksum over it all.

A segment is a magic word and records. Reading goes on to the first record that is not whole: one
that the file ends inside is a torn tail (the process died while writing), anything else that does
not check is corruption, and both are told with the file and the byte.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

MAGIC = b"MELOG\x00\x01\n"
HEADER = struct.Struct("<IIQB3x")
"""CRC-32 over the rest of the header and the payload; payload bytes; record number; kind."""

PAYLOAD_BYTES_MAX = 256 * 1024 * 1024
INFLATED_BYTES_MAX = 1024 * 1024 * 1024
_CRC_BYTES = 4
_NUMBER_AT = 8


class RecordKind(IntEnum):
    """What a record holds."""

    FACTS = 1
    STATE = 2
    TURNS = 3
    NEXT = 4
    """The log goes on in the next segment."""
    END = 5
    """The run ended in order."""


class LogCorruptError(ValueError):
    """A record that does not check; ``offset`` is its first byte in the file."""

    def __init__(self, path: Path, offset: int, sequence: int, reason: str) -> None:
        """Name the place."""
        super().__init__(f"{path}: record {sequence} at byte {offset}: {reason}")
        self.path = path
        self.offset = offset
        self.sequence = sequence
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One whole record; ``payload`` is inflated."""

    kind: RecordKind
    sequence: int
    offset: int
    payload: bytes


@dataclass(slots=True, kw_only=True)
class Tail:
    """Where reading ended: bytes that are whole, and bytes behind them that are not."""

    whole_bytes: int = 0
    torn_bytes: int = 0


def frame(kind: RecordKind, sequence: int, payload: bytes) -> bytes:
    """Compress a payload and put its header before it."""
    packed = zlib.compress(payload, 1)
    header = HEADER.pack(0, len(packed), sequence, kind)
    crc = zlib.crc32(packed, zlib.crc32(header[_CRC_BYTES:]))
    return crc.to_bytes(_CRC_BYTES, "little") + header[_CRC_BYTES:] + packed


def read_records(path: Path, tail: Tail | None = None) -> Iterator[Record]:
    """Read a segment record by record; raises LogCorruptError and OSError.

    A torn record at the end is not an error: ``tail`` tells how many bytes it has.
    """
    end = path.stat().st_size
    tail = tail if tail is not None else Tail()
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise LogCorruptError(path, 0, 0, "no event log of this version")
        offset, expected = len(MAGIC), 0
        tail.whole_bytes = offset
        while offset < end:
            tail.torn_bytes = end - offset
            header = file.read(HEADER.size)
            if len(header) < HEADER.size:
                return
            crc, length, sequence, kind = HEADER.unpack(header)
            if length > PAYLOAD_BYTES_MAX:
                raise LogCorruptError(path, offset, expected, f"claims {length} bytes")
            packed = file.read(length)
            if len(packed) < length:
                if _follows(packed, expected + 1):
                    raise LogCorruptError(path, offset, expected, "its length reaches too far")
                return
            if zlib.crc32(packed, zlib.crc32(header[_CRC_BYTES:])) != crc:
                raise LogCorruptError(path, offset, expected, "checksum does not match")
            if sequence != expected:
                reason = f"is numbered {sequence}: records are missing"
                raise LogCorruptError(path, offset, expected, reason)
            yield Record(
                kind=_kind(kind, path, offset, sequence),
                sequence=sequence,
                offset=offset,
                payload=_inflate(packed, path, offset, sequence),
            )
            offset += HEADER.size + length
            expected += 1
            tail.whole_bytes, tail.torn_bytes = offset, 0


def _follows(rest: bytes, sequence: int) -> bool:
    """Say whether that record lies whole in ``rest``: then the length before it is wrong."""
    number = sequence.to_bytes(8, "little")
    at = rest.find(number, _NUMBER_AT) - _NUMBER_AT
    while at >= 0:
        header = rest[at : at + HEADER.size]
        if len(header) == HEADER.size:
            crc, length, _, _ = HEADER.unpack(header)
            body = rest[at + HEADER.size : at + HEADER.size + length]
            if len(body) == length and zlib.crc32(body, zlib.crc32(header[_CRC_BYTES:])) == crc:
                return True
        at = rest.find(number, at + _NUMBER_AT + 1) - _NUMBER_AT
    return False


def _kind(number: int, path: Path, offset: int, sequence: int) -> RecordKind:
    try:
        return RecordKind(number)
    except ValueError:
        raise LogCorruptError(path, offset, sequence, f"unknown kind {number}") from None


def _inflate(packed: bytes, path: Path, offset: int, sequence: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        payload = inflater.decompress(packed, INFLATED_BYTES_MAX)
    except zlib.error as error:
        raise LogCorruptError(path, offset, sequence, str(error)) from None
    if inflater.unconsumed_tail or not inflater.eof:
        raise LogCorruptError(path, offset, sequence, "does not inflate to its end")
    return payload
