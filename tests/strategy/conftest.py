"""One valid bundle per session, and a copy of it per test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from strategy.archive import write_bundle
from tests.fakes.small_bundle import small_recipe


@pytest.fixture(scope="session")
def pristine_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write one valid bundle; nobody may change it."""
    directory = tmp_path_factory.mktemp("bundles") / "small"
    write_bundle(directory, small_recipe())
    return directory


@pytest.fixture
def bundle_path(pristine_bundle: Path, tmp_path: Path) -> Path:
    """Return a copy of the valid bundle to break."""
    return Path(shutil.copytree(pristine_bundle, tmp_path / "small"))
