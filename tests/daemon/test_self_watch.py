"""What the daemon finds wrong with its own machine becomes an alarm, once."""

from __future__ import annotations

from pathlib import Path

from daemon.clock import ManualClock
from daemon.effects import Note
from daemon.self_watch import INTERVAL_NS, SelfWatch
from kernels.events import Alarm


class Machine:
    """A journal that may fail, and everything that was said about it."""

    def __init__(self, directory: Path, disk_free_mb_min: int = 1) -> None:
        self.error: str | None = None
        self.alarms: list[Alarm] = []
        self.notes: list[Note] = []
        self.clock = ManualClock()
        self.watch = SelfWatch(
            directory=directory,
            disk_free_mb_min=disk_free_mb_min,
            errors={"journal": lambda: self.error},
            alarm=self.alarms.append,
            note=self.notes.append,
            clock=self.clock,
        )

    def look(self) -> list[str]:
        """Let a second pass, look, and return the codes of all alarms so far."""
        self.clock.advance(INTERVAL_NS)
        self.watch.look()
        return [alarm.code for alarm in self.alarms]


def test_well_machine_says_nothing(tmp_path: Path) -> None:
    """No alarm without a cause."""
    machine = Machine(tmp_path)
    assert machine.look() == []
    assert machine.notes == []


def test_failing_journal_is_told_once_and_again_after_it_was_well(tmp_path: Path) -> None:
    """One failure is one alarm; the next failure is another."""
    machine = Machine(tmp_path)
    machine.error = "disk I/O error"
    assert machine.look() == machine.look() == ["journal_error"]
    assert [note.event for note in machine.notes] == ["journal_error"]
    machine.error = None
    machine.look()
    machine.error = "disk I/O error"
    assert machine.look() == ["journal_error", "journal_error"]


def test_full_disk_trips(tmp_path: Path) -> None:
    """More free space is wanted than any disk has."""
    machine = Machine(tmp_path, disk_free_mb_min=10**9)
    assert machine.look() == ["disk_full"]
    assert machine.notes[0].event == "disk_full"


def test_vanished_directory_trips(tmp_path: Path) -> None:
    """A journal whose place is gone is as bad as a full disk."""
    assert Machine(tmp_path / "gone").look() == ["disk_full"]


def test_looks_once_a_second(tmp_path: Path) -> None:
    """The main loop may ask as often as it likes."""
    machine = Machine(tmp_path)
    machine.look()
    machine.error = "broken"
    machine.watch.look()
    assert machine.alarms == []
