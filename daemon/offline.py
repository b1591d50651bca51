"""Lifts a latched breaker while no daemon runs; the next start finds it and says so in its log."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from daemon import latch
from daemon.clock import SystemClock
from daemon.journal import JournalError, hold_directory
from risk.breaker import BreakerState, Trigger


def resume(directories: Sequence[Path], reason: str) -> dict[str, Any] | None:
    """Lift the one latch among these state directories; None where none is latched.

    The answer is an error where several are latched or a daemon holds the directory.
    """
    now_ns = SystemClock().now_ns()
    latched = [
        directory
        for directory in dict.fromkeys(directories)
        if latch.read(directory, now_ns).state is not BreakerState.NORMAL
    ]
    if not latched:
        return None
    if len(latched) > 1:
        listed = ", ".join(map(str, latched))
        return {"ok": False, "error": f"several are latched, choose one with --mode: {listed}"}
    directory = latched[0]
    try:
        held = hold_directory(directory)
    except (JournalError, OSError) as error:
        return {"ok": False, "error": str(error)}
    try:
        before = latch.read(directory, now_ns)
        lifted = before.apply(Trigger.OPERATOR_RESUME, now_ns, f"{reason} (uid {os.getuid()})")
        latch.write(directory, lifted, latch.OPERATOR)
    except latch.LatchError as error:
        return {"ok": False, "error": str(error)}
    finally:
        os.close(held)
    return {
        "ok": True,
        "lifted": before.state.name,
        "trigger": before.trigger.value if before.trigger else None,
        "directory": str(directory),
    }
