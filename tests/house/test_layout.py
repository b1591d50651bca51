"""Where things lie: the rooms are ours, names are unique, the pages agree with the package."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module, metadata
from pathlib import Path

import pytest

from tests.house.house_rules import ROOMS, ROOT, house_files, repeated_basenames


@pytest.mark.parametrize("room", ROOMS)
def test_room_is_ours(room: str) -> None:
    """No other distribution provides a package of this name."""
    assert set(metadata.packages_distributions().get(room, ())) <= {"metaensemble"}
    assert Path(str(import_module(room).__file__)).parent == ROOT / room


def test_basenames_are_unique() -> None:
    """A file name leads to one file, in rooms and tests alike."""
    assert repeated_basenames(file.path for file in house_files()) == []


def test_repeated_basename_is_found() -> None:
    """The rule names both places, and exempts the names that Python and pytest dictate."""
    paths = ["risk/book.py", "kernels/book.py", "risk/__init__.py", "kernels/__init__.py"]
    assert repeated_basenames(paths) == ["book.py: risk/book.py, kernels/book.py"]


def test_changelog_leads_with_the_version() -> None:
    """The newest entry of the changelog is the version that is built."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+)", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == project["version"]


def test_readme_names_files_that_exist() -> None:
    """Every path that the README names in code is there."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.findall(
        r"`((?:config|daemon|kernels|risk|strategy|systemd|tests)/[\w./-]*)`", readme
    )
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_constraints_cover_every_requirement() -> None:
    """Each direct dependency, build and test tools included, is pinned to one version."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = {line.split("==")[0].lower() for line in text.splitlines() if "==" in line}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *(line for extra in project["project"]["optional-dependencies"].values() for line in extra),
    ]
    names = {re.split(r"[^\w.-]", line, maxsplit=1)[0].lower() for line in wanted}
    assert names - pinned == set()
