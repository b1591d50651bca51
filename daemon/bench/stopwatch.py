"""Honest timing: forms run in turn, ratios are taken inside a round, medians over the rounds.

Machines drift, neighbours come and go: two figures of different minutes say nothing together. So in
every round each form runs once, percentiles are those of one round, a ratio is that of one round,
and what is reported is the median over the rounds. Every stage also times the machine's own floor:
an empty Python call and an empty compiled call, with the clock's cost in both. Nothing is
subtracted.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.loops import nothing

FLOOR_CALLS = 2_000
EMPTY_CALL = "floor: empty Python call"
EMPTY_KERNEL = "floor: empty compiled call"
P99_SAMPLES_MIN = 1_000
"""A percentile needs ten samples beyond it."""


def _rest() -> None:
    """Do nothing before a round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One way to do something: ``function`` is timed once per row of arguments.

    ``operations`` divides the time of a call that does several of them inside. ``before_round``
    runs untimed, to put state back; ``before_row`` likewise before every call, with its arguments.
    """

    name: str
    function: Callable[..., object]
    rows: Sequence[tuple[Any, ...]]
    operations: int = 1
    before_round: Callable[[], object] = _rest
    before_row: Callable[..., object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a form should reach: at most so many ns at the median, or a ratio against a base.

    ``ratio`` is base / form, how many times cheaper; ``ratio_max`` form / base instead, for things
    that must not cost more.
    """

    form: str
    base: str = ""
    p50_ns_max: float | None = None
    ratio_min: float | None = None
    ratio_max: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Forms that are timed together; ``facts`` were established before, ``skipped`` say why not."""

    name: str
    forms: Sequence[Form]
    goals: Sequence[Goal] = ()
    facts: Mapping[str, object] = field(default_factory=dict)
    skipped: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One form's result: medians over the rounds; ns per operation."""

    name: str
    samples_per_round: int
    p50_ns: float
    p99_ns: float | None
    mean_ns: float
    p50_by_round_ns: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A goal held against the timings; ``value`` is ns or a ratio, as the goal's ``limit``."""

    text: str
    value: float
    limit: float | None
    is_met: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """All that a stage gave."""

    name: str
    timings: tuple[Timing, ...]
    findings: tuple[Finding, ...]
    facts: Mapping[str, object]
    skipped: tuple[str, ...]


def run_stage(
    stage: Stage, rounds: int, stopwatch_ns: Callable[[], int], advance: Callable[[], object]
) -> StageResult:
    """Time a stage's forms in turn for that many rounds; ``advance`` is called after each form.

    The first pass is thrown away: it fills caches and compiles.
    """
    forms = (*_floor(), *stage.forms)
    p50_by_form: dict[str, list[float]] = {form.name: [] for form in forms}
    p99_by_form: dict[str, list[float]] = {form.name: [] for form in forms}
    mean_by_form: dict[str, list[float]] = {form.name: [] for form in forms}
    samples = {form.name: np.zeros(len(form.rows)) for form in forms}
    with _quiet_collector():
        for each_round in range(rounds + 1):
            for form in forms:
                spent_ns = samples[form.name]
                _time_form(form, spent_ns, stopwatch_ns)
                advance()
                if each_round:
                    p50_by_form[form.name].append(float(np.percentile(spent_ns, 50)))
                    p99_by_form[form.name].append(float(np.percentile(spent_ns, 99)))
                    mean_by_form[form.name].append(float(spent_ns.mean()))
    timings = tuple(
        Timing(
            name=form.name,
            samples_per_round=len(form.rows),
            p50_ns=median(p50_by_form[form.name]),
            p99_ns=median(p99_by_form[form.name]) if len(form.rows) >= P99_SAMPLES_MIN else None,
            mean_ns=median(mean_by_form[form.name]),
            p50_by_round_ns=tuple(p50_by_form[form.name]),
        )
        for form in forms
    )
    by_name = {timing.name: timing for timing in timings}
    return StageResult(
        name=stage.name,
        timings=timings,
        findings=tuple(judge(goal, by_name) for goal in stage.goals),
        facts=stage.facts,
        skipped=tuple(stage.skipped),
    )


def count_steps(stage: Stage, rounds: int) -> int:
    """Return how often ``run_stage`` will call ``advance``."""
    return (rounds + 1) * (len(stage.forms) + len(_floor()))


def judge(goal: Goal, timings: Mapping[str, Timing]) -> Finding:
    """Hold one goal against the timings; without a limit the figure is only reported."""
    form = timings[goal.form]
    if not goal.base:
        limit, value = goal.p50_ns_max, form.p50_ns
        is_met = None if limit is None else value <= limit
        return Finding(text=f"{goal.form}, p50 ns", value=value, limit=limit, is_met=is_met)
    pairs = zip(timings[goal.base].p50_by_round_ns, form.p50_by_round_ns, strict=True)
    if goal.ratio_max is not None:
        value = median(ours / theirs for theirs, ours in pairs)
        text = f"{goal.form} / {goal.base}"
        return Finding(text=text, value=value, limit=goal.ratio_max, is_met=value <= goal.ratio_max)
    value = median(theirs / ours for theirs, ours in pairs)
    is_met = None if goal.ratio_min is None else value >= goal.ratio_min
    text = f"{goal.base} / {goal.form}"
    return Finding(text=text, value=value, limit=goal.ratio_min, is_met=is_met)


def _time_form(form: Form, spent_ns: NDArray[np.float64], stopwatch_ns: Callable[[], int]) -> None:
    form.before_round()
    function, operations, before_row = form.function, form.operations, form.before_row
    for at, row in enumerate(form.rows):
        if before_row is not None:
            before_row(*row)
        began_ns = stopwatch_ns()
        function(*row)
        spent_ns[at] = stopwatch_ns() - began_ns
    if operations != 1:
        spent_ns /= operations


def _floor() -> tuple[Form, Form]:
    rows: list[tuple[Any, ...]] = [()] * FLOOR_CALLS
    return (
        Form(name=EMPTY_CALL, function=_rest, rows=rows),
        Form(name=EMPTY_KERNEL, function=nothing, rows=[(0,)] * FLOOR_CALLS),
    )


@contextmanager
def _quiet_collector() -> Iterator[None]:
    """Keep the garbage collector out of the figures, as the daemon does after its warm-up."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
