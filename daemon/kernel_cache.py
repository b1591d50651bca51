"""Choose where Numba keeps compiled kernels, before anything imports Numba.

Numba notices an edit of the file that holds a kernel, but not of a kernel in another file that was
inlined into it. The folder's name therefore carries a hash of all of ``kernels/``: after any edit
machine code is made anew, and no run can be fed by yesterday's arithmetic.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

KERNELS = Path(__file__).resolve().parent.parent / "kernels"
FOLDER_PREFIX = "kernels-"
GENERATIONS_MAX = 3
"""Folders kept beside each other; older ones are removed, so the cache cannot grow for ever."""


def cache_root(environ: Mapping[str, str], prefix: Path, base_prefix: Path, home: Path) -> Path:
    """Return the folder under which generations of compiled kernels live.

    In order: ``NUMBA_CACHE_DIR`` as given, the service manager's cache directory, the virtual
    environment where it can be written, the user's own cache.
    """
    given = environ.get("NUMBA_CACHE_DIR")
    if given:
        path = Path(given)
        return path.parent if path.name.startswith(FOLDER_PREFIX) else path
    service = environ.get("CACHE_DIRECTORY")
    if service:
        return Path(service.split(":")[0]) / "numba"
    if prefix != base_prefix and os.access(prefix, os.W_OK):
        return prefix / "numba-cache"
    return Path(environ.get("XDG_CACHE_HOME") or home / ".cache") / "metaensemble" / "numba"


def kernels_sha256(kernels: Path = KERNELS) -> str:
    """Hash names and contents of every kernel file, in name order."""
    digest = hashlib.sha256()
    for path in sorted(kernels.glob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def prepare(environ: MutableMapping[str, str] | None = None) -> Path:
    """Point ``NUMBA_CACHE_DIR`` at this version's folder and drop all but the newest generations.

    Must run before Numba is imported. Child processes inherit the result unchanged. A folder that
    cannot be written is no error here: Numba then compiles without keeping the result.
    """
    variables = os.environ if environ is None else environ
    root = cache_root(variables, Path(sys.prefix), Path(sys.base_prefix), _home(variables))
    folder = root.absolute() / f"{FOLDER_PREFIX}{kernels_sha256()[:12]}"
    variables["NUMBA_CACHE_DIR"] = str(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        _forget_old(folder.parent)
    except OSError:
        return folder
    return folder


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HOME") or "/")


def _forget_old(root: Path) -> None:
    generations = [path for path in root.glob(f"{FOLDER_PREFIX}*") if path.is_dir()]
    generations.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for stale in generations[GENERATIONS_MAX:]:
        shutil.rmtree(stale, ignore_errors=True)
