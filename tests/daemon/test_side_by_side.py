"""Tasks give the same wherever they run: here, in processes, on Ray."""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from daemon import side_by_side
from daemon.side_by_side import Workers, add_workers, each, workers_of
from tests.house.house_rules import ROOT

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra ray)"
)
PLACES = [
    pytest.param(Workers(), id="here"),
    pytest.param(Workers(jobs=2), id="processes"),
    pytest.param(Workers(jobs=2, ray="local"), id="ray", marks=needs_ray),
]
SIDE_BY_SIDE = PLACES[1:]


class OwnError(ValueError):
    """An error that no other process can rebuild: it takes two arguments."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")


def refuse(number: int) -> int:
    """Refuse one number in the way of the house."""
    if number == 2:
        raise OwnError("two", "not wanted")
    return number


def hold(path: Path) -> None:
    """Wait to be interrupted, and save what there is."""
    path.with_suffix(".begun").touch()
    try:
        for _ in range(1_200):
            time.sleep(0.05)  # Ray interrupts between two steps of the interpreter, no sleep
    finally:
        path.with_suffix(".saved").touch()


def begin(task: str, arguments: str, workers: Workers) -> subprocess.Popen[str]:
    """Start a program that prints every answer; Ray leaves things open that pytest minds."""
    source = (
        "import signal\n"
        "from math import factorial\n"
        "from pathlib import Path\n"
        "from daemon.side_by_side import Workers, each\n"
        "from tests.daemon.test_side_by_side import hold, refuse\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & ignores it\n"
        f"for answer in each({task}, {arguments}, {workers!r}):\n"
        "    print(answer, flush=True)\n"
    )
    command = [sys.executable, "-c", source]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize("workers", PLACES)
def test_results_come_in_the_order_of_the_arguments(workers: Workers) -> None:
    """Later ones do not overtake earlier ones, whoever works."""
    numbers = [400, 3, 0, 7, 1]
    said, errors = begin("factorial", str(numbers), workers).communicate(timeout=240.0)
    assert said.split() == [str(math.factorial(number)) for number in numbers], errors


@pytest.mark.parametrize("workers", PLACES)
def test_a_refusal_keeps_its_text(workers: Workers) -> None:
    """An error with a constructor of its own arrives as ValueError and does not break the pool."""
    said, errors = begin("refuse", "[1, 2, 3]", workers).communicate(timeout=240.0)
    assert said.split() == ["1"], errors
    assert errors.splitlines()[-1] == "ValueError: two: not wanted"


@pytest.mark.parametrize("workers", SIDE_BY_SIDE)
def test_an_interrupt_reaches_every_task_under_way(workers: Workers, tmp_path: Path) -> None:
    """SIGINT to the command alone: two tasks unwind, the third never begins."""
    paths = [tmp_path / name for name in "abc"]
    process = begin("hold", f"[Path(name) for name in {list(map(str, paths))}]", workers)
    until = time.monotonic() + 120.0
    while len(list(tmp_path.glob("*.begun"))) < 2 and time.monotonic() < until:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    errors = process.communicate(timeout=120.0)[1]
    assert "KeyboardInterrupt" in errors
    saved = sorted(path.name for path in tmp_path.iterdir())
    assert saved == ["a.begun", "a.saved", "b.begun", "b.saved"], errors


def test_without_ray_the_option_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""

    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(side_by_side, "import_module", missing)
    with pytest.raises(ValueError, match=r"pip install 'metaensemble\[ray\]'"):
        list(each(math.factorial, [1], Workers(ray="local")))


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ([], Workers()),
        (["--jobs", "3"], Workers(jobs=3)),
        (["--jobs", "2", "--ray"], Workers(jobs=2, ray="local")),
        (["--ray", "auto"], Workers(jobs=len(os.sched_getaffinity(0)), ray="auto")),
    ],
)
def test_options_name_the_place(line: list[str], wanted: Workers) -> None:
    """Without options in this process; Ray takes every core unless told."""
    parser = argparse.ArgumentParser()
    add_workers(parser)
    assert workers_of(parser.parse_args(line)) == wanted


@pytest.mark.parametrize("jobs", [0, -1, 100_000])
def test_a_senseless_number_of_jobs_is_refused(jobs: int) -> None:
    """None at all, or more than any machine has."""
    with pytest.raises(ValueError, match="--jobs"):
        Workers(jobs=jobs)
