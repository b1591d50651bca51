"""``metaensemble bench``: build the stages asked for, time them, say what came out."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from daemon.bench.bench_history import keep, read_history, regressions
from daemon.bench.bench_report import as_document, print_page
from daemon.bench.machine import describe_machine, load_average, why_void
from daemon.bench.stopwatch import Stage, StageResult, count_steps, run_stage
from daemon.clock import SystemClock, stopwatch_ns
from daemon.exit_codes import EXIT_DONE, EXIT_FAILED
from kernels.warmup import warm_up

FRAMES = 6_000


class BenchRefusedError(Exception):
    """Input, or a stage, that cannot be timed; the text says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """What is asked for: stages by name, rounds, a recording, earlier runs, form of the answer."""

    only: tuple[str, ...]
    rounds: int
    capture: Path | None
    history: Path | None
    as_json: bool


def run(options: BenchOptions) -> int:
    """Time everything and print it; BenchRefusedError for a capture that cannot be used.

    With a history EXIT_FAILED where a form became slower, and HistoryError for a broken one. A run
    on a busy machine is neither kept nor held against anything.
    """
    machine = describe_machine()
    earlier = read_history(options.history, asdict(machine)) if options.history else []
    warm_up()
    loads_before = load_average()
    console = Console(stderr=True)
    with _progress(console) as announce:
        results = asyncio.run(_measure(options, announce))
    loads_after = load_average()
    void = why_void(loads_before[0], loads_after[0], machine.cores_usable, results)
    loads = (loads_before, loads_after)
    document = as_document(machine, results, options.rounds, loads, void)
    if options.as_json:
        print(json.dumps(document))
    else:
        print_page(Console(), document, results)
    if options.history is None or void:
        return EXIT_DONE
    slower = regressions(earlier, document)
    for each in slower:
        print(f"slower: {each}", file=sys.stderr)
    if not slower:
        keep(options.history, document, SystemClock().now_ns())
    print(f"held against {len(earlier)} earlier runs in {options.history}", file=sys.stderr)
    return EXIT_FAILED if slower else EXIT_DONE


Announce = Callable[[str, int], Callable[[], object]]
"""Takes a stage's name and its number of steps; what it returns is called after each step."""


async def _measure(options: BenchOptions, announce: Announce) -> list[StageResult]:
    """Time stage after stage; ccxt's objects want a running loop, nothing else here does."""
    results = []
    for name in options.only:
        async with AsyncExitStack() as stack:
            prepared = announce(f"{name}: preparing", 1)
            stage = await _build(name, options, stack)
            prepared()
            advance = announce(name, count_steps(stage, options.rounds))
            results.append(run_stage(stage, options.rounds, stopwatch_ns, advance))
    return results


async def _build(name: str, options: BenchOptions, stack: AsyncExitStack) -> Stage:
    """Import and prepare one stage; what it opened is closed by the stack."""
    if name == "features":
        from daemon.bench.feature_stage import feature_stage

        return feature_stage()
    if name in ("ensemble", "gate", "journal"):
        from daemon.bench import decision_stages

        if name == "journal":
            return decision_stages.journal_stage(stack.enter_context(decision_stages.JournalRig()))
        return getattr(decision_stages, f"{name}_stage")()  # type: ignore[no-any-return]  # both return a Stage
    if name == "tick":
        from daemon.bench.tick_stage import TickRig, tick_stage

        rig = stack.enter_context(TickRig())
        stack.push_async_callback(rig.venue.close)
        return tick_stage(rig)
    if name == "wire":
        from daemon.bench.wire_stage import WireError, wire_stage

        try:
            return wire_stage(stack.enter_context(ExitStack()))
        except WireError as error:
            raise BenchRefusedError(f"stage wire: {error}") from None
    if name == "capture":
        return _build_capture(options.capture)
    return await _build_market_stage(name, stack)


async def _build_market_stage(name: str, stack: AsyncExitStack) -> Stage:
    from daemon.bench import market_stages
    from daemon.bench.bench_frames import synthetic_frames
    from daemon.bench.feed_stage import feed_stage

    frames = synthetic_frames(FRAMES, SystemClock().now_ns())
    stage, rig = feed_stage(frames)
    stack.push_async_callback(rig.venue.close)
    if name == "feed":
        return stage
    build = market_stages.book_stage if name == "book" else market_stages.matching_stage
    return build(frames, rig)


def _build_capture(path: Path | None) -> Stage:
    from daemon.bench.capture_stage import capture_stage
    from daemon.simulated.capture_source import CaptureError

    if path is None:
        raise BenchRefusedError("stage capture needs --capture FILE")
    try:
        return capture_stage(path)
    except (CaptureError, ValueError) as error:
        raise BenchRefusedError(f"--capture: {error}") from None


@contextmanager
def _progress(console: Console) -> Iterator[Announce]:
    """Show a bar per stage on a terminal; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda name, steps: _rest
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    # drawn by us between forms: a drawing thread would run inside what is timed
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as bars:

        def announce(name: str, steps: int) -> Callable[[], object]:
            task = bars.add_task(name, total=steps)
            bars.refresh()

            def advance() -> None:
                bars.advance(task)
                bars.refresh()

            return advance

        yield announce


def _rest() -> None:
    """Show nothing."""
