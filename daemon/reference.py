"""The README's reference tables, made from what the program itself goes by.

``python -m daemon.reference`` writes them anew between their marks; a test holds the file to them,
so that no setting, log code, metric or fault can be added, renamed or dropped without a word.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from config.changes import is_hot
from config.fault_specs import FAULT_KINDS
from config.section import Section
from config.settings import Settings
from daemon.log_events import EVENTS
from daemon.metric_families import CATALOGUE
from daemon.simulated.fault_proofs import FAULT_PROOFS

README = Path(__file__).resolve().parent.parent / "README.md"
MARK = re.compile(
    r"(<!-- (\w+): written by python -m daemon\.reference -->\n).*?(<!-- end of \2 -->)", re.DOTALL
)
COMPARED = {"ge": ">= {}", "gt": "> {}", "le": "<= {}", "lt": "< {}"}


def settings_table() -> str:
    """Return every key with its default, what it may be, and its sentence; hot ones are marked."""
    rows = [
        f"| `{key}` | {_default(field)} | {_range(field)} | {'hot' if is_hot(key) else ''} "
        f"| {_cell(field.description or '')} |"
        for key, field in _leaves(Settings, "")
    ]
    head = ["| setting | default | may be | reload | |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows])


def log_table() -> str:
    """Return every log event by code."""
    rows = [
        f"| {spec.code} | `{spec.name}` | {spec.severity} | {'yes' if spec.alert else ''} "
        f"| {_cell(spec.sentence)} |"
        for spec in sorted(EVENTS.values(), key=lambda spec: spec.code)
    ]
    return "\n".join(["| code | event | severity | alert | |", "|---|---|---|---|---|", *rows])


def metric_table() -> str:
    """Return every metric of ours."""
    rows = [
        f"| `{spec.name}` | {spec.kind} | {', '.join(spec.labels)} | {_cell(spec.sentence)} |"
        for spec in CATALOGUE.values()
    ]
    return "\n".join(["| metric | kind | labels | |", "|---|---|---|---|", *rows])


def fault_table() -> str:
    """Return every fault with what it takes and the tests that show it on the wire."""
    rows = [
        f"| `{name}` | {kind.site} | {_taken(kind.parameters)} | {_cell(kind.sentence)} "
        f"| {_proofs(FAULT_PROOFS[name])} |"
        for name, kind in FAULT_KINDS.items()
    ]
    head = [
        "| fault | strikes | takes (default) | | seen on the wire by |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows])


TABLES: dict[str, Callable[[], str]] = {
    "settings": settings_table,
    "codes": log_table,
    "metrics": metric_table,
    "faults": fault_table,
}


def rewritten(text: str) -> str:
    """Return a text with every marked table as it should be; ValueError when a mark is missing."""
    found = {match[2] for match in MARK.finditer(text)}
    if missing := set(TABLES) - found:
        raise ValueError(f"README has no marks for {', '.join(sorted(missing))}")
    return MARK.sub(lambda match: f"{match[1]}\n{TABLES[match[2]]()}\n\n{match[3]}", text)


def _taken(parameters: Mapping[str, Any]) -> str:
    """Print a fault's parameters; texts, which are whole sentences, by name alone."""
    return ", ".join(
        name if name == "message" else f"{name} ({_value(value)})"
        for name, value in parameters.items()
    )


def _proofs(proofs: Iterable[tuple[str, str]]) -> str:
    """Print tests by file: ``file`` test, test; ``file`` test."""
    by_file: dict[str, list[str]] = {}
    for file, test in proofs:
        by_file.setdefault(file, []).append(test)
    return "; ".join(f"`{file}`: {', '.join(tests)}" for file, tests in by_file.items())


def _leaves(model: type[Section], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _leaves(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def _default(field: Any) -> str:
    return _value(field.get_default(call_default_factory=True))


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value if value else "(empty)"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "(none)"
    return _plain(value)


def _plain(number: float) -> str:
    """Print a number as it would stand in a YAML file."""
    return str(int(number)) if number == int(number) else f"{number:.10g}"


def _range(field: Any) -> str:
    """Say what a value may be, from the annotation that the check itself uses."""
    kind = field.annotation
    if get_origin(kind) is Literal:
        return ", ".join(map(str, get_args(kind)))
    limits = [
        text.format(_plain(getattr(limit, name)))
        for limit in field.metadata
        for name, text in COMPARED.items()
        if getattr(limit, name, None) is not None
    ]
    return " and ".join([_kind(kind), *limits]).replace(" and ", " ", 1)


def _kind(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return "list of texts"
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(_kind(each) for each in get_args(kind))
    return {bool: "true, false", int: "whole number", float: "number", str: "text"}.get(
        kind, "text"
    )


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> int:
    """Write the tables anew; returns the exit code."""
    before = README.read_text(encoding="utf-8")
    try:
        after = rewritten(before)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    README.write_text(after, encoding="utf-8")
    print("README.md is as it was" if after == before else "README.md has new tables")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
