"""The same warning over and over becomes few lines and a count; nothing else is ever held back."""

from __future__ import annotations

import io
import json

from hypothesis import given
from hypothesis import strategies as st

from config.load import load_settings
from daemon import logs
from daemon.log_repeats import WINDOW_NS, Repeats
from daemon.note import Note

S = 1_000_000_000


def _written(notes: list[Note], repeats_max: int = 3) -> list[dict[str, object]]:
    stream = io.StringIO()
    log = logs.configure("json", "info", "0123456789ab", stream=stream, repeats_max=repeats_max)
    for note in notes:
        log.note(note)
    log.close()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def _refused(at_s: int, reason: str = "not JSON") -> Note:
    return Note(event="feed_frame_refused", event_ns=at_s * S, fields={"reason": reason})


def test_storm_becomes_three_lines_and_a_count() -> None:
    """A hundred of the same in a minute: three lines, and at the end how many more there were."""
    lines = _written([_refused(1) for _ in range(100)])
    assert [line["event"] for line in lines] == ["feed_frame_refused"] * 3 + ["log_repeated"]
    assert lines[-1]["held_back"] == 97


def test_count_comes_with_the_next_line_of_its_kind() -> None:
    """A minute later it is written again, and says what was held back meanwhile."""
    lines = _written([*(_refused(1) for _ in range(10)), _refused(62)])
    assert [line.get("held_back") for line in lines] == [None, None, None, 7]


def test_lines_that_differ_are_all_written() -> None:
    """Another reason is another line, and so is every order with its own id."""
    assert len(_written([_refused(1, f"reason {n}") for n in range(50)])) == 50


def test_information_is_never_held_back() -> None:
    """Fills and decisions are records, even where two of them look alike."""
    notes = [Note(event="order_filled", event_ns=S, fields={}) for _ in range(50)]
    assert len(_written(notes)) == 50


def test_alerts_are_counted_and_handed_on_all_the_same() -> None:
    """What is not written again still counts, and delivery has its own rule."""
    log = logs.configure("json", "info", "0123456789ab", memory_only=True, repeats_max=2)
    offered: list[str] = []
    log.on_alert = lambda spec, event_ns, fields: offered.append(spec.code)
    for _ in range(9):
        log.note(Note(event="order_unknown", event_ns=S, fields={"client_order_id": "me-1"}))
    assert log.alert_counts() == {"ME407": 9}
    assert len(offered) == 9
    assert len(log.recent(99)) == 2


def test_research_logs_in_full() -> None:
    """Preset research holds nothing back and logs every decision."""
    settings = load_settings("research", None, ())
    assert settings.meta.detailed_logging
    assert len(_written([_refused(1) for _ in range(500)], settings.log.repeats_max)) == 500


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 200)), max_size=200),
    st.integers(1, 5),
)
def test_every_line_is_written_or_counted_once(said: list[tuple[str, int]], most: int) -> None:
    """Written lines and told counts add up to what was said, in whatever order times come."""
    repeats = Repeats(most)
    written = told = 0
    for key, at_s in sorted(said, key=lambda each: each[1]):
        may, before = repeats.admit(key, at_s * S)
        written += may
        told += before
    told += sum(repeats.held_back(WINDOW_NS * 1000).values())
    assert written + told == len(said)


def test_number_of_remembered_lines_is_bounded() -> None:
    """A storm of different lines costs no memory without end."""
    repeats = Repeats(1)
    for n in range(5_000):
        repeats.admit(f"line {n}", n)
    assert len(repeats._said) <= 256
