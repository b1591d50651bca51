"""Names of runs and of orders: pure functions, so that a replay gives the same ones.

A run is twelve characters of base 36: eight of start time (10 ms steps, good until the year 2864),
which makes runs sort by age, and four of entropy, which keep two runs of one moment apart. A client
order id is ``me-RUN-SEQUENCE``, within the 36 characters and the alphabet that Binance allows
(USD-M "New Order", parameter newClientOrderId).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

RUN_ID_LENGTH = 12
CLIENT_ORDER_ID_LENGTH_MAX = 36
CLIENT_ORDER_ID_PREFIX = "me-"
GUARD_ORDER_ID_PREFIX = "meg-"

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_TIME_LENGTH = 8
_ENTROPY_LENGTH = RUN_ID_LENGTH - _TIME_LENGTH
_TIME_STEP_NS = 10_000_000
_ENTROPY_BYTES_MIN = 4
_SEQUENCE_END = 2**63
_RUN_ID = re.compile(rf"[0-9a-z]{{{RUN_ID_LENGTH}}}", re.ASCII)
_CLIENT_ORDER_ID = re.compile(
    rf"{CLIENT_ORDER_ID_PREFIX}([0-9a-z]{{{RUN_ID_LENGTH}}})-(0|[1-9][0-9]{{0,18}})", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderIdentity:
    """Which run made an order, and as which intent of that run."""

    run_id: str
    sequence: int


def new_run_id(now_ns: int, entropy: bytes) -> str:
    """Name a run from its start (UNIX ns) and at least four random bytes.

    Raises ValueError for a time outside 1970 to 2864 and for too little entropy.
    """
    if len(entropy) < _ENTROPY_BYTES_MIN:
        raise ValueError(f"a run id needs {_ENTROPY_BYTES_MIN} random bytes, got {len(entropy)}")
    step = now_ns // _TIME_STEP_NS
    if not 0 <= step < 36**_TIME_LENGTH:
        raise ValueError(f"time {now_ns} ns does not fit a run id")
    draw = int.from_bytes(entropy, "big") % 36**_ENTROPY_LENGTH
    return _base36(step, _TIME_LENGTH) + _base36(draw, _ENTROPY_LENGTH)


def client_order_id(run_id: str, sequence: int) -> str:
    """Name the order of one intent; the same run and sequence always give the same name.

    Raises ValueError when ``run_id`` is none, or ``sequence`` is outside 0 to 2**63 - 1.
    """
    if not _RUN_ID.fullmatch(run_id):
        raise ValueError(f"not a run id: {run_id!r}")
    if not 0 <= sequence < _SEQUENCE_END:
        raise ValueError(f"sequence {sequence} is outside 0 to {_SEQUENCE_END - 1}")
    return f"{CLIENT_ORDER_ID_PREFIX}{run_id}-{sequence}"


def parse_client_order_id(text: str) -> OrderIdentity | None:
    """Take a client order id apart; None when it is not one of ours."""
    match = _CLIENT_ORDER_ID.fullmatch(text)
    if match is None or int(match[2]) >= _SEQUENCE_END:
        return None
    return OrderIdentity(run_id=match[1], sequence=int(match[2]))


def is_foreign_id(text: str) -> bool:
    """Say whether an order was made by somebody else: neither a daemon nor a guard names one so."""
    return parse_client_order_id(text) is None and not text.startswith(GUARD_ORDER_ID_PREFIX)


def _base36(value: int, length: int) -> str:
    digits = []
    for _ in range(length):
        value, digit = divmod(value, 36)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
