"""What a guard is told when it is started, over a pipe: arguments and environ hold nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from config.settings import Settings
from daemon.venues.emergency import Loopback


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Everything one guard needs; ``is_child`` ends it with its daemon."""

    settings: dict[str, Any]
    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)
    loopback: Loopback | None
    run_id: str
    state_directory: str
    socket_path: str
    is_child: bool
    smtp_password: str = field(default="", repr=False)

    def to_line(self) -> bytes:
        """Write the one line that the child reads."""
        return json.dumps(asdict(self)).encode() + b"\n"


def parse_launch(line: bytes) -> tuple[Launch, Settings]:
    """Read the line back; ValueError when it is none."""
    words = json.loads(line)
    if not isinstance(words, dict):
        raise ValueError("no launch")
    loopback = words.pop("loopback", None)
    try:
        launch = Launch(**words, loopback=Loopback(**loopback) if loopback else None)
    except TypeError as error:
        raise ValueError(f"no launch: {error}") from None
    return launch, Settings.model_validate(launch.settings)
