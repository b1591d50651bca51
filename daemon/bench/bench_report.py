"""What the bench says: one JSON object for machines, tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from daemon.bench.machine import Machine
from daemon.bench.stopwatch import Finding, StageResult

SCHEMA = 1


def as_document(
    machine: Machine,
    results: Sequence[StageResult],
    rounds: int,
    loads: tuple[Sequence[float], Sequence[float]],
    void: Sequence[str],
) -> dict[str, Any]:
    """Return the report as JSON types; ``void`` names the reasons not to quote it."""
    return {
        "schema": SCHEMA,
        "machine": asdict(machine),
        "rounds": rounds,
        "load_before": list(loads[0]),
        "load_after": list(loads[1]),
        "void": list(void),
        "goals_missed": [
            finding.text
            for result in results
            for finding in result.findings
            if finding.is_met is False
        ],
        "stages": {
            result.name: {
                "facts": dict(result.facts),
                "skipped": list(result.skipped),
                "timings": [asdict(timing) for timing in result.timings],
                "findings": [asdict(finding) for finding in result.findings],
            }
            for result in results
        },
    }


def print_page(console: Console, document: dict[str, Any], results: Sequence[StageResult]) -> None:
    """Print the same for people."""
    machine = document["machine"]
    versions = " ".join(f"{name} {version}" for name, version in machine["versions"].items())
    console.print(
        f"{machine['processor']}, {machine['cores_usable']} of {machine['cores_total']} cores,"
        f" {machine['system']}, Python {machine['python']}",
        markup=False,
    )
    console.print(versions, markup=False)
    before, after = document["load_before"][0], document["load_after"][0]
    console.print(f"load {before:.2f} before, {after:.2f} after; {document['rounds']} rounds")
    for result in results:
        console.print(_timings(result))
        for finding in result.findings:
            console.print("  " + _sentence(finding))
        for name, value in result.facts.items():
            console.print(f"  {name}: {value}", markup=False)
        for reason in result.skipped:
            console.print(f"  skipped: {reason}", markup=False)
    for reason in document["void"]:
        console.print(f"[red]VOID[/red]: {escape(reason)}; do not quote these figures")


def _timings(result: StageResult) -> Table:
    table = Table(title=result.name, title_justify="left", pad_edge=False)
    table.add_column("form")
    for name in ("p50", "p99", "mean"):
        table.add_column(name, justify="right")
    for timing in result.timings:
        p99 = "" if timing.p99_ns is None else _duration(timing.p99_ns)
        table.add_row(escape(timing.name), _duration(timing.p50_ns), p99, _duration(timing.mean_ns))
    return table


def _duration(ns: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= size:
            return f"{ns / size:.2f} {unit}"
    return f"{ns:.0f} ns"


def _sentence(finding: Finding) -> str:
    is_time = finding.text.endswith("ns")
    value = _duration(finding.value) if is_time else f"{finding.value:.2f}x"
    text = escape(finding.text.removesuffix(", p50 ns"))
    if finding.limit is None:
        return f"{text}: {value}"
    limit = _duration(finding.limit) if is_time else f"{finding.limit:g}x"
    colour, word = ("green", "met") if finding.is_met else ("red", "MISSED")
    return f"{text}: {value} (goal {limit}) [{colour}]{word}[/{colour}]"
