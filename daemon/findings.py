"""The doctor's judgement: one measurement in, one row out; ``daemon.doctor`` does the measuring."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

PYTHON_MIN = (3, 11)
CORES_MIN = 2
OPEN_FILES_MIN = 256
OPEN_FILES_GOOD = 1024
FREE_BYTES_MIN = 100 * 2**20
FREE_BYTES_GOOD = 2**30
CLOCK_STEP_NS_MAX = 10_000
SYNC_MS_MAX = 20.0
SHOWN_MAX = 4

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One finding; ``advice`` says what to do and is empty when nothing needs doing."""

    name: str
    state: State
    finding: str
    advice: str = ""


def judge_python(version: tuple[int, int, int], in_environment: bool) -> Row:
    """Judge the interpreter; an environment of its own keeps the rooms' names from colliding."""
    finding = ".".join(map(str, version))
    if version[:2] < PYTHON_MIN:
        return Row(
            name="python", state="fail", finding=finding, advice="install Python 3.11 or later"
        )
    if not in_environment:
        return Row(
            name="python",
            state="warn",
            finding=f"{finding}, not in a virtual environment",
            advice="give it one of its own: make venv",
        )
    return Row(name="python", state="ok", finding=f"{finding} in a virtual environment")


def judge_cores(usable_count: int, total_count: int) -> Row:
    """Judge the cores that this process may use."""
    finding = f"{usable_count} of {total_count} usable"
    if usable_count < CORES_MIN:
        advice = "give it two cores: the built-in exchange is a process of its own"
        return Row(name="cores", state="warn", finding=finding, advice=advice)
    return Row(name="cores", state="ok", finding=finding)


def judge_open_files(soft: int | None, hard: int | None) -> Row:
    """Judge the limits on open files and sockets; None is unlimited."""
    words = ["unlimited" if value is None else str(value) for value in (soft, hard)]
    finding = f"soft {words[0]}, hard {words[1]}"
    if soft is not None and soft < OPEN_FILES_GOOD:
        state: State = "fail" if soft < OPEN_FILES_MIN else "warn"
        advice = f"raise it: ulimit -n {OPEN_FILES_GOOD}, or LimitNOFILE= in the unit"
        return Row(name="open files", state=state, finding=finding, advice=advice)
    return Row(name="open files", state="ok", finding=finding)


def judge_clock(step_ns: int | None) -> Row:
    """Judge the smallest step seen of the monotonic clock; None: it never moved."""
    if step_ns is None:
        return Row(
            name="clock", state="fail", finding="stands still", advice="mend this machine's clock"
        )
    finding = f"smallest step {step_ns} ns"
    if step_ns > CLOCK_STEP_NS_MAX:
        advice = "latency figures will be coarse; choose another clock source in the kernel"
        return Row(name="clock", state="warn", finding=finding, advice=advice)
    return Row(name="clock", state="ok", finding=finding)


def judge_loopback(error: str) -> Row:
    """Judge whether the built-in exchange can listen; an empty error means that it can."""
    if error:
        advice = "the built-in exchange needs 127.0.0.1: allow AF_INET and loopback"
        return Row(name="loopback", state="fail", finding=error, advice=advice)
    return Row(name="loopback", state="ok", finding="127.0.0.1 accepts a listener")


def judge_state(directory: str, mode: int | None, is_writable: bool) -> Row:
    """Judge the journal's directory; ``mode`` is None while it does not exist yet."""
    if not is_writable:
        return Row(
            name="state",
            state="fail",
            finding=f"cannot write {directory}",
            advice="give it to this user, or set journal.directory",
        )
    if mode is None:
        finding = f"{directory} does not exist yet; the first run makes it"
        return Row(name="state", state="ok", finding=finding)
    if mode & 0o077:
        return Row(
            name="state",
            state="warn",
            finding=f"{directory} has mode {mode:04o}: others may look in",
            advice=f"chmod 700 {directory}",
        )
    return Row(name="state", state="ok", finding=f"{directory}, mode {mode:04o}")


def judge_space(free_bytes: int) -> Row:
    """Judge the free space where the journal is written."""
    finding = f"{free_bytes / 2**30:.1f} GiB free for the journal"
    if free_bytes < FREE_BYTES_GOOD:
        state: State = "fail" if free_bytes < FREE_BYTES_MIN else "warn"
        advice = "free some space: without a journal no order is sent"
        return Row(name="space", state=state, finding=finding, advice=advice)
    return Row(name="space", state="ok", finding=finding)


def judge_sync(costs_ns: Sequence[int] | str) -> Row:
    """Judge the cost of writing and syncing a page; a string is the error of the measurement."""
    if isinstance(costs_ns, str):
        return Row(name="disk sync", state="fail", finding=costs_ns, advice="make it writable")
    ordered = sorted(costs_ns)
    middle_ms, worst_ms = ordered[len(ordered) // 2] / 1e6, ordered[-1] / 1e6
    finding = f"4 KiB: p50 {middle_ms:.2f} ms, worst of {len(ordered)} {worst_ms:.2f} ms"
    if middle_ms > SYNC_MS_MAX:
        advice = "use a faster disk for the journal, or keep journal.sync ring"
        return Row(name="disk sync", state="warn", finding=finding, advice=advice)
    return Row(name="disk sync", state="ok", finding=finding)


def judge_packages(installed: Mapping[str, str | None], pins: Mapping[str, str] | None) -> Row:
    """Judge requirements (None: missing) and tested versions (None: no list to compare with)."""
    missing = sorted(name for name, version in installed.items() if version is None)
    if missing:
        finding = f"missing: {', '.join(missing)}"
        return Row(name="packages", state="fail", finding=finding, advice="install: make venv")
    if pins is None:
        finding = (
            f"{len(installed)} present; no constraints.txt here to compare their versions with"
        )
        return Row(name="packages", state="ok", finding=finding)
    differing = [
        f"{name} {version} instead of {pins[name]}"
        for name, version in sorted(installed.items())
        if version is not None and name in pins and not same_version(version, pins[name])
    ]
    if differing:
        shown = ", ".join(differing[:SHOWN_MAX]) + (", .." if len(differing) > SHOWN_MAX else "")
        advice = "these are not the tested versions: make venv"
        return Row(name="packages", state="warn", finding=shown, advice=advice)
    return Row(name="packages", state="ok", finding=f"{len(installed)} present, none off its pin")


def judge_kernels(folder: str, compiled_count: int | None) -> Row:
    """Judge the folder of compiled kernels; None: it cannot be written."""
    if compiled_count is None:
        return Row(
            name="kernels",
            state="warn",
            finding=f"cannot write {folder}",
            advice="every start will compile anew; set NUMBA_CACHE_DIR to a writable folder",
        )
    if not compiled_count:
        advice = "nothing to do: the first run compiles them and later ones start faster"
        return Row(
            name="kernels", state="warn", finding=f"none compiled in {folder}", advice=advice
        )
    return Row(name="kernels", state="ok", finding=f"{compiled_count} compiled in {folder}")


def judge_torch(answer: Mapping[str, object] | str) -> Row:
    """Judge torch's answer; a string is the probe's error. CUDA is optional."""
    if isinstance(answer, str):
        return Row(name="torch", state="fail", finding=answer, advice="install again: make venv")
    if answer["sum"] != 27.0:
        finding = f"{answer['version']}: two 3x3 matrices of ones multiply to {answer['sum']}"
        return Row(name="torch", state="fail", finding=finding, advice="do not trade here")
    device = f"CUDA {answer['cuda']} on {answer['device']}" if answer["device"] else "CPU, no CUDA"
    return Row(name="torch", state="ok", finding=f"{answer['version']}, {device}")


def judge_numba(answer: Mapping[str, object] | str) -> Row:
    """Judge whether kernels can be compiled; a string is the probe's error."""
    if isinstance(answer, str):
        advice = "compiling needs memory that can be executed: MemoryDenyWriteExecute=no"
        return Row(name="numba", state="fail", finding=answer, advice=advice)
    if answer["double"] != 42:
        finding = f"{answer['version']} doubles 21 to {answer['double']}"
        return Row(name="numba", state="fail", finding=finding, advice="do not trade here")
    return Row(name="numba", state="ok", finding=f"{answer['version']} for {answer['cpu']}")


def judge_uvloop(answer: Mapping[str, object] | str) -> Row:
    """Judge the event loop's answer; a string is the probe's error."""
    if isinstance(answer, str):
        return Row(name="uvloop", state="fail", finding=answer, advice="install again: make venv")
    return Row(name="uvloop", state="ok", finding=str(answer["version"]))


def read_pins(text: str) -> dict[str, str]:
    """Parse ``name==version`` lines into plain names; anything else is left out."""
    pins = {}
    for line in text.splitlines():
        match = re.match(r"\s*([A-Za-z0-9._-]+)\s*==\s*([^\s;#]+)", line)
        if match:
            pins[plain_name(match[1])] = match[2]
    return pins


def plain_name(distribution: str) -> str:
    """Return a distribution's name in lower case with single dashes, so that spellings agree."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def same_version(found: str, pin: str) -> bool:
    """Tell whether a version meets a pin; a local part such as ``+cpu`` counts only if pinned."""
    return found == pin or ("+" not in pin and found.split("+")[0] == pin)
