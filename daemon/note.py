"""One structured log line, apart from the engine's effects so that the guard need not load them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One structured log line; ``event`` is a name of ``daemon.logs.EVENTS``."""

    event: str
    event_ns: int
    fields: Mapping[str, Any] = field(default_factory=dict)
