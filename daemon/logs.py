"""Structured logs: one line per event, from the fixed list in ``daemon.log_events``.

JSON for machines, colours for a terminal, a ``<N>`` priority in front under the systemd journal. A
reader that is too slow must never stop trading: lines wait in a bounded queue for a writer thread,
beyond it they are dropped and counted. Secrets are taken out twice: by the name of their field and
by their value, wherever it stands in the finished line.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TextIO

import orjson
import structlog

from daemon.log_events import EVENTS, EventSpec
from daemon.log_lines import redact_fields, redact_text, render_console, render_json, spellings
from daemon.log_repeats import Repeats
from daemon.log_writer import LineWriter

if TYPE_CHECKING:
    from daemon.effects import Note

__all__ = ["EVENTS", "EventSpec", "Log", "configure", "log_note"]

_LEVEL_NUMBER = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}  # syslog(3)
_RESERVED = frozenset({"event", "code", "severity", "event_ns", "run_id", "alert", "meaning"})
_RECENT_LINES = 200
_RECENT_ALERTS = 50
_REPEATS_MAX = 5
_END_NS = 2**63 - 1
_HELD_BACK = 30  # level from which the same lines are counted instead of written: warning


class Log:
    """One configured log: where lines go, how many alerts there were, what the last lines say."""

    def __init__(
        self,
        *,
        is_json: bool,
        level: str,
        run_id: str,
        writer: LineWriter | None,
        with_priority: bool,
        secrets: Sequence[str] = (),
        repeats_max: int = _REPEATS_MAX,
    ) -> None:
        """Take the choices of ``configure``; ``writer`` None keeps lines in memory only."""
        self.run_id = run_id
        self._writer = writer
        self._with_priority = with_priority
        self._level_number = _LEVEL_NUMBER[level]
        self._secrets = spellings(secrets)
        self._alerts: Counter[str] = Counter()
        self._repeats = Repeats(repeats_max)
        self._recent: deque[str] = deque(maxlen=_RECENT_LINES)
        self._recent_alerts: deque[dict[str, Any]] = deque(maxlen=_RECENT_ALERTS)
        self._newest_ns = 0
        self._lock = threading.Lock()
        self.on_alert: Callable[[EventSpec, int, Mapping[str, Any]], None] | None = None
        render = render_json if is_json else render_console
        self._logger = structlog.wrap_logger(
            _Finished(self),
            wrapper_class=structlog.BoundLogger,
            processors=[redact_fields, render],
            cache_logger_on_first_use=True,
        )

    def note(self, note: Note) -> None:
        """Write one note; an event that is not in ``EVENTS`` is our own bug."""
        spec = EVENTS.get(note.event)
        assert spec is not None, f"unknown log event {note.event!r}"
        self.write(spec, note.event_ns, note.fields)

    def write(self, spec: EventSpec, event_ns: int, fields: Mapping[str, Any]) -> None:
        """Write one event that happened at ``event_ns`` (UNIX), unless its level is off.

        Alerts are counted whatever the level. A field whose name the line itself uses gets
        ``field_`` in front.
        """
        self._newest_ns = max(self._newest_ns, event_ns)
        if spec.alert:
            shown = redact_fields(None, "", dict(fields))
            with self._lock:
                self._alerts[spec.code] += 1
                self._recent_alerts.append(_alert_words(spec, event_ns, shown))
            if self.on_alert is not None:
                self.on_alert(spec, event_ns, shown)
        level = _LEVEL_NUMBER[spec.severity]
        if level < self._level_number:
            return
        if level >= _HELD_BACK:
            with self._lock:
                may, before = self._repeats.admit(f"{spec.name} {fields}", event_ns)
            if not may:
                return
            if before:
                fields = {**fields, "held_back": before}
        line: dict[str, Any] = {
            "code": spec.code,
            "severity": spec.severity,
            "event_ns": event_ns,
            "run_id": self.run_id,
        }
        if spec.alert:
            line["alert"] = True
            line["meaning"] = spec.sentence
        for name, value in fields.items():
            line[f"field_{name}" if name in _RESERVED else name] = value
        getattr(self._logger, spec.severity)(spec.name, **line)

    def finish(self, text: str, severity: str) -> None:
        """Take the secrets out of a rendered line and hand it to the writer."""
        text = redact_text(text, self._secrets)
        with self._lock:
            self._recent.append(text)
        if self._writer is not None:
            self._writer.put(f"<{_PRIORITY[severity]}>{text}" if self._with_priority else text)

    def hide(self, *secrets: str) -> None:
        """Keep these values out of every later line; those under six characters are ignored."""
        self._secrets = (*self._secrets, *spellings(secrets))

    def redact(self, text: str) -> str:
        """Take the values that were hidden out of a text."""
        return redact_text(text, self._secrets)

    def alert_counts(self) -> dict[str, int]:
        """Count alerts by code, in order of code."""
        with self._lock:
            return dict(sorted(self._alerts.items()))

    def recent(self, count: int) -> tuple[str, ...]:
        """Return the last lines as written, oldest first, at most 200."""
        with self._lock:
            return tuple(self._recent)[-count:] if count > 0 else ()

    def recent_alerts(self, count: int) -> tuple[dict[str, Any], ...]:
        """Return the last alerts, oldest first, at most 50; ``redact`` what is shown of them."""
        with self._lock:
            return tuple(self._recent_alerts)[-count:] if count > 0 else ()

    @property
    def dropped_count(self) -> int:
        """Lines that the writer had to drop."""
        return 0 if self._writer is None else self._writer.dropped_count

    def flush(self, timeout_s: float = 2.0) -> bool:
        """Wait until what was written so far is out; False when it is not within the time."""
        return True if self._writer is None else self._writer.flush(timeout_s)

    def close(self, timeout_s: float = 2.0) -> None:
        """Say what was held back, flush and end; later lines stay in memory only."""
        with self._lock:
            held_back = self._repeats.held_back(_END_NS)
        for key, count in held_back.items():
            fields = {"line": key, "held_back": count}
            self.write(EVENTS["log_repeated"], self._newest_ns, fields)
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close(timeout_s)


def _alert_words(spec: EventSpec, event_ns: int, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Say what a view shows of an alert."""
    return {
        "event_ns": event_ns,
        "code": spec.code,
        "event": spec.name,
        "severity": spec.severity,
        "meaning": spec.sentence,
        "fields": {name: str(value) for name, value in fields.items()},
    }


class _Finished:
    """The end of structlog's chain: it is given the rendered line."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def debug(self, text: str) -> None:
        self._log.finish(text, "debug")

    def info(self, text: str) -> None:
        self._log.finish(text, "info")

    def warning(self, text: str) -> None:
        self._log.finish(text, "warning")

    def error(self, text: str) -> None:
        self._log.finish(text, "error")

    def critical(self, text: str) -> None:
        self._log.finish(text, "critical")


class _LibraryHandler(logging.Handler):
    """Turn what ccxt, asyncio, aiohttp and warnings say into ``library_message`` lines."""

    def emit(self, record: logging.LogRecord) -> None:
        spec = EVENTS["library_message"]
        fields = {"logger": record.name, "level": record.levelname.lower()}
        try:
            fields["text"] = record.getMessage()
        except (TypeError, ValueError) as error:  # a library formatted its own message wrongly
            fields["text"] = f"{record.msg!r} ({error})"
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = repr(record.exc_info[1])
        if _current is not None:
            _current.write(spec, int(record.created * 1e9), fields)


_current: Log | None = None


def configure(
    line_format: Literal["auto", "json", "console"],
    level: Literal["debug", "info", "warning", "error"],
    run_id: str,
    *,
    stream: TextIO | None = None,
    memory_only: bool = False,
    secrets: Sequence[str] = (),
    repeats_max: int = _REPEATS_MAX,
    environ: Mapping[str, str] | None = None,
) -> Log:
    """Build the log of this run and make it the one that ``log_note`` writes to.

    ``stream`` None is stderr. ``memory_only`` writes nowhere (a terminal view shows
    ``Log.recent``). Of the same warnings ``repeats_max`` are written in a minute, the others
    counted. The log before this one is closed. Library messages of level warning and above
    are taken in as well.
    """
    global _current
    target = sys.stderr if stream is None else stream
    under_journal = _is_journal(target, os.environ if environ is None else environ)
    is_json = line_format == "json" or (line_format == "auto" and not target.isatty())
    if _current is not None:
        _current.close()
    _current = Log(
        is_json=is_json,
        level=level,
        run_id=run_id,
        writer=None if memory_only else LineWriter(target, on_drop=_report_drop),
        with_priority=under_journal,
        secrets=secrets,
        repeats_max=repeats_max,
    )
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, _LibraryHandler)]:
        root.removeHandler(handler)
    root.addHandler(_LibraryHandler(level=logging.WARNING))
    logging.captureWarnings(True)
    return _current


def log_note(note: Note) -> None:
    """Write one note to the configured log; calling it before ``configure`` is our own bug."""
    assert _current is not None, "log_note before configure"
    _current.note(note)


def _report_drop(count: int) -> str:
    """Say, in the place of the lost lines, how many there were."""
    spec = EVENTS["log_lines_dropped"]
    return orjson.dumps(
        {
            "event": spec.name,
            "code": spec.code,
            "severity": spec.severity,
            "alert": True,
            "dropped_count": count,
        }
    ).decode()


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Say whether this very stream is the systemd journal's (systemd.exec(5), JOURNAL_STREAM)."""
    announced = environ.get("JOURNAL_STREAM", "")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or no file at all, such as a StringIO
        return False
    return announced == f"{status.st_dev}:{status.st_ino}"
