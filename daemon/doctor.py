"""``metaensemble doctor``: what this machine can do, and what to do about what it cannot.

Every row is measured or looked up here and now, and judged by ``daemon.findings``. torch, Numba and
uvloop are asked in a process of their own, so that a broken installation is a row of the report and
not the end of it. One short-lived nameless file is written; no network beyond loopback is touched.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import resource
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from config.settings import Settings
from daemon import findings
from daemon.checklist import examine_venue
from daemon.clock import SystemClock
from daemon.findings import Row
from daemon.journal import journal_directory
from daemon.kernel_cache import prepare

CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"
SYNC_WRITES = 32
CLOCK_READINGS = 2_000
PROBE_TIMEOUT_S = 120.0

TORCH_PROBE = """
import json, torch
cuda = torch.cuda.is_available()
print(json.dumps({
    "version": torch.__version__,
    "cuda": torch.version.cuda or "",
    "device": torch.cuda.get_device_name(0) if cuda else "",
    "sum": float((torch.ones(3, 3) @ torch.ones(3, 3)).sum()),
}))
"""

NUMBA_PROBE = """
import json, llvmlite.binding, numba
double = numba.njit(lambda number: 2 * number)
print(json.dumps({
    "version": numba.__version__,
    "cpu": llvmlite.binding.get_host_cpu_name(),
    "double": double(21),
}))
"""

UVLOOP_PROBE = """
import asyncio, json, uvloop
uvloop.run(asyncio.sleep(0))
print(json.dumps({"version": uvloop.__version__}))
"""


def run(settings: Settings, *, as_json: bool) -> int:
    """Print every row and return 1 when one of them fails, else 0."""
    rows = []
    for row in examine(settings):
        rows.append(row)
        if not as_json:
            print(_line(row), flush=True)
    is_fit = all(row.state != "fail" for row in rows)
    if as_json:
        print(json.dumps({"schema": 1, "ok": is_fit, "rows": [asdict(row) for row in rows]}))
    return 0 if is_fit else 1


def examine(settings: Settings) -> Iterator[Row]:
    """Yield the rows one by one, the quick ones first."""
    clock = SystemClock()
    directory = journal_directory(settings.journal.directory, os.environ).absolute()
    place = _nearest(directory)
    yield findings.judge_python(sys.version_info[:3], sys.prefix != sys.base_prefix)
    yield findings.judge_cores(len(os.sched_getaffinity(0)), os.cpu_count() or 0)
    yield findings.judge_open_files(*_open_file_limits())
    yield findings.judge_clock(_clock_step_ns(clock.monotonic_ns))
    yield findings.judge_loopback(_loopback_error())
    yield findings.judge_state(str(directory), _mode(directory), _is_writable_directory(place))
    yield findings.judge_space(shutil.disk_usage(place).free)
    yield findings.judge_sync(_sync_costs_ns(place, clock.monotonic_ns))
    yield findings.judge_packages(_installed_requirements(), _pins(CONSTRAINTS))
    yield _kernels_row(prepare())
    yield findings.judge_uvloop(_ask(UVLOOP_PROBE))
    yield findings.judge_numba(_ask(NUMBA_PROBE))
    yield findings.judge_torch(_ask(TORCH_PROBE))
    yield from examine_venue(settings, os.environ)


def _line(row: Row) -> str:
    advice = f"; {row.advice}" if row.advice else ""
    return f"{row.state:<4}  {row.name:<11}  {row.finding}{advice}"


def _nearest(path: Path) -> Path:
    """Return the path itself or its nearest ancestor that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _is_writable_directory(path: Path) -> bool:
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)


def _mode(directory: Path) -> int | None:
    return stat.S_IMODE(directory.stat().st_mode) if directory.exists() else None


def _open_file_limits() -> tuple[int | None, int | None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    return None if soft == unlimited else soft, None if hard == unlimited else hard


def _clock_step_ns(monotonic_ns: Callable[[], int]) -> int | None:
    """Return the smallest non-zero difference of successive readings."""
    readings = [monotonic_ns() for _ in range(CLOCK_READINGS)]
    steps = [after - before for before, after in itertools.pairwise(readings)]
    return min((step for step in steps if step), default=None)


def _loopback_error() -> str:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
    except OSError as error:
        return f"cannot listen on 127.0.0.1: {error.strerror}"
    return ""


def _sync_costs_ns(directory: Path, monotonic_ns: Callable[[], int]) -> list[int] | str:
    page = bytes(4096)
    costs_ns = []
    try:
        with tempfile.TemporaryFile(dir=directory) as probe:
            for _ in range(SYNC_WRITES):
                started_ns = monotonic_ns()
                probe.write(page)
                probe.flush()
                os.fsync(probe.fileno())
                costs_ns.append(monotonic_ns() - started_ns)
    except OSError as error:
        return f"cannot sync a file in {directory}: {error.strerror}"
    return costs_ns


def _installed_requirements() -> dict[str, str | None]:
    """Map every requirement of this distribution to its installed version, None when missing."""
    try:
        lines = metadata.requires("metaensemble") or []
    except metadata.PackageNotFoundError:
        return {"metaensemble": None}
    names = [
        findings.plain_name(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0])
        for line in lines
        if "extra ==" not in line
    ]
    return {name: _version(name) for name in names}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _pins(constraints: Path) -> dict[str, str] | None:
    if not constraints.is_file():
        return None
    return findings.read_pins(constraints.read_text(encoding="utf-8"))


def _kernels_row(folder: Path) -> Row:
    if not _is_writable_directory(_nearest(folder)):
        return findings.judge_kernels(str(folder), None)
    return findings.judge_kernels(str(folder), sum(1 for _ in folder.rglob("*.nbc")))


def _ask(probe: str) -> dict[str, object] | str:
    """Run a probe in a process of its own; return its JSON answer, or what went wrong."""
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-c", probe],
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {PROBE_TIMEOUT_S:.0f} s"
    if child.returncode:
        lines = child.stderr.strip().splitlines()
        return lines[-1] if lines else f"ended with status {child.returncode}"
    try:
        answer: dict[str, object] = json.loads(child.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return "gave no answer"
    return answer
