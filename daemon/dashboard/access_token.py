"""The token without which the live page may look but not act.

It lies beside the journal, readable by the daemon's user alone, and stays the same over restarts.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path

FILE_NAME = "views.token"
_FORM = re.compile(r"[A-Za-z0-9_-]{43}")


class TokenError(Exception):
    """The token cannot be kept; the message is for the operator."""


def open_token(directory: Path) -> str:
    """Return the token of this state directory, made anew where there is none that can be trusted.

    A file that others may read, or of another form, is replaced. Raises TokenError.
    """
    path = directory / FILE_NAME
    try:
        known = _read(path)
        if known is not None:
            return known
        token = secrets.token_urlsafe(32)
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(token + "\n")
    except OSError as error:
        raise TokenError(f"{path}: {error.strerror}") from error
    return token


def is_same(given: str, token: str) -> bool:
    """Compare in a time that does not depend on where they differ."""
    return secrets.compare_digest(given.encode(), token.encode())


def _read(path: Path) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, encoding="ascii", errors="replace") as file:
        found = os.fstat(file.fileno())
        is_private = stat.S_IMODE(found.st_mode) == 0o600 and found.st_uid == os.geteuid()
        text = file.read(64).strip()
    return text if is_private and _FORM.fullmatch(text) else None
