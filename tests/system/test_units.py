"""The unit files: silent under verification, tight under the security review, and in step."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
EXECUTABLE = "/opt/metaensemble/venv/bin/metaensemble"
EXPOSURE_MAX_TENTHS = 12  # of 100; 1.1 measured with systemd 252 and 257

needs_systemd_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def _analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def _installed(folder: Path, source: str, name: str, changes: dict[str, str] | None = None) -> str:
    """Copy a unit under the name it is started by; without ``changes`` it is as shipped."""
    text = (UNITS / source).read_text()
    for old, new in (changes or {}).items():
        assert old in text
        text = text.replace(old, new)
    (folder / name).write_text(text)
    return str(folder / name)


UNIT_NAMES = [
    ("metaensemble.service", "metaensemble.service"),
    ("metaensemble@.service", "metaensemble@paper.service"),
    ("metaensemble-guard.service", "metaensemble-guard.service"),
    ("metaensemble-alert@.service", "metaensemble-alert@metaensemble.service.service"),
]


@needs_systemd_analyze
@pytest.mark.parametrize(("source", "name"), UNIT_NAMES)
def test_verification_has_nothing_to_say(tmp_path: Path, source: str, name: str) -> None:
    """Verify prints nothing: it exits 0 even for misspelt keys, so its output is what counts."""
    done = _analyze("verify", "--man=no", _installed(tmp_path, source, name))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd_analyze
def test_verification_would_notice(tmp_path: Path) -> None:
    """A misspelt directive is found by the test above."""
    changes = {"ProtectClock=": "ProtectClocks="}
    unit = _installed(tmp_path, "metaensemble.service", "metaensemble.service", changes)
    assert "ProtectClocks" in _analyze("verify", "--man=no", unit).stderr


@needs_systemd_analyze
@pytest.mark.parametrize(("source", "name"), UNIT_NAMES)
def test_exposure_is_low(tmp_path: Path, source: str, name: str) -> None:
    """The security review gives at most 1.2 of 10."""
    unit = _installed(tmp_path, source, name)
    done = _analyze("security", "--offline=true", f"--threshold={EXPOSURE_MAX_TENTHS}", unit)
    assert done.returncode == 0, done.stdout.splitlines()[-1]


@needs_systemd_analyze
@pytest.mark.parametrize("line", ["DynamicUser=yes", "CapabilityBoundingSet=", "PrivateUsers=yes"])
def test_loosening_would_be_noticed(tmp_path: Path, line: str) -> None:
    """Without one of the strong directives the review fails."""
    changes = {line: f"# {line}"}
    unit = _installed(tmp_path, "metaensemble.service", "metaensemble.service", changes)
    done = _analyze("security", "--offline=true", f"--threshold={EXPOSURE_MAX_TENTHS}", unit)
    assert done.returncode == 1


def _directives(name: str) -> list[str]:
    """Return the unit's lines from its first section on."""
    text = (UNITS / name).read_text()
    return text[text.index("[Unit]") :].splitlines()


def test_template_is_the_service_with_a_name() -> None:
    """Line by line the template is the plain unit, with the instance's name in every place."""
    for plain, named in zip(
        _directives("metaensemble.service"), _directives("metaensemble@.service"), strict=True
    ):
        without = re.sub(r"[-/ ]%i", "", named.replace("/%i.environment", "/environment"))
        assert without == plain
        if re.search(r"[=/:]metaensemble($|[./])", plain) and "ConfigurationDirectory" not in plain:
            is_shared = EXECUTABLE in plain
            assert is_shared or "%i" in named, named


def test_promises_are_in_the_unit() -> None:
    """Notify, watchdog, memory bounds, no retry after refused input, keys as credentials."""
    lines = _directives("metaensemble.service")
    for line in (
        "Type=notify",
        "NotifyAccess=main",
        "WatchdogSec=5s",
        "Restart=on-failure",
        "RestartPreventExitStatus=2 78 126 127 243",
        "DynamicUser=yes",
        "StateDirectoryMode=0700",
        "MemoryHigh=1536M",
        "MemoryMax=2G",
        "MemoryDenyWriteExecute=no",
        "SystemCallErrorNumber=EPERM",
        "LoadCredential=exchange-key:metaensemble.exchange-key",
        "LoadCredential=exchange-secret:metaensemble.exchange-secret",
        f"ExecStart=/usr/bin/env {EXECUTABLE} run $METAENSEMBLE_ARGS",
    ):
        assert line in lines, line
    assert not [line for line in lines if re.match("Environment=.*(KEY|SECRET)", line)]


def test_every_service_that_lasts_tells_of_its_failure() -> None:
    """OnFailure= names the alert unit with the failed unit in it; the alert unit names none."""
    for name in ("metaensemble.service", "metaensemble@.service", "metaensemble-guard.service"):
        assert "OnFailure=metaensemble-alert@%n.service" in _directives(name)
    alert = _directives("metaensemble-alert@.service")
    assert not [line for line in alert if line.startswith("OnFailure=")]
    assert "Type=oneshot" in alert


def test_setup_knows_every_unit() -> None:
    """A unit that is added is installed and taken away as well."""
    script = (UNITS / "setup.sh").read_text()
    (line,) = (line for line in script.splitlines() if line.startswith("UNITS="))
    assert set(line.split('"')[1].split()) == {path.name for path in UNITS.glob("*.service")}


@pytest.mark.parametrize("goal", ["install", "uninstall"])
def test_interpreter_of_a_home_folder_is_refused(tmp_path: Path, goal: str) -> None:
    """ProtectHome= would hide it from the service: said before anything is made."""
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\necho /home/somebody/python\n")
    python.chmod(0o755)
    environ = {"PATH": "/usr/bin:/bin", "PYTHON": str(python), "PREFIX": str(tmp_path / "opt")}
    done = subprocess.run(
        [str(UNITS / "setup.sh"), goal],
        env={**environ, "DESTDIR": str(tmp_path / "etc")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if goal == "install":
        assert done.returncode == 1
        assert "home folder" in done.stderr
    else:
        assert done.returncode == 0
    assert not (tmp_path / "opt").exists()
    assert not (tmp_path / "etc").exists()
