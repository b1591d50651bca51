"""Use an exchange that somebody else started: several clients of one simulated venue."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from daemon.simulated.process import ExchangeError, SimulatedAccess, SimulatedExchange


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedExchange:
    """An exchange that is not ours to start or to stop."""

    access: SimulatedAccess
    exit_code: None = None
    lifeline: int = -1
    source_finished: bool = False

    async def stop(self) -> None:
        """Leave it as it is."""

    def report(self) -> dict[str, Any]:
        """Raise ExchangeError: its report goes to whoever started it."""
        raise ExchangeError("the exchange was started by somebody else, who gets its report")


Exchange = SimulatedExchange | AttachedExchange
"""A simulated exchange, whoever started it."""


def attach(path: Path) -> AttachedExchange:
    """Read the line that ``metaensemble exchange --json`` printed; ExchangeError when it is none.

    The file opens the account: keep it to yourself (0600).
    """
    try:
        words = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
        address = urlsplit(words["url"])
        access = SimulatedAccess(
            host=str(address.hostname),
            port=int(address.port or 0),
            plain_port=0,
            ca_pem_path=str(words["ca_pem_path"]),
            api_key=str(words["api_key"]),
            api_secret=str(words["api_secret"]),
            pid=int(words["pid"]),
        )
    except OSError as error:
        reason = f"simulated.attach: {path}: {error.strerror}"
        raise ExchangeError(reason, is_refused=True) from None
    except (ValueError, KeyError, TypeError, IndexError):
        reason = f"simulated.attach: {path} holds no access to an exchange"
        raise ExchangeError(reason, is_refused=True) from None
    return AttachedExchange(access=access)
