"""The stages that ``bench`` knows, and which of them are meant; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence

_MARKET = ("feed", "features", "book")
STAGE_NAMES = (*_MARKET, "ensemble", "gate", "journal", "matching", "tick", "wire")
"""In the order in which they run; ``capture`` comes last and needs a file."""


def parse_stages(text: str) -> tuple[str, ...]:
    """Read ``feed,features``; ValueError names what is unknown and what there is."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in (*STAGE_NAMES, "capture")]
    if unknown or not names:
        known = ", ".join((*STAGE_NAMES, "capture"))
        raise ValueError(f"no stage {', '.join(unknown) or 'at all'}; there are {known}")
    return names


def chosen_stages(only: Sequence[str], has_capture: bool) -> tuple[str, ...]:
    """Return the stages to run, in order: those named, or all, and the capture if there is one."""
    names = tuple(name for name in STAGE_NAMES if name in only or not only)
    return (*names, "capture") if has_capture or "capture" in only else names
