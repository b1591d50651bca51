"""Delivery: to webhook and command within five seconds, once, and never with a secret."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from config.safety import AlertSettings
from daemon import logs
from daemon.alert_delivery import AlertDelivery
from daemon.clock import ManualClock
from daemon.log_events import EVENTS
from daemon.note import Note
from risk.breaker import Trigger
from tests.fakes.webhook import FIVE_SECONDS, webhook


class Desk:
    """A log whose alerts are delivered."""

    def __init__(self, settings: AlertSettings) -> None:
        self.clock = ManualClock()
        self.notes: list[Note] = []
        self.log = logs.configure("json", "info", "0123456789ab", memory_only=True)
        self.log.hide("hunter2-hunter2")
        self.delivery = AlertDelivery(
            settings,
            self.clock,
            run_id="0123456789ab",
            redact=self.log.redact,
            note=self.notes.append,
        )
        self.log.on_alert = self.delivery.offer

    def say(self, event: str, **fields: Any) -> None:
        self.log.note(Note(event=event, event_ns=1, fields=fields))


@pytest.mark.parametrize("event", sorted(name for name, spec in EVENTS.items() if spec.alert))
async def test_every_alert_of_the_list_arrives(event: str) -> None:
    """Whatever wakes somebody reaches the webhook with code, meaning and fields."""
    async with webhook() as (receiver, url):
        desk = Desk(AlertSettings(webhook_url=url))
        async with desk.delivery:
            desk.say(event, instrument="BTC/USDT:USDT", limit=0.5)
            await receiver.wait(1)
    (alert,) = receiver.got
    assert (alert["event"], alert["code"]) == (event, EVENTS[event].code)
    assert alert["meaning"] == EVENTS[event].sentence
    assert alert["fields"]["limit"] == 0.5


async def test_every_trigger_of_the_breaker_arrives() -> None:
    """Two causes are two alerts, although both are changes of the breaker."""
    async with webhook() as (receiver, url):
        desk = Desk(AlertSettings(webhook_url=url))
        async with desk.delivery:
            for trigger in Trigger:
                desk.say("breaker_changed", trigger=trigger.value, state="HALTED")
            await receiver.wait(len(Trigger))
    assert {alert["fields"]["trigger"] for alert in receiver.got} == {t.value for t in Trigger}


async def test_news_that_is_no_alert_stays_in_the_log() -> None:
    """Nobody is woken by a fill."""
    async with webhook() as (receiver, url):
        desk = Desk(AlertSettings(webhook_url=url))
        async with desk.delivery:
            desk.say("order_filled")
            desk.say("memory_high")
            await receiver.wait(1)
    assert [alert["event"] for alert in receiver.got] == ["memory_high"]


async def test_repetitions_are_held_back_and_counted() -> None:
    """Within the window one is enough; the next says how many there were."""
    async with webhook() as (receiver, url):
        desk = Desk(AlertSettings(webhook_url=url, dedupe_ms=1000))
        async with desk.delivery:
            for _ in range(5):
                desk.say("feed_down", instrument="BTC/USDT:USDT", reason="STALE for 61 s")
            desk.say("feed_down", instrument="ETH/USDT:USDT")
            await receiver.wait(2)
            await asyncio.sleep(0.05)
            desk.clock.advance(1_000_000_000)
            desk.say("feed_down", instrument="BTC/USDT:USDT")
            await receiver.wait(3)
    assert [alert["held_back"] for alert in receiver.got] == [0, 0, 4]


async def test_webhook_that_fails_twice_gets_it_the_third_time() -> None:
    """A server error is tried again, quickly enough."""
    async with webhook() as (receiver, url):
        receiver.statuses = [500, 503]
        desk = Desk(AlertSettings(webhook_url=url))
        began_s = time.monotonic()
        async with desk.delivery:
            desk.say("memory_high")
            await receiver.wait(1)
        assert time.monotonic() - began_s < FIVE_SECONDS
    assert receiver.attempts == 3


@pytest.mark.parametrize("trouble", ["hangs", "refuses", "absent"])
async def test_undelivered_alert_is_said_in_the_log_in_time(trouble: str) -> None:
    """A webhook that hangs, refuses or is not there is given up within five seconds."""
    async with webhook() as (receiver, url):
        receiver.hangs = trouble == "hangs"
        receiver.statuses = [404] * 9 if trouble == "refuses" else []
        url = url if trouble != "absent" else "http://127.0.0.1:9/hook"
        desk = Desk(AlertSettings(webhook_url=url, timeout_ms=200))
        began_s = time.monotonic()
        async with desk.delivery:
            desk.say("memory_high")
            while not desk.notes:
                assert time.monotonic() - began_s < FIVE_SECONDS
                await asyncio.sleep(0.01)
    assert [note.event for note in desk.notes] == ["alert_undelivered"]
    assert url not in str(desk.notes[0].fields)


async def test_secrets_do_not_leave_with_an_alert() -> None:
    """By value and by name."""
    async with webhook() as (receiver, url):
        desk = Desk(AlertSettings(webhook_url=url))
        async with desk.delivery:
            desk.say("run_failed", reason="bad hunter2-hunter2", api_key="abc", limit=1)
            await receiver.wait(1)
    assert "hunter2" not in json.dumps(receiver.got)
    assert "abc" not in json.dumps(receiver.got)


def writer_of(path: Path, code: int = 0, wait_s: float = 0.0) -> tuple[str, ...]:
    script = (
        f"import os, sys, time; time.sleep({wait_s}); "
        f"open({str(path)!r}, 'w').write(sys.stdin.read() + repr(sorted(os.environ))); "
        f"sys.exit({code})"
    )
    return (sys.executable, "-c", script)


async def test_command_gets_the_alert_on_its_stdin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No shell, no arguments of ours, no credentials in its environment."""
    monkeypatch.setenv("METAENSEMBLE_API_SECRET", "hunter2-hunter2")
    path = tmp_path / "alert"
    desk = Desk(AlertSettings(command=writer_of(path)))
    async with desk.delivery:
        desk.say("memory_high", reason="$(touch /tmp/never); `id`")
    line, _, environ = path.read_text().partition("\n")
    assert json.loads(line)["fields"]["reason"] == "$(touch /tmp/never); `id`"
    assert "METAENSEMBLE" not in environ


@pytest.mark.parametrize("trouble", ["fails", "hangs", "absent"])
async def test_command_that_does_not_work_is_reported(tmp_path: Path, trouble: str) -> None:
    """A failing, hanging or missing command is said in the log, and no child stays behind."""
    command = writer_of(tmp_path / "x", int(trouble == "fails"), 30.0 * (trouble == "hangs"))
    desk = Desk(
        AlertSettings(
            command=("/no/such/thing",) if trouble == "absent" else command,
            timeout_ms=100 if trouble == "hangs" else 1500,
        )
    )
    async with desk.delivery:
        desk.say("memory_high")
    assert [note.event for note in desk.notes] == ["alert_undelivered"]


async def test_flood_is_bounded() -> None:
    """A thousand different alerts at once do not pile up behind a slow webhook."""
    async with webhook() as (receiver, url):
        receiver.hangs = True
        desk = Desk(AlertSettings(webhook_url=url, timeout_ms=100))
        async with desk.delivery:
            for number in range(1000):
                desk.say("task_failed", task=f"task {number}")
            await asyncio.sleep(0.05)
            assert len(desk.delivery._tasks) <= 64
    assert desk.delivery.undelivered_count == 1000
