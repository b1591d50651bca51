"""Weights whose compiled form was proven equal to its script: with them a restart skips the script.

The proof holds for one script, this code and these versions of what computes: a file's name says
which, its head is the hash of the rest. A file that is missing, foreign or damaged is no error: the
script is loaded and the proof made anew. Whoever can write here can also write compiled kernels.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

SUFFIX = ".weights"
KEPT_MAX = 8
CODE = Path(__file__).resolve().parent
PACKAGES = ("numba", "numpy", "torch")
_HEAD_BYTES = hashlib.sha256().digest_size

Weights = Mapping[str, NDArray[np.float32]]


def recall(folder: Path, script_sha256: str) -> Weights | None:
    """Return the proven weights of a script, None where there are none."""
    try:
        content = _place(folder, script_sha256).read_bytes()
    except OSError:
        return None
    head, body = content[:_HEAD_BYTES], content[_HEAD_BYTES:]
    if hashlib.sha256(body).digest() != head:
        return None
    try:
        return load(body)
    except (SafetensorError, ValueError, KeyError):
        return None


def remember(folder: Path, script_sha256: str, weights: Weights) -> None:
    """Keep proven weights, the newest few; a folder that cannot be written keeps none."""
    body = save({name: np.ascontiguousarray(table) for name, table in weights.items()})
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = _place(folder, script_sha256)
        draft = place.with_suffix(f".{os.getpid()}")
        draft.write_bytes(hashlib.sha256(body).digest() + body)
        draft.replace(place)
        kept = sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime_ns)
        for old in kept[:-KEPT_MAX]:
            old.unlink(missing_ok=True)


def _place(folder: Path, script_sha256: str) -> Path:
    return folder / f"{script_sha256[:32]}-{_fingerprint()[:16]}{SUFFIX}"


def _fingerprint() -> str:
    """Hash the code of this room and the names of the machine and of what computes."""
    digest = hashlib.sha256()
    for path in sorted(CODE.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    versions = [f"{name} {metadata.version(name)}" for name in PACKAGES]
    digest.update("\n".join([platform.machine(), platform.python_version(), *versions]).encode())
    return digest.hexdigest()
