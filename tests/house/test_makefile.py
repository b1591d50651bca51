"""The environment's rules, with stand-ins for Python so that nothing is really installed."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.house.house_rules import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >> "$LOG"
case "$1" in
  -m) case "$2" in
    venv) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    pip) case "$*" in *"$BREAK"*) exit 1 ;; esac ;;
  esac ;;
  -c) exit ${UNUSABLE:-0} ;;
  --version) echo stand-in ;;
esac
"""


class Checkout:
    """A folder with the Makefile and what its stamp depends on; its Python only writes a log."""

    def __init__(self, folder: Path) -> None:
        """Lay the files out."""
        self.folder = folder / "a checkout"
        self.folder.mkdir(parents=True)
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.folder / name)
        self.tools = folder / "tools"
        self.tools.mkdir()
        self.log = folder / "log"
        self.add_python("python3.11")

    def add_python(self, name: str, script: str = STAND_IN) -> None:
        """Put an executable on the PATH of the run."""
        tool = self.tools / name
        tool.write_text(script)
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)

    def make(self, *goals: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run make with nothing inherited that could steer it."""
        self.log.write_text("")
        environ = {"PATH": f"{self.tools}:/usr/bin:/bin", "LOG": str(self.log), "BREAK": "nothing"}
        return subprocess.run(
            ["make", *goals],
            cwd=self.folder,
            env=environ | variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def installs(self) -> list[str]:
        """What pip was asked to install since the last make, in order."""
        return [line for line in self.log.read_text().splitlines() if " -m pip install" in line]

    @property
    def stamps(self) -> list[Path]:
        """Marks of a finished installation."""
        return sorted((self.folder / ".venv").glob(".installed-*"))


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Return a checkout whose path holds a space."""
    return Checkout(tmp_path)


def test_torch_is_installed_first_alone_and_pinned(checkout: Checkout) -> None:
    """One command installs torch and nothing else, before any other."""
    done = checkout.make("venv")
    assert done.returncode == 0, done.stderr
    assert checkout.installs[0].endswith(" torch==2.13.0")
    assert checkout.installs[-1].endswith(
        "-c constraints.txt --no-build-isolation -e .[test,lint,sdk]"
    )
    assert len(checkout.stamps) == 1


def test_second_make_does_nothing(checkout: Checkout) -> None:
    """An environment that is up to date costs no Python start at all."""
    checkout.make("venv")
    assert checkout.make("venv").returncode == 0
    assert checkout.log.read_text() == ""


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed(checkout: Checkout, name: str) -> None:
    """A newer list of requirements is installed into the same environment."""
    checkout.make("venv")
    stamp_ns = checkout.stamps[0].stat().st_mtime_ns
    os.utime(checkout.folder / name, ns=(stamp_ns + 10**9, stamp_ns + 10**9))
    checkout.make("venv")
    assert checkout.installs
    assert "-m venv" not in checkout.log.read_text()


@pytest.mark.parametrize("step", ["torch==", "hatchling", "-e"])
def test_failed_install_leaves_no_stamp(checkout: Checkout, step: str) -> None:
    """Whichever step fails, make fails, says so again next time, and then recovers."""
    assert checkout.make("venv", BREAK=step).returncode != 0
    assert checkout.stamps == []
    assert checkout.make("venv", BREAK=step).returncode != 0
    assert checkout.make("venv").returncode == 0
    assert len(checkout.stamps) == 1


def test_failed_upgrade_takes_the_stamp_away(checkout: Checkout) -> None:
    """A half-done upgrade is not mistaken for the old, whole environment."""
    checkout.make("venv")
    stamp_ns = checkout.stamps[0].stat().st_mtime_ns
    os.utime(checkout.folder / "constraints.txt", ns=(stamp_ns + 10**9, stamp_ns + 10**9))
    assert checkout.make("venv", BREAK="-e").returncode != 0
    assert checkout.stamps == []


def test_python_that_does_not_work_is_passed_over(checkout: Checkout) -> None:
    """A name on the PATH that cannot run, or is too old, is not chosen."""
    checkout.add_python("python3.11", "#!/bin/sh\nexit 127\n")
    checkout.add_python("python3.12")
    assert checkout.make("venv").returncode == 0
    assert "python3.12 -m venv" in checkout.log.read_text()


def test_no_usable_python_is_one_clear_line(checkout: Checkout) -> None:
    """The message names what was tried and how to name another."""
    done = checkout.make("venv", UNUSABLE="1", PYTHON="python3.11")
    assert done.returncode != 0
    assert "make PYTHON=/path/to/python3" in done.stderr
    assert checkout.stamps == []


def test_moved_checkout_makes_its_own_environment(checkout: Checkout) -> None:
    """Scripts of an environment name its old place, so a moved one is not trusted."""
    checkout.make("venv")
    checkout.folder = checkout.folder.rename(checkout.folder.parent / "moved")
    assert checkout.make("venv").returncode == 0
    assert "-m venv" in checkout.log.read_text()
    assert len(checkout.stamps) == 1


def test_help_names_every_target() -> None:
    """Each phony target has its sentence."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = next(line for line in text.splitlines() if line.startswith(".PHONY:"))
    done = subprocess.run(
        ["make", "help"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},  # not as a child of the make that runs the tests
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    helped = {line.split()[1] for line in done.stdout.splitlines()}
    assert helped == set(phony.split()[1:])
