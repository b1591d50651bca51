"""Effects: a decision's outcome is filled in after everything else about it is known."""

from __future__ import annotations

from dataclasses import fields, replace

from daemon.effects import Decided, with_outcome


def test_outcome_changes_nothing_else() -> None:
    """Every field but the outcome is kept, in its place."""
    values = {field.name: f"value of {field.name}" for field in fields(Decided)}
    entry = Decided(**values)  # type: ignore[arg-type]  # any value shows its place
    assert with_outcome(entry, "hold") == replace(entry, outcome="hold")
