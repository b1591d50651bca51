"""How one event becomes one line of text, and how secrets are kept out of it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import IntEnum
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
from structlog.typing import EventDict

_SECRET_NAME = re.compile(
    r"(secret|api_?key|apikey|password|passphrase|token|signature|authorization|listen_?key"
    r"|private_?key|credential)s?$",
    re.IGNORECASE,
)
_SECRET_IN_TEXT = re.compile(
    r"(?i)((?:secret|api_?key|signature|listen_?key|token|password|X-MBX-APIKEY)"
    r"[\\\"']{0,3}\s*[=:]\s*[\\\"']{0,3})[A-Za-z0-9+/_\-.%]+"
)
_LISTEN_KEY_IN_PATH = re.compile(r"(/ws/)[A-Za-z0-9]{32,}")
_REDACTED = "[redacted]"
_TIME_NS_MAX = 2**63 - 1  # what an int64 holds, the year 2262
_SECRET_LENGTH_MIN = 6  # shorter values would blank out ordinary text
_JSON_OPTIONS = (
    orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS
)
_CONSOLE_HEAD = frozenset({"event", "code", "severity", "event_ns", "run_id", "alert"})
_PLAIN_TEXT = re.compile(r"[!-~]+", re.ASCII)
_RESET, _BOLD, _DIM = "\x1b[0m", "\x1b[1m", "\x1b[2m"
_COLOUR = {
    "debug": _DIM,
    "info": "\x1b[32m",
    "warning": "\x1b[33m",
    "error": "\x1b[31m",
    "critical": "\x1b[1;31m",
}


def render_json(_logger: Any, _method: str, line: EventDict) -> str:
    """Print one event as one line of JSON, whatever its fields hold."""
    return render_fields({"event": line.pop("event"), **line})


def render_fields(fields: Mapping[str, Any]) -> str:
    """Print a mapping as JSON; what JSON does not know becomes text, NaN becomes null."""
    try:
        return orjson.dumps(fields, default=str, option=_JSON_OPTIONS).decode()
    except TypeError:  # an integer beyond 64 bits or half a surrogate pair
        return json.dumps(fields, default=str)


def render_console(_logger: Any, _method: str, line: EventDict) -> str:
    """Print one event for people: time (UTC), severity, code, event, then the fields."""
    moment = datetime.fromtimestamp(min(max(line["event_ns"], 0), _TIME_NS_MAX) / 1e9, UTC)
    severity = line["severity"]
    fields = " ".join(
        f"{_shown(name)}={_shown(value)}"
        for name, value in line.items()
        if name not in _CONSOLE_HEAD
    )
    return (
        f"{_DIM}{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}{_RESET} "
        f"{_COLOUR[severity]}{severity:<8}{_RESET} {line['code']} "
        f"{_BOLD}{line['event']}{_RESET} {fields}"
    ).rstrip()


def _shown(value: Any) -> str:
    """Print a value; text with spaces or control characters is quoted and escaped."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str):
        return value if _PLAIN_TEXT.fullmatch(value) else json.dumps(value)
    return json.dumps(value, default=str)


def redact_fields(_logger: Any, _method: str, line: EventDict) -> EventDict:
    """Blank out fields with a secret's name, and secrets that a text names, at any depth."""
    return {name: _redacted(name, value) for name, value in line.items()}


def _redacted(name: str, value: Any) -> Any:
    """Return a value that is safe to print; enums by name, objects as redacted text."""
    if value is None or isinstance(value, (bool, float, np.ndarray, np.generic)):
        return value
    if isinstance(value, IntEnum):
        return value.name
    if isinstance(value, int):
        return value
    if isinstance(value, Mapping):
        return {key: _redacted(str(key), inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redacted(name, inner) for inner in value]
    if _is_secret_name(name):
        return _REDACTED
    text = str(value)
    if "=" in text or ":" in text or "/ws/" in text:  # else no pattern can match; most have none
        text = _SECRET_IN_TEXT.sub(rf"\1{_REDACTED}", text)
        text = _LISTEN_KEY_IN_PATH.sub(rf"\1{_REDACTED}", text)
    return text


@lru_cache(maxsize=1024)  # the names are those that our own code uses, a few hundred
def _is_secret_name(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def redact_text(text: str, secrets: Sequence[str]) -> str:
    """Blank out known secrets wherever they stand in a finished line."""
    for secret in secrets:
        text = text.replace(secret, _REDACTED)
    return text


def spellings(secrets: Sequence[str]) -> tuple[str, ...]:
    """Return each secret as it may stand in a line: plain, and as JSON escapes it."""
    found = []
    for secret in secrets:
        if len(secret) >= _SECRET_LENGTH_MIN:
            found += [secret, orjson.dumps(secret).decode()[1:-1]]
    return tuple(dict.fromkeys(found))
