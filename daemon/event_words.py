"""Events, effects and states as bytes and back: the words of the event log. Pure.

MessagePack of our own dataclasses; arrays travel as an extension with their type and shape. The
same value always gives the same bytes, so equality of effects is equality of bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from daemon.effects import (
    AmendOrder,
    AskAccount,
    CallGuard,
    CancelAll,
    CancelOrder,
    Decided,
    Effect,
    LatchBreaker,
    ModelMoved,
    Note,
    QueryOrder,
    SendOrder,
)
from daemon.engine import Engine, EngineState
from kernels.events import (
    AccountState,
    Alarm,
    BundleOffered,
    BundleWithdrawn,
    Command,
    DayVolume,
    DepthDiff,
    DepthSnapshot,
    DrainEnd,
    Event,
    FeedStatus,
    Fill,
    Funding,
    MarkPrice,
    OrderUpdate,
    Quote,
    SettingsChanged,
    Trade,
)
from kernels.units import Instrument

EVENT_TYPES: tuple[type[Any], ...] = (
    DrainEnd,
    Quote,
    Trade,
    DepthDiff,
    DepthSnapshot,
    MarkPrice,
    FeedStatus,
    Fill,
    OrderUpdate,
    AccountState,
    Funding,
    Command,
    Alarm,
    SettingsChanged,
    BundleOffered,
    BundleWithdrawn,
    DayVolume,
)
"""Numbers of the event types in the log: append only, never reorder."""

EFFECT_TYPES: tuple[type[Any], ...] = (
    SendOrder,
    CancelOrder,
    CancelAll,
    QueryOrder,
    Decided,
    Note,
    LatchBreaker,
    AskAccount,
    CallGuard,
    ModelMoved,
    AmendOrder,
)
"""Numbers of the effect types in the log: append only, never reorder."""

_ARRAY = 1
_ARRAY_BYTES_MAX = 64 * 1024 * 1024
_NUMBER_OF_EVENT = {kind: number for number, kind in enumerate(EVENT_TYPES)}
_NUMBER_OF_EFFECT = {kind: number for number, kind in enumerate(EFFECT_TYPES)}
_DTYPES = frozenset({"<i8", "<f8", "<f4"})


class WordsError(ValueError):
    """Bytes that are no words of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What a replay needs to build the same engine, and what it must find unchanged."""

    format: int
    run_id: str
    segment: int
    started_ns: int
    settings: dict[str, Any]
    settings_sha256: str
    bundle_path: str
    bundle_sha256: str
    runtime: str
    instruments: tuple[Instrument, ...]
    opening: AccountState
    versions: dict[str, str]
    account: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One drained batch as the engine folded it; the last event is its ``DrainEnd``.

    ``effects`` pairs the place of an event in ``events`` with the bytes of what it led to, where
    it led to anything. ``digests`` names parts of the state after the turn; empty where none were
    taken.
    """

    events: tuple[Event, ...]
    effects: dict[int, bytes]
    digests: dict[str, bytes]


TurnParts = tuple[Sequence[Event], Sequence[tuple[int, Sequence[Effect]]], dict[str, bytes]]
"""A turn as the shell has it: events, effects by place, and parts of the state to be hashed."""


def encode(value: object) -> bytes:
    """Write any of our records; TypeError for what has no words."""
    return _ENCODER.encode(value)


def encode_turns(turns: Sequence[TurnParts]) -> bytes:
    """Write turns; the parts of their states are hashed here."""
    return _ENCODER.encode(
        [
            (
                [(_NUMBER_OF_EVENT[type(event)], event) for event in events],
                [(place, encode_effects(found)) for place, found in effects],
                {name: digest(part) for name, part in parts.items()},
            )
            for events, effects, parts in turns
        ]
    )


def encode_effects(effects: Sequence[Effect]) -> bytes:
    """Write what one event led to, in order."""
    return _ENCODER.encode([(_NUMBER_OF_EFFECT[type(each)], _plain(each)) for each in effects])


def describe_effects(written: bytes) -> list[str]:
    """Print written effects for a person: type and fields, one line each."""
    rows = msgspec.msgpack.decode(written, ext_hook=_read_extension)
    return [f"{EFFECT_TYPES[number].__name__} {fields}" for number, fields in rows]


def decode_turns(payload: bytes) -> list[Turn]:
    """Read turns back; WordsError for anything else."""
    try:
        return [
            Turn(
                events=tuple(_EVENT_DECODERS[number].decode(raw) for number, raw in events),
                effects=dict(effects),
                digests=digests,
            )
            for events, effects, digests in _TURNS_DECODER.decode(payload)
        ]
    except (msgspec.MsgspecError, IndexError, ValueError) as error:
        raise WordsError(f"no turns: {str(error)[:200]}") from error


def decode_facts(payload: bytes) -> RunFacts:
    """Read the head of a segment; WordsError for anything else."""
    try:
        return _FACTS_DECODER.decode(payload)
    except (msgspec.MsgspecError, ValueError) as error:
        raise WordsError(f"no head of a log: {str(error)[:200]}") from error


def decode_state(payload: bytes) -> EngineState:
    """Read the state of an engine; WordsError for anything else."""
    try:
        return _STATE_DECODER.decode(payload)
    except (msgspec.MsgspecError, ValueError) as error:
        raise WordsError(f"no state of an engine: {str(error)[:200]}") from error


def state_difference(recorded: bytes, own: bytes) -> str | None:
    """Name the first part in which two written states differ, None when they are the same."""
    if recorded == own:
        return None
    first, second = (
        msgspec.msgpack.decode(each, ext_hook=_read_extension, strict=False)
        for each in (recorded, own)
    )
    return _difference("state", first, second) or "state: the same values, other bytes"


def state_parts(engine: Engine) -> dict[str, bytes]:
    """Copy the parts of the state that are hashed regularly: ledger, features and books."""
    parts = {"ledger": engine.desk.ledger.state.tobytes()}
    for market in engine.markets:
        symbol = market.instrument.symbol
        parts[f"features {symbol}"] = market.features.state.tobytes()
        parts[f"book {symbol}"] = market.book.state.tobytes()
    return parts


def digest(part: bytes) -> bytes:
    """Hash one part of a state to 16 bytes."""
    return hashlib.blake2b(part, digest_size=16).digest()


def _plain(effect: Effect) -> object:
    """Take an approval apart: it cannot be written or read back as one, which is its purpose."""
    if isinstance(effect, SendOrder):
        approved = effect.approved
        return (effect.client_order_id, approved.intent, approved.approved_ns)
    if isinstance(effect, AmendOrder):
        approved = effect.approved
        return (effect.client_order_id, effect.quantity_lots, approved.intent, approved.approved_ns)
    return effect


def _difference(path: str, first: Any, second: Any) -> str | None:
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        if first.dtype != second.dtype or first.shape != second.shape:
            return f"{path}: recorded {first.dtype}{first.shape}, now {second.dtype}{second.shape}"
        bits = [each.reshape(-1).view(f"i{each.itemsize}") for each in (first, second)]
        apart = np.flatnonzero(bits[0] != bits[1])
        if apart.size == 0:
            return None
        at = int(apart[0])
        return f"{path}[{at}]: recorded {first.reshape(-1)[at]!r}, now {second.reshape(-1)[at]!r}"
    if isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
        pairs = [(f"{path}.{key}", first[key], second[key]) for key in first]
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        pairs = [(f"{path}[{i}]", *both) for i, both in enumerate(zip(first, second, strict=True))]
    elif first == second:
        return None
    else:
        return f"{path}: recorded {str(first)[:200]}, now {str(second)[:200]}"
    found = (_difference(*pair) for pair in pairs)
    return next((each for each in found if each is not None), None)


def _write_other(value: object) -> object:
    if isinstance(value, np.ndarray):
        if value.dtype.str not in _DTYPES:
            raise TypeError(f"no words for arrays of {value.dtype}")
        shape = ",".join(map(str, value.shape))
        return msgspec.msgpack.Ext(_ARRAY, f"{value.dtype.str}|{shape}|".encode() + value.tobytes())
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"no words for {type(value).__name__}")


def _read_extension(code: int, content: memoryview) -> NDArray[Any]:
    if code != _ARRAY or len(content) > _ARRAY_BYTES_MAX:
        raise ValueError(f"extension {code} of {len(content)} bytes")
    kind, shape_text, raw = bytes(content).split(b"|", 2)
    if kind.decode("ascii", "replace") not in _DTYPES:
        raise ValueError("array of an unknown type")
    shape = tuple(int(length) for length in shape_text.split(b",") if length)
    return np.frombuffer(raw, dtype=kind.decode()).reshape(shape).copy()


def _read_array(kind: type, value: object) -> object:
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{type(value).__name__} instead of an array")
    return value


def _decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind, dec_hook=_read_array, ext_hook=_read_extension)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_write_other)
_EVENT_DECODERS = tuple(_decoder(kind) for kind in EVENT_TYPES)
_TURNS_DECODER = _decoder(
    list[tuple[list[tuple[int, msgspec.Raw]], list[tuple[int, bytes]], dict[str, bytes]]]
)
_FACTS_DECODER: msgspec.msgpack.Decoder[RunFacts] = _decoder(RunFacts)
_STATE_DECODER: msgspec.msgpack.Decoder[EngineState] = _decoder(EngineState)
