"""Logs: the fixed list, one parsable line per event, no secrets, never in the way."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon import logs
from daemon.effects import Note
from daemon.log_events import EVENTS
from daemon.log_lines import redact_fields, render_console, render_json
from daemon.log_writer import LineWriter
from daemon.logs import Log, configure, log_note
from kernels.events import Verdict

RUN_ID = "0abcdefghijk"


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """Leave the interpreter's logging as it was."""
    root = logging.getLogger()
    handlers = list(root.handlers)
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    if logs._current is not None:
        logs._current.close()
        logs._current = None


def _written(log: Log, stream: io.StringIO) -> list[dict[str, Any]]:
    assert log.flush(5.0)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def _note(event: str, **fields: Any) -> Note:
    return Note(event=event, event_ns=1_700_000_000_123_456_789, fields=fields)


def test_list_of_events_is_sound() -> None:
    """Names are lower case, codes are unique and well formed, alerts are at least warnings."""
    assert len({spec.code for spec in EVENTS.values()}) == len(EVENTS)
    for name, spec in EVENTS.items():
        assert name == spec.name
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name)
        assert re.fullmatch(r"ME[1-7]\d\d", spec.code)
        assert spec.sentence
        assert not spec.sentence.endswith(".")
        tells_only = name in {"alert_recovered", "alert_tried"}
        assert not spec.alert or tells_only or spec.severity in {"warning", "error", "critical"}


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_every_event_is_one_line_of_json(name: str) -> None:
    """Each event prints its name, code, severity, time and run, and alerts say so."""
    stream = io.StringIO()
    log = configure("json", "debug", RUN_ID, stream=stream)
    log_note(_note(name, instrument="BTC/USDT:USDT"))
    (line,) = _written(log, stream)
    spec = EVENTS[name]
    assert next(iter(line)) == "event"
    assert (line["event"], line["code"], line["severity"]) == (name, spec.code, spec.severity)
    assert line["event_ns"] == 1_700_000_000_123_456_789
    assert line["run_id"] == RUN_ID
    assert line["instrument"] == "BTC/USDT:USDT"
    assert line.get("alert", False) is spec.alert


def test_unknown_event_is_our_bug() -> None:
    """A note outside the list does not pass silently."""
    configure("json", "info", RUN_ID, stream=io.StringIO())
    with pytest.raises(AssertionError, match="nonsense"):
        log_note(_note("nonsense"))


def test_fields_never_replace_the_line_s_own() -> None:
    """A venue's error code does not overwrite ours."""
    stream = io.StringIO()
    log = configure("json", "info", RUN_ID, stream=stream)
    note = _note("order_rejected")
    fields = {"code": -2019, "event": "x", "run_id": "y"}
    log_note(replace(note, fields=fields))
    (line,) = _written(log, stream)
    assert (line["code"], line["field_code"]) == ("ME406", -2019)
    assert (line["field_event"], line["field_run_id"]) == ("x", "y")


def test_level_filters_but_alerts_are_counted() -> None:
    """Below the level nothing is written; every alert counts, written or not."""
    stream = io.StringIO()
    log = configure("json", "error", RUN_ID, stream=stream)
    for name in ("order_sent", "breaker_changed", "order_unknown", "order_unknown"):
        log_note(_note(name))
    assert [line["event"] for line in _written(log, stream)] == ["order_unknown"] * 2
    assert log.alert_counts() == {"ME407": 2, "ME502": 1}


def test_values_of_our_kinds_are_printed() -> None:
    """Enums print their names; arrays, huge integers and odd objects do not break a line."""
    stream = io.StringIO()
    log = configure("json", "info", RUN_ID, stream=stream)
    log_note(_note("heartbeat", verdict=Verdict.STALE, weights_N=np.array([0.5, 0.5])))
    log_note(_note("heartbeat", huge=10**30, error=ValueError("no"), half="\ud800"))
    log_note(_note("heartbeat", nan=float("nan")))
    first, second, third = _written(log, stream)
    assert third["nan"] is None
    assert (first["verdict"], first["weights_N"]) == ("STALE", [0.5, 0.5])
    assert second["huge"] == 10**30
    assert second["error"] == "no"


SECRET = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"


@pytest.mark.parametrize(
    "fields",
    [
        {"api_key": SECRET},
        {"apiSecret": SECRET},
        {"nested": {"deep": [{"listenKey": SECRET}]}},
        {"text": f"GET /fapi/v1/order?symbol=BTCUSDT&signature={SECRET}"},
        {"text": f"X-MBX-APIKEY: {SECRET}"},
        {"text": f'{{"listenKey":"{SECRET}"}}'},
        {"url": f"wss://fstream.binance.com/private/ws/{SECRET}"},
        {"error": RuntimeError(f"failed with signature={SECRET}")},
        {"headers": ({"Authorization": SECRET},)},
    ],
)
@pytest.mark.parametrize("form", ["json", "console"])
def test_secrets_are_recognised_by_name(fields: dict[str, Any], form: Any) -> None:
    """A secret that names itself is blanked out although nobody declared it."""
    stream = io.StringIO()
    log = configure(form, "info", RUN_ID, stream=stream)
    log_note(_note("heartbeat", **fields))
    assert log.flush(5.0)
    assert SECRET not in stream.getvalue()
    assert "[redacted]" in stream.getvalue()
    assert SECRET not in "".join(log.recent(10))


@given(
    # a piece of the word that stands in a secret's place is no secret that could vanish
    st.text(min_size=6, max_size=40).filter(lambda secret: secret not in "[redacted]"),
    st.sampled_from(["json", "console"]),
)
@settings(max_examples=60, deadline=None)
def test_declared_secrets_never_appear(secret: str, form: str) -> None:
    """A declared value is taken out of every field, whatever characters it is made of."""
    stream = io.StringIO()
    log = Log(
        is_json=form == "json",
        level="info",
        run_id=RUN_ID,
        writer=LineWriter(stream, on_drop=str),
        with_priority=False,
        secrets=[secret],
    )
    log.write(EVENTS["heartbeat"], 0, {"text": f"<{secret}>", "list": [secret]})
    log.close()
    plain = io.StringIO()
    bare = Log(
        is_json=form == "json",
        level="info",
        run_id=RUN_ID,
        writer=LineWriter(plain, on_drop=str),
        with_priority=False,
    )
    bare.write(EVENTS["heartbeat"], 0, {"text": "<>", "list": [""]})
    bare.close()
    if secret not in plain.getvalue():  # else it is part of every line's own text
        assert secret not in stream.getvalue()


@given(
    st.dictionaries(
        st.text(max_size=12),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(max_size=5), inner, max_size=3)
            ),
            max_leaves=6,
        ),
        max_size=5,
    )
)
@settings(max_examples=100, deadline=None)
def test_any_fields_give_exactly_one_line(fields: dict[str, Any]) -> None:
    """Whatever the venue puts into a field, the line stays one line and, as JSON, parses."""
    line = {"event": "heartbeat", "code": "ME110", "severity": "info", "event_ns": 1, **fields}
    line |= {"event": "heartbeat", "code": "ME110", "severity": "info", "event_ns": 1}
    text = render_json(None, "info", redact_fields(None, "info", dict(line)))
    assert "\n" not in text
    assert json.loads(text)["event"] == "heartbeat"
    shown = render_console(None, "info", redact_fields(None, "info", dict(line)))
    assert len(shown.splitlines()) == 1


def test_console_shows_time_code_and_fields() -> None:
    """The line for people has UTC time, code, event and quoted text; control codes are escaped."""
    stream = io.StringIO()
    log = configure("console", "info", RUN_ID, stream=stream)
    log_note(_note("order_denied", detail="too large\x1b[2J", limit=0.125))
    assert log.flush(5.0)
    text = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert (
        text
        == '22:13:20.123 warning  ME401 order_denied detail="too large\\u001b[2J" limit=0.125\n'
    )


def test_auto_is_json_away_from_a_terminal() -> None:
    """A pipe or a file gets JSON, a terminal colours."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    pipe, terminal = io.StringIO(), Terminal()
    configure("auto", "info", RUN_ID, stream=pipe)
    log_note(_note("run_ready"))
    log = configure("auto", "info", RUN_ID, stream=terminal)
    log_note(_note("run_ready"))
    assert log.flush(5.0)
    assert json.loads(pipe.getvalue())["event"] == "run_ready"
    assert terminal.getvalue().startswith("\x1b[")


def test_priority_only_on_the_journal_s_own_stream(tmp_path: Any) -> None:
    """The <N> prefix appears exactly when JOURNAL_STREAM names this very file."""
    for announced, prefix in (("", "{"), ("1:2", "{"), (None, "<4>{")):
        path = tmp_path / "stream"
        with path.open("w") as stream:
            status = os.fstat(stream.fileno())
            journal = f"{status.st_dev}:{status.st_ino}" if announced is None else announced
            log = configure(
                "auto", "info", RUN_ID, stream=stream, environ={"JOURNAL_STREAM": journal}
            )
            log_note(_note("order_denied"))
            log.close()
        assert path.read_text().startswith(prefix)


def test_library_messages_are_taken_in() -> None:
    """What a library warns about becomes an event with its logger, text and error, redacted."""
    stream = io.StringIO()
    logging.getLogger().handlers.clear()  # pytest's own handler raises on a wrong format
    log = configure("json", "info", RUN_ID, stream=stream)
    logger = logging.getLogger("ccxt.test")
    logger.info("not taken in")
    try:
        raise OSError("cable cut")
    except OSError:
        logger.exception("request %s failed", "signature=abcdef0123")
    logger.warning("%d", "wrong type")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.warn("old way", DeprecationWarning, stacklevel=1)
    failed, wrong, warned = _written(log, stream)
    assert failed["event"] == wrong["event"] == "library_message"
    assert (failed["logger"], failed["level"]) == ("ccxt.test", "error")
    assert failed["text"] == "request signature=[redacted] failed"
    assert "cable cut" in failed["error"]
    assert "%d" in wrong["text"]
    assert "old way" in warned["text"]


def test_slow_reader_never_blocks_and_loss_is_told() -> None:
    """With a reader that stands still, lines beyond the bound are dropped, counted and reported."""
    gate = threading.Event()
    stuck = threading.Event()

    class Slow(io.StringIO):
        def write(self, text: str) -> int:
            stuck.set()
            gate.wait(10)
            return super().write(text)

    stream = Slow()
    writer = LineWriter(stream, on_drop=lambda count: f"lost {count}", queue_lines_max=10)
    writer.put("first")
    assert stuck.wait(5)
    for number in range(25):
        writer.put(str(number))
    assert writer.dropped_count == 15
    assert not writer.flush(0.01)
    gate.set()
    assert writer.flush(5)
    writer.put("after")
    writer.close(5)
    assert stream.getvalue().splitlines() == ["first", *map(str, range(10)), "lost 15", "after"]


def test_broken_pipe_ends_writing_quietly() -> None:
    """A reader that is gone costs lines, not the run."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    stream = os.fdopen(write_end, "w")
    writer = LineWriter(stream, on_drop=str)
    writer.put("one")
    assert writer.flush(5)
    writer.put("two")
    writer.close(5)
    assert writer.dropped_count == 2
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_memory_only_log_keeps_the_last_lines() -> None:
    """For a terminal view nothing is written, and the last lines can be read back."""
    log = configure("console", "info", RUN_ID, stream=io.StringIO(), memory_only=True)
    for number in range(300):
        log_note(_note("heartbeat", number=number))
    assert len(log.recent(1000)) == 200
    assert "number=299" in log.recent(1)[0]
    assert log.recent(0) == ()
    assert log.flush()
    assert log.dropped_count == 0


def test_hide_takes_effect_at_once() -> None:
    """A secret that becomes known later, such as a listen key, is hidden from then on."""
    stream = io.StringIO()
    log = configure("json", "info", RUN_ID, stream=stream)
    log.hide("pqia91ma19a5s61cv6a81va65sdf19v8", "short")
    log_note(_note("heartbeat", where="pqia91ma19a5s61cv6a81va65sdf19v8", other="short"))
    (line,) = _written(log, stream)
    assert (line["where"], line["other"]) == ("[redacted]", "short")
