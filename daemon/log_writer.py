"""The thread between the log and its reader: bounded, and never in the way of trading."""

from __future__ import annotations

import atexit
import threading
from collections import deque
from collections.abc import Callable
from typing import TextIO

QUEUE_LINES_MAX = 10_000
_CLOSE_AT_EXIT_S = 2.0


class LineWriter:
    """Write lines to a stream from a thread of its own.

    At most ``queue_lines_max`` lines wait; later ones are dropped, and ``on_drop(count)`` gives the
    line that stands where they would have been. A stream that breaks (closed pipe) ends writing:
    every later line counts as dropped. A ``put`` costs an append and, if the thread sleeps, a wake.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        on_drop: Callable[[int], str],
        queue_lines_max: int = QUEUE_LINES_MAX,
    ) -> None:
        """Start the thread; it also ends, after what waits is written, when the process exits."""
        self.dropped_count = 0
        self._stream = stream
        self._on_drop = on_drop
        self._queue_lines_max = queue_lines_max
        self._lines: deque[str] = deque()
        self._unreported_count = 0
        self._is_writing = False
        self._is_closed = False
        self._is_broken = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()
        atexit.register(self.close, _CLOSE_AT_EXIT_S)

    def put(self, line: str) -> None:
        """Queue one line, without its newline; never blocks on the stream."""
        with self._changed:
            if self._is_closed or self._is_broken or len(self._lines) >= self._queue_lines_max:
                self.dropped_count += 1
                self._unreported_count += 1
                return
            if self._unreported_count:
                self._lines.append(self._on_drop(self._unreported_count))
                self._unreported_count = 0
            self._lines.append(line)
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until nothing waits any more; False when the time is over first."""
        with self._changed:
            return self._changed.wait_for(self._is_idle, timeout_s)

    def close(self, timeout_s: float) -> None:
        """Write what waits, for so long at most, and end the thread; harmless when repeated."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        atexit.unregister(self.close)

    def _is_idle(self) -> bool:
        return self._is_broken or (not self._lines and not self._is_writing)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._lines or self._is_closed)
                if not self._lines:
                    return
                batch = "\n".join(self._lines) + "\n"
                count = len(self._lines)
                self._lines.clear()
                self._is_writing = True
            try:
                self._stream.write(batch)
                self._stream.flush()
            except (OSError, ValueError):  # the reader is gone: nowhere left to say so
                with self._changed:
                    self.dropped_count += count
                    self._is_broken = True
                    self._is_writing = False
                    self._changed.notify_all()
                return
