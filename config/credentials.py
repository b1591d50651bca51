"""Exchange key and secret, mail password: systemd credentials or environment, never YAML."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from config.problems import ConfigError
from config.settings import Settings

_FILE_BYTES_MAX = 4096
_FILES = {"api_key": "exchange-key", "api_secret": "exchange-secret"}
_VARIABLES = {"api_key": "METAENSEMBLE_API_KEY", "api_secret": "METAENSEMBLE_API_SECRET"}
_SMTP_FILE = "smtp-password"
_SMTP_VARIABLE = "METAENSEMBLE_SMTP_PASSWORD"
_READABLE_BY_OTHERS = stat.S_IROTH | stat.S_IWOTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """An API key and its secret; printing one shows a fingerprint only."""

    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits that identify the key without revealing it."""
        return hashlib.sha256(self.api_key.encode()).hexdigest()[:8]

    def __repr__(self) -> str:
        """Show the fingerprint only."""
        return f"Credentials(fingerprint={self.fingerprint!r})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse pickling and copying, which would carry the secret elsewhere."""
        raise TypeError("credentials stay in this process")


def load_credentials(settings: Settings, environ: Mapping[str, str]) -> Credentials | None:
    """Return the credentials of this run, None in modes sim and paper, which have none.

    ``$CREDENTIALS_DIRECTORY/exchange-key`` and ``exchange-secret`` (systemd) come before
    METAENSEMBLE_API_KEY and METAENSEMBLE_API_SECRET. Raises ConfigError when one is missing, is not
    plain text without spaces, or lies in a file that everybody may read. No message holds a value.
    """
    if settings.mode in ("sim", "paper"):
        return None
    directory = environ.get("CREDENTIALS_DIRECTORY", "")
    found = dict.fromkeys(_FILES, "")
    if directory and any((Path(directory) / file).exists() for file in _FILES.values()):
        found = {name: _from_file(Path(directory) / file) for name, file in _FILES.items()}
    elif any(environ.get(variable) for variable in _VARIABLES.values()):
        found = {name: _checked(environ.get(at, ""), at) for name, at in _VARIABLES.items()}
    else:
        message = (
            f"mode {settings.mode} needs credentials: files {' and '.join(_FILES.values())} in "
            f"$CREDENTIALS_DIRECTORY, or {' and '.join(_VARIABLES.values())}"
        )
        raise ConfigError("environment", "", None, message)
    return Credentials(**found)


def load_smtp_password(settings: Settings, environ: Mapping[str, str]) -> str:
    """Return the password of ``alerts.smtp_user``, empty where no login is configured.

    ``$CREDENTIALS_DIRECTORY/smtp-password`` comes before METAENSEMBLE_SMTP_PASSWORD. Raises
    ConfigError when there is none, or as ``load_credentials``.
    """
    if not (settings.alerts.email_to and settings.alerts.smtp_user):
        return ""
    directory = environ.get("CREDENTIALS_DIRECTORY", "")
    path = Path(directory) / _SMTP_FILE
    if directory and path.exists():
        return _from_file(path)
    if environ.get(_SMTP_VARIABLE):
        return _checked(environ[_SMTP_VARIABLE], _SMTP_VARIABLE)
    message = (
        f"alerts.smtp_user needs a password: file {_SMTP_FILE} in $CREDENTIALS_DIRECTORY, or "
        f"{_SMTP_VARIABLE}"
    )
    raise ConfigError("environment", "", None, message)


def _from_file(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            mode = stat.S_IMODE(path.stat().st_mode)
            content = stream.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(str(path), "", None, f"cannot be read: {error.strerror}") from None
    if mode & _READABLE_BY_OTHERS:
        raise ConfigError(str(path), "", None, f"mode {mode:04o} opens it to everybody; use 0600")
    if not content.isascii():
        raise ConfigError(str(path), "", None, "must be plain ASCII text")
    return _checked(content.decode("ascii"), str(path))


def _checked(text: str, source: str) -> str:
    value = text.strip()
    if not value:
        raise ConfigError(source, "", None, "is missing or empty")
    if len(value) > _FILE_BYTES_MAX or not value.isascii() or not value.isprintable():
        raise ConfigError(source, "", None, "must be one line of plain ASCII text")
    if " " in value:
        raise ConfigError(source, "", None, "must not contain spaces")
    return value
