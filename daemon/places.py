"""Where one daemon keeps its files and sockets. Only the standard library, so that asking is quick.

State lives in the journal's directory of the mode; sockets beside it, or in the runtime directory
that the service manager made.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

MODES = ("sim", "paper", "testnet", "live")
CONTROL_SOCKET = "control.sock"
GUARD_SOCKET = "guard.sock"
RUN_DIRECTORY = Path("/run")


def journal_directory(configured: str, environ: Mapping[str, str]) -> Path:
    """Return the configured directory, else systemd's, else the user's state directory."""
    if configured:
        return Path(configured).expanduser()
    if environ.get("STATE_DIRECTORY"):
        return Path(environ["STATE_DIRECTORY"].split(":")[0])
    home = environ.get("XDG_STATE_HOME") or Path(environ.get("HOME", "~")).expanduser() / (
        ".local/state"
    )
    return Path(home) / "metaensemble"


def socket_directory(state_directory: Path, environ: Mapping[str, str]) -> Path:
    """Return where a daemon with this state directory puts its sockets."""
    runtime = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    return Path(runtime) if runtime else state_directory


def socket_candidates(name: str, mode: str | None, environ: Mapping[str, str]) -> list[Path]:
    """List where sockets of daemons of this machine may be, of one mode or of all."""
    state = journal_directory("", environ)
    places = [state / each for each in ((mode,) if mode else MODES)]
    if environ.get("RUNTIME_DIRECTORY"):
        places.append(Path(environ["RUNTIME_DIRECTORY"].split(":")[0]))
    places += sorted(path for path in RUN_DIRECTORY.glob("metaensemble*") if path.is_dir())
    return list(dict.fromkeys(place / name for place in places))
