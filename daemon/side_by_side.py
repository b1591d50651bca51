"""Pure functions over many arguments: here one by one, in processes, or on Ray, with equal results.

Trainings and evaluations are functions of settings, a reference to data and a seed, so where they
run changes how long they take and nothing else. A task names files by paths: on a cluster these
must mean the same everywhere, and this project must be installed there. Interrupted, every task
under way is interrupted as well and may save what it has; nothing new is begun.
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import active_children, get_context
from types import FrameType
from typing import Any, TypeVar

from daemon.exit_codes import EXIT_INTERRUPTED

Argument = TypeVar("Argument")
Result = TypeVar("Result")

LOCAL = "local"
JOBS_MAX = 1_024
UNWIND_S = 30.0
"""An interrupted task on Ray has so long to save what it has."""

STORE_BYTES = 100 << 20
"""Of memory that a Ray started here shares: results are reports and paths, not data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Where tasks run: ``jobs`` at a time, and on Ray where an address is given.

    ``ray`` is ``local`` for a Ray that lives as long as the command, else a cluster's address.
    ``jobs`` bounds processes here and the processors of a local Ray; a cluster has its own bound.
    """

    jobs: int = 1
    ray: str = ""

    def __post_init__(self) -> None:
        """Refuse a number of processes that makes no sense; ValueError."""
        if not 1 <= self.jobs <= JOBS_MAX:
            raise ValueError(f"--jobs {self.jobs} is not in 1 to {JOBS_MAX}")


HERE = Workers()


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where a command's tasks run."""
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="processes side by side (1; with --ray one a core)"
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const=LOCAL,
        default="",
        metavar="ADDRESS",
        help="run on Ray: alone a Ray of this command's own, auto or ray://... a cluster",
    )


def workers_of(options: argparse.Namespace) -> Workers:
    """Return what ``add_workers`` asked for; ValueError for a number out of range."""
    cores = len(os.sched_getaffinity(0)) if options.ray else 1
    return Workers(jobs=cores if options.jobs is None else options.jobs, ray=options.ray)


def each(
    task: Callable[[Argument], Result], arguments: Sequence[Argument], workers: Workers = HERE
) -> Iterator[Result]:
    """Yield ``task`` of every argument, in the order of the arguments.

    The task is a function of a module, arguments and results can be pickled. ValueError, of
    whatever kind, comes back as ValueError with the same text; the first one ends the whole.
    """
    with _mapped(workers, len(arguments)) as mapped:
        yield from mapped(task, arguments)


Mapped = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]


@contextmanager
def _mapped(workers: Workers, count: int) -> Iterator[Mapped]:
    if workers.ray:
        with _on_ray(workers) as mapped:
            yield mapped
    elif min(workers.jobs, count) > 1:
        with _in_processes(min(workers.jobs, count)) as mapped:
            yield mapped
    else:
        yield lambda task, arguments: (_run(task, argument) for argument in arguments)


@contextmanager
def _in_processes(jobs: int) -> Iterator[Mapped]:
    """Map in fresh processes, which a terminal's Ctrl-C reaches through this one alone."""
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_await_word)

    def mapped(task: Callable[[Any], Any], arguments: Sequence[Any]) -> Iterator[Any]:
        waiting = [pool.submit(_run_unless_told, task, argument) for argument in arguments]
        return (answer.result() for answer in waiting)

    try:
        yield mapped
    except BaseException:
        for child in active_children():
            child.terminate()  # heard by _await_word: the task under way unwinds
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _on_ray(workers: Workers) -> Iterator[Mapped]:
    try:
        ray = import_module("ray")
    except ModuleNotFoundError as error:
        raise ValueError("--ray: Ray is not installed (pip install 'metaensemble[ray]')") from error
    quiet = {"log_to_driver": False, "logging_level": "error", "ignore_reinit_error": False}
    if workers.ray == LOCAL:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        owned = {"num_cpus": workers.jobs, "object_store_memory": STORE_BYTES}
        ray.init(address=LOCAL, include_dashboard=False, **owned, **quiet)
    else:
        try:
            ray.init(address=workers.ray, **quiet)
        except ConnectionError as error:
            raise ValueError(f"--ray {workers.ray}: {error}") from error
    begun: list[Any] = []
    remote = ray.remote(num_cpus=1, max_retries=0)(_run)

    def mapped(task: Callable[[Any], Any], arguments: Sequence[Any]) -> Iterator[Any]:
        begun.extend(remote.remote(task, argument) for argument in arguments)
        return (_answer(ray, reference) for reference in begun)

    try:
        yield mapped
    except KeyboardInterrupt:
        _, open_ones = ray.wait(begun, num_returns=len(begun), timeout=0)
        for reference in open_ones:
            ray.cancel(reference)  # the task under way is interrupted and unwinds
        ray.wait(open_ones, num_returns=len(open_ones), timeout=UNWIND_S)
        raise
    finally:
        ray.shutdown()  # ends what is still under way


def _answer(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None


def _run(task: Callable[[Argument], Result], argument: Argument) -> Result:
    """Do one task; an error of the house, which other processes cannot rebuild, keeps its text."""
    try:
        return task(argument)
    except ValueError as error:
        raise ValueError(str(error)) from error


def _await_word() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _unwind)


def _unwind(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whatever is saved now is saved whole
    raise SystemExit(EXIT_INTERRUPTED)


def _run_unless_told(task: Callable[[Argument], Result], argument: Argument) -> Result:
    """Do one task, unless this process was told to end: one more may wait in its queue."""
    if signal.getsignal(signal.SIGTERM) is not _unwind:
        raise SystemExit(EXIT_INTERRUPTED)
    return _run(task, argument)
