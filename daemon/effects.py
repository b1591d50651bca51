"""What the engine asks the shell to do: the only way anything leaves the core."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from risk.gate import Approved


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOrder:
    """Journal this approved order under its client order id, then send it."""

    client_order_id: str
    approved: Approved


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOrder:
    """Cancel one working order."""

    client_order_id: str
    instrument: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAll:
    """Cancel every open order of one instrument at the venue, known to us or not."""

    instrument: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One structured log line; ``event`` is a name of ``daemon.logs.EVENTS``."""

    event: str
    event_ns: int
    fields: Mapping[str, Any] = field(default_factory=dict)


Effect = SendOrder | CancelOrder | CancelAll | Note
