"""One policy for kernels: sources are noticed, direct entries and borrowing change nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels import feature_windows
from kernels.jit import FLOATS, borrow, direct, njit, sources_sha256

ROOT = Path(__file__).resolve().parents[2]

CALLER = """
from kernels.jit import njit
from {room}.inner import FACTOR, added

@njit
def outer(x):
    return FACTOR * added(x)

if __name__ == "__main__":
    print(outer(10))
"""

INNER = """
from kernels.jit import njit

FACTOR = {factor}

@njit
def added(x):
    return x + {term}
"""


def run_caller(folder: Path) -> str:
    """Run the calling module in a fresh process with its machine code cached in the folder."""
    environment = dict(os.environ)
    environment["PYTHONPATH"] = f"{folder}{os.pathsep}{ROOT}"
    environment["NUMBA_CACHE_DIR"] = str(folder / "cache")
    environment.pop("NUMBA_DISABLE_JIT", None)
    return subprocess.run(
        [sys.executable, "-m", "room_of_test.caller"],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def test_change_in_an_imported_kernel_is_compiled_again(tmp_path: Path) -> None:
    """A kernel whose callee or constant stands in another file never runs the old machine code."""
    room = tmp_path / "room_of_test"
    room.mkdir()
    (room / "caller.py").write_text(CALLER.format(room="room_of_test"))
    (room / "inner.py").write_text(INNER.format(factor=2, term=1))
    assert run_caller(tmp_path) == "22"
    (room / "inner.py").write_text(INNER.format(factor=3, term=5))
    assert run_caller(tmp_path) == "45"


def test_a_type_that_is_gone_is_compiled_past(tmp_path: Path) -> None:
    """A cache that names a record of an earlier version is stale, and no error."""
    room = tmp_path / "room_of_test"
    room.mkdir()
    for name, wanted in (("Pair", "22"), ("Couple", "22")):
        text = CALLER.replace(", added", f", {name}, added").replace("(x)", "(p)")
        text = text.replace("added(p)", "added(p.x)").replace("outer(10)", f"outer({name}(10))")
        (room / "caller.py").write_text(text.format(room="room_of_test"))
        record = f"from typing import NamedTuple\n\nclass {name}(NamedTuple):\n    x: int\n"
        (room / "inner.py").write_text(record + INNER.format(factor=2, term=1))
        assert run_caller(tmp_path) == wanted


def test_stamp_follows_imports(tmp_path: Path) -> None:
    """The stamp changes with a file two imports away and not with one that is not imported."""
    room = tmp_path / "room"
    room.mkdir()
    (room / "a.py").write_text("from room import b\n")
    (room / "b.py").write_text("import room.c\n")
    (room / "c.py").write_text("X = 1\n")
    (room / "d.py").write_text("Y = 1\n")

    def stamp() -> str:
        return sources_sha256.__wrapped__(room / "a.py")

    first = stamp()
    (room / "d.py").write_text("Y = 2\n")
    assert stamp() == first
    (room / "c.py").write_text("X = 2\n")
    assert stamp() != first


def test_a_direct_entry_is_the_same_kernel() -> None:
    """Past the choice of types a kernel gives the same, and still refuses narrower numbers."""
    copy_floats = direct(feature_windows.copy_record, FLOATS, FLOATS)
    source, target = np.arange(50.0), np.zeros(50)
    copy_floats(source, target)
    assert target[: feature_windows.WIDTH].tolist() == list(range(feature_windows.WIDTH))
    assert not target[feature_windows.WIDTH :].any()
    if os.environ.get("NUMBA_DISABLE_JIT") != "1":
        with pytest.raises(TypeError, match="unbox array"):
            copy_floats(source.astype(np.float32), target)


def test_what_is_borrowed_is_the_same_memory() -> None:
    """A kernel writes through views of what it borrowed; the owner counts as before."""
    row = np.zeros(6)
    held = sys.getrefcount(row)
    _fill_borrowed(row)
    assert row.tolist() == [1.0, 2.0, 2.0, 0.0, 0.0, 5.0]
    assert sys.getrefcount(row) == held
    assert borrow(row) is row


@njit
def _fill_borrowed(row: NDArray[np.float64]) -> None:
    own = borrow(row)
    table = own[1:5].reshape((2, 2))
    own[0], own[5] = 1.0, table.size + 1.0
    table[0, :] = 2.0


def test_own_kernels_carry_the_stamp() -> None:
    """The library still keeps its stamp where the policy puts ours."""
    if os.environ.get("NUMBA_DISABLE_JIT") == "1":
        return
    kernel = feature_windows.merge_records
    index = kernel._cache._cache_file  # type: ignore[attr-defined]  # numba's own dispatcher
    assert sources_sha256(Path(feature_windows.__file__)) in index._version


def test_stamp_follows_imports_out_of_a_nested_package(tmp_path: Path) -> None:
    """A file two folders deep is stamped with what it imports from another room."""
    inner = tmp_path / "room" / "inner"
    other = tmp_path / "other"
    for folder in (inner, other):
        folder.mkdir(parents=True)
    for folder in (inner, inner.parent, other):
        (folder / "__init__.py").write_text("")
    (inner / "a.py").write_text("from other.b import X\n")
    (other / "b.py").write_text("X = 1\n")
    first = sources_sha256.__wrapped__(inner / "a.py")
    (other / "b.py").write_text("X = 2\n")
    assert sources_sha256.__wrapped__(inner / "a.py") != first
