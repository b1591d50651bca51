"""Compiled kernels are kept, never across an edit, and never without bound."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from daemon.kernel_cache import (
    FOLDER_PREFIX,
    GENERATIONS_MAX,
    cache_root,
    kernels_sha256,
    prepare,
)


@pytest.mark.parametrize(
    ("environ", "prefix", "expected"),
    [
        ({"NUMBA_CACHE_DIR": "/given"}, "/venv", "/given"),
        ({"NUMBA_CACHE_DIR": f"/given/{FOLDER_PREFIX}0123"}, "/venv", "/given"),
        ({"CACHE_DIRECTORY": "/var/cache/a:/var/cache/b"}, "/venv", "/var/cache/a/numba"),
        ({}, "/absent", "/home/me/.cache/metaensemble/numba"),
        ({"XDG_CACHE_HOME": "/cache"}, "/absent", "/cache/metaensemble/numba"),
        ({}, "/usr", "/home/me/.cache/metaensemble/numba"),
    ],
)
def test_root_follows_the_order_of_places(
    environ: dict[str, str], prefix: str, expected: str
) -> None:
    """Given, service manager, environment, user: the first that applies; /usr is no environment."""
    root = cache_root(environ, Path(prefix), Path("/usr"), Path("/home/me"))
    assert root == Path(expected)


def test_root_lies_in_a_writable_environment(tmp_path: Path) -> None:
    """The cache is removed together with the environment it was compiled for."""
    assert cache_root({}, tmp_path, Path("/usr"), Path("/home/me")) == tmp_path / "numba-cache"


def test_any_edit_of_any_kernel_changes_the_key(tmp_path: Path) -> None:
    """Content, name and the border between two files all count."""
    (tmp_path / "a.py").write_text("one")
    (tmp_path / "b.py").write_text("two")
    keys = [kernels_sha256(tmp_path)]
    (tmp_path / "b.py").write_text("twO")
    keys.append(kernels_sha256(tmp_path))
    (tmp_path / "a.py").write_text("onet")
    (tmp_path / "b.py").write_text("wO")
    keys.append(kernels_sha256(tmp_path))
    (tmp_path / "b.py").rename(tmp_path / "c.py")
    keys.append(kernels_sha256(tmp_path))
    assert len(set(keys)) == len(keys)


def test_prepare_is_stable_for_children(tmp_path: Path) -> None:
    """A child process that inherits the variable ends up in the same folder."""
    environ = {"NUMBA_CACHE_DIR": str(tmp_path)}
    folder = prepare(environ)
    assert folder.parent == tmp_path
    assert environ["NUMBA_CACHE_DIR"] == str(folder)
    assert prepare(environ) == folder


def test_old_generations_are_dropped_newest_kept(tmp_path: Path) -> None:
    """Only the newest few remain, and what is not ours is left alone."""
    (tmp_path / "other").mkdir()
    for age in range(6):
        old = tmp_path / f"{FOLDER_PREFIX}{age}"
        old.mkdir()
        (old / "kernel.nbc").write_bytes(b"code")
        os.utime(old, ns=(10**9 * (10 - age), 10**9 * (10 - age)))
    folder = prepare({"NUMBA_CACHE_DIR": str(tmp_path)})
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {"other", folder.name, f"{FOLDER_PREFIX}0", f"{FOLDER_PREFIX}1"}
    assert len(kept) - 1 == GENERATIONS_MAX


def test_unwritable_place_is_no_error(tmp_path: Path) -> None:
    """Without a cache everything works, only slower."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    folder = prepare({"NUMBA_CACHE_DIR": str(blocked / "below")})
    assert not folder.exists()
