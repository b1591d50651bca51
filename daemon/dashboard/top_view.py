"""What ``metaensemble top`` shows and how its keys are understood. Pure: no terminal, no socket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from daemon.dashboard.terminal import AlertView, InstrumentView, OrderView, RunView, render
from kernels.events import Verdict

COMMAND_KEYS = {
    "r": ("reduce", "take no new risk"),
    "c": ("cancel", "cancel every working order"),
    "f": ("flatten", "cancel everything, close every position, then halt"),
    "h": ("halt", "cancel everything and send nothing more"),
    "u": ("resume", "lift the breaker"),
}
"""Key, command, and what it does; ``q`` leaves, which stops nothing."""

REASON_CHARACTERS_MAX = 200
ALERTS_SHOWN = 6
ORDERS_SHOWN = 8
_SEVERITY_STYLE = {"info": "green", "warning": "yellow", "error": "red", "critical": "bold red"}

ENTER, ESCAPE, BACKSPACE, INTERRUPT = "\r", "\x1b", "\x7f", "\x03"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What the bottom line is about: a command waiting for its confirmation, or news.

    ``asked`` is sent when it is confirmed; ``is_leaving`` ends the view.
    """

    pending: str = ""
    reason: str = ""
    news: str = ""
    is_bad: bool = False
    asked: tuple[str, str] | None = None
    is_leaving: bool = False


def press(prompt: Prompt, key: str) -> Prompt:
    """Understand one key; a command is asked for only after Enter, resume only with a reason."""
    prompt = replace(prompt, asked=None)
    if key == INTERRUPT:
        return replace(prompt, is_leaving=True)
    if not prompt.pending:
        if key == "q":
            return replace(prompt, is_leaving=True)
        if key in COMMAND_KEYS:
            return Prompt(pending=COMMAND_KEYS[key][0])
        return prompt
    if key == ESCAPE:
        return Prompt(news=f"{prompt.pending} left undone")
    if key in (ENTER, "\n"):
        reason = " ".join(prompt.reason.split())
        if prompt.pending == "resume" and not reason:
            return replace(prompt, news="resume needs a reason", is_bad=True)
        return Prompt(asked=(prompt.pending, reason), news=f"{prompt.pending} asked for")
    if key in (BACKSPACE, "\b"):
        return replace(prompt, reason=prompt.reason[:-1], news="")
    if key.isprintable() and len(prompt.reason) < REASON_CHARACTERS_MAX:
        return replace(prompt, reason=prompt.reason + key, news="")
    return prompt


def answered(command: str, answer: Mapping[str, Any]) -> Prompt:
    """Say what became of a command."""
    if answer.get("ok"):
        return Prompt(news=f"{command} done: the breaker is {answer['breaker']['state']}")
    return Prompt(news=f"{command} refused: {answer.get('error', 'without a word')}", is_bad=True)


def view_from(words: Mapping[str, Any]) -> RunView:
    """Read a view as it comes over the socket; KeyError and TypeError for another version's."""
    known = {name: words[name] for name in RunView.__dataclass_fields__}
    known["instruments"] = [
        InstrumentView(**{**one, "verdict": Verdict[one["verdict"]]})
        for one in words["instruments"]
    ]
    known["open_orders"] = [OrderView(**one) for one in words["open_orders"]]
    known["alerts"] = [AlertView(**one) for one in words["alerts"]]
    return RunView(**known)


def render_top(view: RunView | None, prompt: Prompt, trouble: str = "") -> RenderableType:
    """Lay out the whole screen; ``trouble`` says why the view is not of now."""
    parts: list[RenderableType] = [_bottom(prompt, trouble)]
    if view is not None:
        parts += [render(view), _orders(view), _alerts(view)]
    return Group(*parts)


def _bottom(prompt: Prompt, trouble: str) -> Panel:
    """Draw the line of keys, or the question before a command."""
    if trouble:
        text = Text(trouble, "bold red")
    elif prompt.pending:
        does = next(does for name, does in COMMAND_KEYS.values() if name == prompt.pending)
        text = Text.assemble(
            (f"{prompt.pending}: {does}. ", "bold yellow"),
            "Reason: ",
            (prompt.reason + "▏", "bold"),
            ("   Enter does it, Esc leaves it", "dim"),
        )
        if prompt.news:
            text.append(f"   {prompt.news}", "bold red")
    else:
        keys = [
            part
            for key, (name, _) in COMMAND_KEYS.items()
            for part in ((key, "bold"), f" {name}  ")
        ]
        text = Text.assemble(*keys, ("q", "bold"), " leave")
        if prompt.news:
            text.append(f" {prompt.news}", "bold red" if prompt.is_bad else "green")
    return Panel(text, box=box.HORIZONTALS, padding=(0, 1))


def _orders(view: RunView) -> Table:
    table = Table(box=box.SIMPLE_HEAD, expand=True, title="open orders", title_justify="left")
    for name in ("order", "instrument", "side", "state"):
        table.add_column(name)
    for name in ("price", "quantity", "filled"):
        table.add_column(name, justify="right")
    for one in view.open_orders[:ORDERS_SHOWN]:
        table.add_row(
            Text(one.client_order_id),
            Text(one.symbol),
            Text(one.side, "green" if one.side == "BUY" else "red"),
            Text(one.status.lower()),
            f"{one.price_quote:,.8g}",
            f"{one.quantity_base:,.8g}",
            f"{one.filled_base:,.8g}",
        )
    if not view.open_orders:
        table.add_row(Text("none", "dim"))
    return table


def _alerts(view: RunView) -> Panel:
    lines = []
    for one in list(view.alerts)[: -ALERTS_SHOWN - 1 : -1]:
        moment = datetime.fromtimestamp(one.event_ns / 1e9, UTC)
        told = ", ".join(f"{name} {value}" for name, value in one.fields.items())
        lines.append(
            Text.assemble(
                f"{moment:%H:%M:%S} ",
                (f"{one.code} {one.meaning}", _SEVERITY_STYLE.get(one.severity, "yellow")),
                (f"  {told}", "dim"),
                no_wrap=True,
                overflow="ellipsis",
            )
        )
    return Panel(Group(*(lines or [Text("none", "dim")])), title="alerts, newest first")
