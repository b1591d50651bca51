"""The arithmetic of the bench: turns, medians over rounds, ratios inside a round, honest goals."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.bench.machine import Machine, describe_machine, why_void
from daemon.bench.stage_names import STAGE_NAMES, chosen_stages, parse_stages
from daemon.bench.stopwatch import (
    EMPTY_CALL,
    EMPTY_KERNEL,
    Finding,
    Form,
    Goal,
    Stage,
    StageResult,
    Timing,
    count_steps,
    judge,
    run_stage,
)


class FakeTime:
    """A stopwatch that only the timed functions move."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.calls: list[str] = []

    def read(self) -> int:
        return self.now_ns

    def spend(self, name: str, spent_ns: int) -> None:
        self.calls.append(name)
        self.now_ns += spent_ns


def form_of(time: FakeTime, name: str, costs_ns: list[int], operations: int = 1) -> Form:
    """Build a form whose calls cost what is written."""
    rows = [(name, cost_ns) for cost_ns in costs_ns]
    return Form(name=name, function=time.spend, rows=rows, operations=operations)


def test_forms_take_turns_and_state_is_put_back() -> None:
    """Every round runs each form once, in order, after its reset; the first round is dropped.

    What a form does before a call costs it nothing.
    """
    time, resets, steps = FakeTime(), [0], [0]

    def reset() -> None:
        resets[0] += 1

    def advance() -> None:
        steps[0] += 1

    slow = Form(name="slow", function=time.spend, rows=[("slow", 30)], before_round=reset)
    slow = replace(slow, before_row=lambda name, cost_ns: time.spend("before", 1_000 + cost_ns))
    stage = Stage(name="any", forms=[form_of(time, "fast", [10, 10]), slow])
    result = run_stage(stage, 3, time.read, advance)
    assert time.calls == ["fast", "fast", "before", "slow"] * 4
    assert resets == [4]
    assert steps == [count_steps(stage, 3)]
    assert {t.name: t.p50_ns for t in result.timings} == {
        EMPTY_CALL: 0,
        EMPTY_KERNEL: 0,
        "fast": 10,
        "slow": 30,
    }
    assert gc.isenabled()


def test_operations_divide_and_few_samples_have_no_tail() -> None:
    """A call of many operations counts per operation; p99 needs a thousand samples."""
    time = FakeTime()
    forms = [form_of(time, "chunk", [1000], 100), form_of(time, "many", [*range(1, 1001)])]
    by_name = {
        timing.name: timing
        for timing in run_stage(Stage(name="s", forms=forms), 3, time.read, gc.isenabled).timings
    }
    assert by_name["chunk"].p50_ns == by_name["chunk"].mean_ns == 10
    assert by_name["chunk"].p99_ns is None
    assert by_name["many"].p99_ns == pytest.approx(990, abs=2)


def timing_of(name: str, p50_by_round_ns: list[float]) -> Timing:
    """Build a timing with the middle round as its median."""
    middle = sorted(p50_by_round_ns)[len(p50_by_round_ns) // 2]
    return Timing(
        name=name,
        samples_per_round=1,
        p50_ns=middle,
        p99_ns=None,
        mean_ns=middle,
        p50_by_round_ns=tuple(p50_by_round_ns),
    )


@given(
    ours=st.lists(st.floats(1, 1e6), min_size=3, max_size=9),
    ratio=st.floats(0.1, 100),
    drift=st.floats(0.1, 10),
)
def test_ratio_is_blind_to_a_drifting_machine(
    ours: list[float], ratio: float, drift: float
) -> None:
    """When each round is slower for both alike, the ratio stays what it is."""
    slower = [value * drift**n for n, value in enumerate(ours)]
    timings = {
        "ours": timing_of("ours", slower),
        "theirs": timing_of("theirs", [value * ratio for value in slower]),
    }
    found = judge(Goal(form="ours", base="theirs", ratio_min=ratio * 0.99), timings)
    assert found.value == pytest.approx(ratio)
    assert found.is_met
    inverse = judge(Goal(form="ours", base="theirs", ratio_max=0.98 / ratio), timings)
    assert inverse.value == pytest.approx(1 / ratio)
    assert not inverse.is_met


@pytest.mark.parametrize(("limit", "met"), [(None, None), (19.9, False), (20.0, True), (1e9, True)])
def test_time_is_held_against_its_limit(limit: float | None, met: bool | None) -> None:
    """At the limit is within it; without a limit nothing is claimed."""
    timings = {"ours": timing_of("ours", [10.0, 20.0, 30.0])}
    found = judge(Goal(form="ours", p50_ns_max=limit), timings)
    assert found == Finding(text="ours, p50 ns", value=20.0, limit=limit, is_met=met)


def result_with_floor(p50_by_round_ns: list[float]) -> StageResult:
    """Build a result that holds nothing but a floor."""
    timings = (timing_of(EMPTY_CALL, p50_by_round_ns),)
    return StageResult(name="gate", timings=timings, findings=(), facts={}, skipped=())


@pytest.mark.parametrize(
    ("before", "after", "floor", "is_void"),
    [
        (0.2, 1.1, [60, 61, 62], False),
        (1.9, 2.0, [60, 61, 62], True),
        (0.2, 3.0, [60, 61, 62], True),
        (0.2, 1.1, [60, 61, 120], True),
    ],
)
def test_loaded_machine_voids_the_run(
    before: float, after: float, floor: list[float], is_void: bool
) -> None:
    """A load that left no core, that grew beyond our own, or a floor that moved, is said."""
    assert bool(why_void(before, after, 2, [result_with_floor(floor)])) is is_void


def test_machine_is_described() -> None:
    """What is known of the machine is there, with the versions of what is timed."""
    machine = describe_machine()
    assert isinstance(machine, Machine)
    assert 1 <= machine.cores_usable <= machine.cores_total
    assert {"numpy", "numba", "torch"} <= set(machine.versions)


@given(st.lists(st.sampled_from([*STAGE_NAMES, "capture"]), min_size=1))
def test_chosen_stages_keep_the_order(names: list[str]) -> None:
    """Whatever the order asked for, stages run in the house's, each once."""
    chosen = chosen_stages(parse_stages(" , ".join(names)), has_capture=False)
    assert sorted(chosen) == sorted(set(names))
    assert list(chosen) == [name for name in (*STAGE_NAMES, "capture") if name in names]


@pytest.mark.parametrize("text", ["", ",", "feed,fish", "Feed"])
def test_unknown_stage_is_refused(text: str) -> None:
    """The refusal names what there is."""
    with pytest.raises(ValueError, match="there are feed, features"):
        parse_stages(text)


def test_everything_is_the_default() -> None:
    """No name means all stages, and the capture only where there is one."""
    assert chosen_stages((), has_capture=False) == STAGE_NAMES
    assert chosen_stages((), has_capture=True) == (*STAGE_NAMES, "capture")
    assert chosen_stages(("gate",), has_capture=True) == ("gate", "capture")
