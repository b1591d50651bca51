"""Every way an alert can take besides plain JSON: mail through a real server, Slack, Discord."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.load import ConfigError, load_smtp_password
from config.safety import AlertSettings
from config.settings import Settings
from daemon import logs
from daemon.alert_opening import open_delivery
from daemon.alert_words import DISCORD_CHARACTERS_MAX, mail, webhook_text
from daemon.clock import ManualClock, SystemClock
from daemon.life_sign import LifeSign
from daemon.note import Note
from tests.fakes.mail_server import PASSWORD, Mailbox, mail_server
from tests.fakes.webhook import webhook

WORDS = {
    "schema": 1,
    "event": "order_unknown",
    "code": "ME407",
    "severity": "error",
    "meaning": "sent, but its fate is not proven",
    "event_ns": 1_700_000_000_000_000_000,
    "run_id": "0123456789ab",
    "held_back": 2,
    "fields": {"reason": "@everyone <!channel> <http://evil|click>\r\nBcc: x@y"},
}


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def _sent_mail(mailbox: Mailbox, settings: AlertSettings, password: str = "") -> list[Note]:
    """Deliver one alert; return what the delivery itself had to say."""
    log = logs.configure("json", "info", "0123456789ab", memory_only=True)
    log.hide("hunter2-hunter2")
    notes: list[Note] = []
    delivery = open_delivery(settings, ManualClock(), log, password)
    delivery._note = notes.append
    async with delivery:
        fields = {"reason": "the key is hunter2-hunter2", "limit": 0.5}
        log.note(Note(event="sharpe_low", event_ns=1_700_000_000_000_000_000, fields=fields))
        await _until(lambda: bool(mailbox.got or notes))
    return notes


def _settings(port: int, **changes: Any) -> AlertSettings:
    return AlertSettings(
        email_to=("ops@example.com", "second@example.com"),
        email_from="daemon@example.com",
        smtp_host="localhost",
        smtp_port=port,
        **{"smtp_security": "none", **changes},
    )


async def test_mail_arrives_with_what_matters_and_no_secret(tmp_path: Path) -> None:
    """A real SMTP server takes one mail for all receivers; subject and body say what happened."""
    with mail_server(tmp_path) as (mailbox, port, _):
        assert await _sent_mail(mailbox, _settings(port)) == []
    (message,) = mailbox.got
    assert message["To"] == "ops@example.com, second@example.com"
    assert message["Subject"].startswith("[metaensemble] warning ME509: the recent Sharpe")
    body = message.get_content()
    assert "2023-11-14 22:13:20 UTC" in body
    assert "hunter2" not in message.as_string()
    assert "[redacted]" in body


async def test_mail_over_starttls_with_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line is encrypted before the password is said, and the certificate is verified."""
    with mail_server(tmp_path, is_closed=True) as (mailbox, port, authority):
        settings = _settings(port, smtp_security="starttls", smtp_user="daemon")
        (untrusted,) = await _sent_mail(mailbox, settings, PASSWORD)
        assert "SSLCertVerificationError" in untrusted.fields["reason"]
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        assert await _sent_mail(mailbox, settings, PASSWORD) == []
        (message,) = mailbox.got
        assert PASSWORD not in message.as_string()


async def test_wrong_password_is_said_and_not_tried_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused login is not hammered, and the log does not hold what was tried."""
    with mail_server(tmp_path, is_closed=True) as (mailbox, port, authority):
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        settings = _settings(port, smtp_security="starttls", smtp_user="daemon")
        (note,) = await _sent_mail(mailbox, settings, "not-the-password")
    assert note.event == "alert_undelivered"
    assert note.fields["reason"] == "the mail server refuses the login"


async def test_busy_mail_server_is_tried_again(tmp_path: Path) -> None:
    """One temporary refusal loses nothing; two are said with the server's code."""
    with mail_server(tmp_path) as (mailbox, port, _):
        mailbox.codes = ["451 later"]
        assert await _sent_mail(mailbox, _settings(port)) == []
        mailbox.got.clear()
        mailbox.codes = ["451 later", "451 later"]
        (note,) = await _sent_mail(mailbox, _settings(port))
    assert note.fields["reason"] == "the mail server answers 451"


@given(st.text(max_size=80), st.text(max_size=80))
def test_nothing_from_outside_becomes_a_header(name: str, value: str) -> None:
    """Whatever a venue says stays in the body: headers are those that were meant."""
    message = mail({**WORDS, "fields": {name: value}}, "a@b", ("c@d",))
    assert set(message.keys()) <= {
        *("From", "To", "Subject", "X-Metaensemble-Code", "MIME-Version"),
        *("Content-Type", "Content-Transfer-Encoding"),
    }


def test_slack_and_discord_get_text_that_calls_nobody() -> None:
    """A mention or link from outside is shown as it is, within the length that each takes."""
    slack = json.loads(webhook_text("slack", WORDS))
    assert set(slack) == {"text"}
    assert "<" not in slack["text"]
    assert "ME407" in slack["text"]
    discord = json.loads(webhook_text("discord", WORDS))
    assert discord["allowed_mentions"] == {"parse": []}
    long = json.loads(webhook_text("discord", {**WORDS, "fields": {"reason": "x" * 9_000}}))
    assert len(long["content"]) <= DISCORD_CHARACTERS_MAX


@pytest.mark.parametrize("form", ["json", "slack", "discord"])
async def test_every_form_reaches_its_webhook(form: Any) -> None:
    """What is posted is the form that the setting names."""
    async with webhook() as (receiver, url):
        log = logs.configure("json", "info", "0123456789ab", memory_only=True)
        settings = AlertSettings(webhook_url=url, webhook_format=form)
        async with open_delivery(settings, ManualClock(), log, ""):
            log.note(Note(event="sharpe_low", event_ns=1, fields={"limit": 0.5}))
            await receiver.wait(1)
    key = {"json": "code", "slack": "text", "discord": "content"}[form]
    assert "ME509" in receiver.got[0][key]


@pytest.mark.parametrize(
    "wrong",
    [
        {"email_to": ("ops@example.com",)},
        {"email_to": ("ops",), "smtp_host": "h", "email_from": "a@b"},
        {"email_to": ("a@b\r\nBcc: c@d",), "smtp_host": "h", "email_from": "a@b"},
        {"smtp_user": "u", "smtp_security": "none"},
        {"heartbeat_url": "ftp://x"},
    ],
)
def test_settings_that_could_not_deliver_are_refused(wrong: dict[str, Any]) -> None:
    """A way that is not complete is found at the start, not at the first alert."""
    with pytest.raises(ValueError, match=r"email|smtp|heartbeat"):
        AlertSettings(**wrong)


def test_password_comes_from_credential_or_environment_only(tmp_path: Path) -> None:
    """The file wins; a login without a password is refused before the start."""
    login = Settings(
        alerts=AlertSettings(email_to=("a@b",), email_from="c@d", smtp_host="h", smtp_user="daemon")
    )
    assert load_smtp_password(Settings(), {}) == ""
    with pytest.raises(ConfigError, match="smtp-password"):
        load_smtp_password(login, {})
    environ = {"METAENSEMBLE_SMTP_PASSWORD": "from-environ"}
    assert load_smtp_password(login, environ) == "from-environ"
    path = tmp_path / "smtp-password"
    path.write_text("from-file\n")
    path.chmod(0o600)
    environ["CREDENTIALS_DIRECTORY"] = str(tmp_path)
    assert load_smtp_password(login, environ) == "from-file"


async def test_life_sign_comes_only_with_progress() -> None:
    """Silence is what wakes somebody: a daemon that stands still does not call."""
    steps, notes = [0], list[Note]()
    async with webhook() as (receiver, url):
        settings = AlertSettings(
            heartbeat_url=url.replace("/hook", "/alive"), heartbeat_interval_ms=100
        )
        sign = LifeSign(settings, SystemClock(), progress=lambda: steps[0], note=notes.append)
        task = asyncio.create_task(sign.run())
        await _until(lambda: sign.sent_count == 1)
        await asyncio.sleep(0.35)
        assert sign.sent_count == 1
        for count in (2, 3):
            steps[0] += 1
            await _until(lambda wanted=count: sign.sent_count >= wanted)  # type: ignore[misc]  # bound now
        assert [note.event for note in notes] == ["life_sign_sent"]
        assert receiver.alive_count == 3
        receiver.statuses = [503]
        steps[0] += 1
        await _until(lambda: len(notes) == 2)
        steps[0] += 1
        await _until(lambda: len(notes) == 3)
        task.cancel()
    assert [note.event for note in notes][1:] == ["life_sign_failed", "life_sign_sent"]
    assert "http" not in str(notes[1].fields)
