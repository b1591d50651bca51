"""Where the figures were taken: without this they say nothing."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from daemon.bench.stopwatch import EMPTY_CALL, EMPTY_KERNEL, StageResult

PACKAGES = ("numpy", "numba", "torch", "msgspec", "ccxt", "aiohttp", "pandas", "talipp")
FLAGS_OF_INTEREST = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16")
LOAD_MOVE_MAX = 1.0
FLOOR_MOVE_MAX = 1.5
"""The slowest round's floor against the fastest's; beyond, something else was running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The machine and the versions, as far as this process can see them."""

    system: str
    processor: str
    flags: tuple[str, ...]
    cores_usable: int
    cores_total: int
    governor: str
    priority: int
    python: str
    versions: dict[str, str]


def describe_machine() -> Machine:
    """Read what there is to read; an unknown is an empty text."""
    words = _processor_words()
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    present = words.get("flags", "").split()
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        processor=words.get("model name", platform.machine()),
        flags=tuple(flag for flag in FLAGS_OF_INTEREST if flag in present),
        cores_usable=len(os.sched_getaffinity(0)),
        cores_total=os.cpu_count() or 0,
        governor=governor.read_text().strip() if governor.is_file() else "",
        priority=os.getpriority(os.PRIO_PROCESS, 0),
        python=sys.version.split()[0],
        versions={name: version for name in PACKAGES if (version := _version(name))},
    )


def load_average() -> tuple[float, float, float]:
    """Return the machine's load over 1, 5 and 15 minutes."""
    return os.getloadavg()


def why_void(
    before: float, after: float, cores: int, results: Sequence[StageResult]
) -> tuple[str, ...]:
    """Say why the figures should not be quoted; empty when nothing speaks against them.

    ``before`` and ``after`` are load averages over one minute.
    """
    reasons = []
    if max(before, after - 1.0) > cores - 0.5:
        reasons.append(f"load {before:.1f} before and {after:.1f} after, on {cores} cores")
    elif abs(after - before) > 1.0 + LOAD_MOVE_MAX:
        reasons.append(f"load moved from {before:.1f} to {after:.1f}")
    for result in results:
        for timing in result.timings:
            by_round = timing.p50_by_round_ns
            if timing.name in (EMPTY_CALL, EMPTY_KERNEL) and by_round:
                move = max(by_round) / max(min(by_round), 1.0)
                if move > FLOOR_MOVE_MAX:
                    reasons.append(f"{result.name}: {timing.name} moved by {move:.2f}")
    return tuple(reasons)


def _processor_words() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    pairs = (line.partition(":") for line in lines if ":" in line)
    words: dict[str, str] = {}
    for name, _, value in pairs:
        words.setdefault(name.strip(), value.strip())
    return words


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
