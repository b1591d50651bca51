"""A start takes over the breaker that an earlier run, or an operator since, left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from daemon import latch
from daemon.engine import Engine
from daemon.journal import JournalError
from risk.breaker import Breaker, BreakerState


def take_over_latch(
    directory: Path, engine: Engine, note: Callable[..., None], now_ns: int
) -> None:
    """Let the engine start where an earlier run was stopped; JournalError where it is no file.

    ``note`` takes the name of a log event and its fields.
    """
    latched = latch.read(directory, now_ns)
    lifted = latch.offline_reason(directory)
    if lifted is not None:
        note("command_received", command="RESUME", reason=lifted, when="before this start")
        engine.desk.forget_losses()
    if latched.state is BreakerState.NORMAL:
        _try_latch(directory, latched)
    engine.desk.ladder.take_over(latched)
    if latched.state is not BreakerState.NORMAL:
        note(
            "breaker_latched",
            state=latched.state.name,
            trigger=latched.trigger.value if latched.trigger else "",
            since_ns=latched.since_ns,
            reason=latched.reason,
            lifted_by='metaensemble resume --reason "..."',
        )


def _try_latch(directory: Path, breaker: Breaker) -> None:
    """Make sure that the latch can be written before there is anything to latch."""
    try:
        latch.write(directory, breaker, "daemon")
    except latch.LatchError as error:
        raise JournalError(str(error)) from error
