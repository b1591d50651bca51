"""How one alert is written for each of its readers: a machine, a chat, a mail. Pure.

Everything is plain text to the reader: what comes from outside cannot become a mention, a link or
a header.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any, Literal

from daemon.log_lines import render_fields

Form = Literal["json", "slack", "discord"]
Words = Mapping[str, Any]

SLACK_CHARACTERS_MAX = 3_000
DISCORD_CHARACTERS_MAX = 2_000
_MARKS = {"info": "✅", "warning": "⚠️", "error": "🟥", "critical": "🚨"}


def webhook_text(form: Form, words: Words) -> str:
    """Return the JSON document that a webhook of this form takes."""
    if form == "slack":
        return render_fields({"text": _shortened(_slack(words), SLACK_CHARACTERS_MAX)})
    if form == "discord":
        content = _shortened(_chat(words), DISCORD_CHARACTERS_MAX)
        return render_fields({"content": content, "allowed_mentions": {"parse": []}})
    return render_fields(words)


def mail(words: Words, sender: str, receivers: tuple[str, ...]) -> EmailMessage:
    """Return the mail about an alert; its subject names severity, code and meaning."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(receivers)
    message["Subject"] = f"[metaensemble] {words['severity']} {words['code']}: {words['meaning']}"
    message["X-Metaensemble-Code"] = words["code"]
    rows = [
        ("what", words["meaning"]),
        ("event", f"{words['code']} {words['event']} ({words['severity']})"),
        ("when", f"{_moment(words):%Y-%m-%d %H:%M:%S} UTC"),
        ("run", words["run_id"]),
        *((name, _one_line(value)) for name, value in words["fields"].items()),
    ]
    if words["held_back"]:
        rows.append(("held back", f"{words['held_back']} of the same since the last mail"))
    message.set_content("\n".join(f"{name:<16} {value}" for name, value in rows) + "\n")
    return message


def _chat(words: Words) -> str:
    told = "\n".join(f"{name}: {_one_line(value)}" for name, value in words["fields"].items())
    mark = _MARKS.get(words["severity"], "")
    held = f"\n({words['held_back']} of the same held back)" if words["held_back"] else ""
    head = f"{mark} {words['severity']} {words['code']}: {words['meaning']}"
    return f"{head}\nrun {words['run_id']}, {_moment(words):%H:%M:%S} UTC\n{told}{held}".rstrip()


def _slack(words: Words) -> str:
    """Escape what Slack takes for mentions and links."""
    text = _chat(words)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _moment(words: Words) -> datetime:
    return datetime.fromtimestamp(words["event_ns"] / 1e9, UTC)


def _one_line(value: object) -> str:
    return " ".join(str(value).split())


def _shortened(text: str, characters_max: int) -> str:
    return text if len(text) <= characters_max else text[: characters_max - 2] + " …"
