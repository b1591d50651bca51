"""How the core speaks to the log: notes with the instrument's name and the time of the event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from daemon.effects import Note
from kernels.units import Instrument

REPEAT_NOTE_NS = 60_000_000_000
"""The same news about one instrument is noted again after this long; counters see every one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteState:
    """What a note book remembers: pairs of (event, instrument) and (reason, UNIX ns)."""

    now_ns: int
    last: list[tuple[tuple[str, int], tuple[str, int]]]


class NoteBook:
    """Make notes; the time is that of the newest event the engine has folded."""

    def __init__(self, instruments: tuple[Instrument, ...], now_ns: int) -> None:
        """Know the instruments' names."""
        self._symbols = tuple(instrument.symbol for instrument in instruments)
        self._last: dict[tuple[str, int], tuple[str, int]] = {}
        self.now_ns = now_ns

    def note(self, event: str, instrument: int | None = None, **fields: Any) -> Note:
        """Note one thing that happened."""
        if instrument is not None:
            fields["instrument"] = self._symbols[instrument]
        return Note(event=event, event_ns=self.now_ns, fields=fields)

    def seldom(self, event: str, instrument: int, reason: str, **fields: Any) -> tuple[Note, ...]:
        """Note a state that repeats with every decision only when it changes, or once a minute."""
        last_reason, last_ns = self._last.get((event, instrument), ("", 0))
        if reason == last_reason and self.now_ns - last_ns < REPEAT_NOTE_NS:
            return ()
        self._last[(event, instrument)] = (reason, self.now_ns)
        return (self.note(event, instrument, reason=reason, **fields),)

    @property
    def state(self) -> NoteState:
        """Give what was said last of every state that repeats."""
        return NoteState(now_ns=self.now_ns, last=list(self._last.items()))

    def restore(self, state: NoteState) -> None:
        """Take over what another note book had said."""
        self.now_ns = state.now_ns
        self._last = dict(state.last)

    def over(self, event: str, instrument: int) -> None:
        """Forget a state that has ended, so that its return is noted at once."""
        self._last.pop((event, instrument), None)
