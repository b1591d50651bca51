"""The README says every command, setting, code, metric and fault that there is, and no other."""

from __future__ import annotations

import ast
import functools
import re

import pytest

from config.changes import leaves
from config.fault_specs import FAULT_KINDS
from config.settings import Settings
from daemon import cli, reference
from daemon.log_events import EVENTS
from daemon.metric_families import CATALOGUE
from daemon.simulated.fault_proofs import FAULT_PROOFS
from tests.house.house_rules import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_tables_are_what_the_program_goes_by() -> None:
    """A setting, code or metric that is new, gone or changed is so in the README as well."""
    is_current = reference.rewritten(README) == README
    assert is_current, "README.md is behind: run .venv/bin/python -m daemon.reference"


def test_tables_hold_everything_with_a_sentence() -> None:
    """The generator leaves nothing out, and nothing without a word on what it means."""
    keys = [key for key, _ in leaves(Settings())]
    for table, names in (
        (reference.settings_table(), keys),
        (reference.log_table(), list(EVENTS)),
        (reference.metric_table(), [spec.name for spec in CATALOGUE.values()]),
        (reference.fault_table(), list(FAULT_KINDS)),
    ):
        rows = table.splitlines()[2:]
        assert sorted(re.findall(r"`([\w.]+)`", row)[0] for row in rows) == sorted(names)
        assert [row for row in rows if row.endswith("|  |")] == []


def test_every_fault_has_its_test() -> None:
    """Each fault of the code names tests that are there, and each of them arms that fault."""
    assert list(FAULT_PROOFS) == list(FAULT_KINDS)
    for kind, proofs in FAULT_PROOFS.items():
        assert proofs, f"{kind} has no test"
        for file, name in proofs:
            source = functions(file).get(f"test_{name}")
            assert source is not None, f"{kind}: there is no test_{name} in {file}"
            assert f'"{kind}"' in source, f"{kind}: test_{name} does not arm it"


@functools.cache
def functions(file: str) -> dict[str, str]:
    """Return the tests of a file of the exchange's by name, decorators included."""
    text = (ROOT / "tests/daemon/simulated" / f"{file}.py").read_text(encoding="utf-8")
    lines = text.splitlines()
    return {
        node.name: "\n".join(lines[_first_line(node) - 1 : node.end_lineno])
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def _first_line(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return min(each.lineno for each in (node, *node.decorator_list))


def test_missing_mark_is_found() -> None:
    """A README without its marks cannot quietly lose a table."""
    with pytest.raises(ValueError, match="metrics"):
        reference.rewritten(README.replace("<!-- metrics:", "<!-- other:"))


def test_every_command_is_named() -> None:
    """Each command of the parser stands in the README in its own letters."""
    parser = cli._parser()
    (commands,) = (action for action in parser._actions if action.dest == "==SUPPRESS==")
    named = set(re.findall(r"`([a-z]+)[ `]", README)) | set(
        re.findall(r"metaensemble ([a-z]+)", README)
    )
    assert set(commands.choices or ()) - named == set()


def test_contents_lead_to_headings() -> None:
    """Every line of the table of contents names a heading that is there."""
    wanted = re.findall(r"\]\(#([\w-]+)\)", README)
    headings = re.findall(r"^#{2,3} (.+)$", README, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", each).strip().lower().replace(" ", "-") for each in headings}
    assert len(wanted) >= 10
    assert set(wanted) - anchors == set()
