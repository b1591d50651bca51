"""Each of the doctor's judgements, on both sides of its bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import findings
from daemon.findings import Row

CPU = {"version": "2.13.0", "cuda": "", "device": "", "sum": 27.0}
GPU = {"version": "2.13.0", "cuda": "13.0", "device": "Big One", "sum": 27.0}
NUMBA = {"version": "0.68", "cpu": "znver4", "double": 42}

JUDGEMENTS: list[tuple[Row, str]] = [
    (findings.judge_python((3, 11, 0), True), "ok"),
    (findings.judge_python((3, 11, 0), False), "warn"),
    (findings.judge_python((3, 10, 9), True), "fail"),
    (findings.judge_cores(2, 8), "ok"),
    (findings.judge_cores(1, 8), "warn"),
    (findings.judge_open_files(None, None), "ok"),
    (findings.judge_open_files(1024, 1024), "ok"),
    (findings.judge_open_files(1023, None), "warn"),
    (findings.judge_open_files(255, 4096), "fail"),
    (findings.judge_clock(1), "ok"),
    (findings.judge_clock(10_001), "warn"),
    (findings.judge_clock(None), "fail"),
    (findings.judge_loopback(""), "ok"),
    (findings.judge_loopback("no 127.0.0.1"), "fail"),
    (findings.judge_state("/state", None, True), "ok"),
    (findings.judge_state("/state", 0o700, True), "ok"),
    (findings.judge_state("/state", 0o710, True), "warn"),
    (findings.judge_state("/state", 0o704, True), "warn"),
    (findings.judge_state("/state", 0o700, False), "fail"),
    (findings.judge_space(2**30), "ok"),
    (findings.judge_space(2**30 - 1), "warn"),
    (findings.judge_space(100 * 2**20 - 1), "fail"),
    (findings.judge_sync([1_000_000] * 3), "ok"),
    (findings.judge_sync([1, 20_000_001, 30_000_000]), "warn"),
    (findings.judge_sync("read-only file system"), "fail"),
    (findings.judge_packages({"torch": "2.13.0+cpu"}, {"torch": "2.13.0"}), "ok"),
    (findings.judge_packages({"torch": "2.13.0"}, None), "ok"),
    (findings.judge_packages({"torch": "2.12.0"}, {"torch": "2.13.0"}), "warn"),
    (findings.judge_packages({"torch": None}, {"torch": "2.13.0"}), "fail"),
    (findings.judge_kernels("/cache", 3), "ok"),
    (findings.judge_kernels("/cache", 0), "warn"),
    (findings.judge_kernels("/cache", None), "warn"),
    (findings.judge_torch(CPU), "ok"),
    (findings.judge_torch(GPU), "ok"),
    (findings.judge_torch({**CPU, "sum": 26.0}), "fail"),
    (findings.judge_torch("ImportError: libtorch.so"), "fail"),
    (findings.judge_numba(NUMBA), "ok"),
    (findings.judge_numba({**NUMBA, "double": 41}), "fail"),
    (findings.judge_numba("OSError: Operation not permitted"), "fail"),
    (findings.judge_uvloop({"version": "0.22"}), "ok"),
    (findings.judge_uvloop("ModuleNotFoundError"), "fail"),
]


@pytest.mark.parametrize(("row", "state"), JUDGEMENTS)
def test_judgement_and_advice(row: Row, state: str) -> None:
    """The state is right at its bound, and whatever is not ok says what to do."""
    assert row.state == state
    assert row.finding
    assert bool(row.advice) == (state != "ok")


def test_gpu_is_named() -> None:
    """A CUDA device that works is named with its runtime."""
    assert findings.judge_torch(GPU).finding == "2.13.0, CUDA 13.0 on Big One"


def test_pins_are_read_by_plain_name() -> None:
    """Spelling, comments, markers and other specifiers do not matter."""
    text = "# tested\nPyYAML==6.0.3\ntyping_extensions == 4.16.0 ; python_version > '3'\nrich>=15\n"
    assert findings.read_pins(text) == {"pyyaml": "6.0.3", "typing-extensions": "4.16.0"}


@pytest.mark.parametrize(
    ("found", "pin", "expected"),
    [
        ("2.13.0", "2.13.0", True),
        ("2.13.0+cpu", "2.13.0", True),
        ("2.13.0", "2.13.0+cpu", False),
        ("2.13.0+cu130", "2.13.0+cpu", False),
        ("2.13.01", "2.13.0", False),
    ],
)
def test_local_part_counts_only_when_pinned(found: str, pin: str, expected: bool) -> None:
    """A build of the same version for another device is the tested version."""
    assert findings.same_version(found, pin) is expected


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=40))
def test_sync_judgement_ignores_order(costs_ns: list[int]) -> None:
    """The middle of the measurements decides, in whatever order they came."""
    assert findings.judge_sync(costs_ns) == findings.judge_sync(sorted(costs_ns, reverse=True))
