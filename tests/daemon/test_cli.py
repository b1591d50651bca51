"""The command line: what it accepts, what it refuses with which code, and how fast it answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import Settings, SimulatedSettings
from daemon import cli

ROOT = Path(__file__).resolve().parent.parent.parent
HEAVY = ("aiohttp", "ccxt", "numba", "numpy", "pydantic", "rich", "torch", "uvloop", "yaml")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Stand-in for ``daemon.app.RunOptions``: the same fields."""

    settings: Settings
    reread: Any
    duration_ns: int | None
    json_summary: bool
    live_flag: bool
    show_view: bool


class Runs(list[Options]):
    """The runs that were asked for; ``code`` is what each returns."""

    code = 0

    def run(self, options: Options) -> int:
        """Remember the run instead of trading."""
        self.append(options)
        return self.code


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runs:
    """Put a stand-in in the place of the composition root."""
    runs = Runs()
    app = types.ModuleType("daemon.app")
    vars(app).update(RunOptions=Options, run=runs.run)
    monkeypatch.setitem(sys.modules, "daemon.app", app)
    monkeypatch.setattr("daemon.app", app, raising=False)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "numba"))
    return runs


def asked(runs: Runs, *arguments: str) -> Settings:
    """Return the settings of the one run that these arguments ask for."""
    assert cli.main(["run", *arguments]) == 0
    return runs[-1].settings


@pytest.mark.parametrize(
    ("text", "expected_ns"),
    [
        ("500ms", 500_000_000),
        ("30s", 30_000_000_000),
        ("1.5s", 1_500_000_000),
        ("5m", 300_000_000_000),
        ("2h", 7_200_000_000_000),
        ("1d", 86_400_000_000_000),
        ("0.000001ms", 1),
    ],
)
def test_duration_is_exact(text: str, expected_ns: int) -> None:
    """Durations are integers, without the rounding of floats."""
    assert cli.parse_duration_ns(text) == expected_ns


@pytest.mark.parametrize(
    "text", ["", "30", "s", "-1s", "0s", "1e3s", "1,5s", "3 s", "inf", "3651d", "٣s", "1.1234567s"]
)
def test_duration_is_refused(text: str) -> None:
    """A missing unit, a sign, zero, foreign digits and absurd lengths are errors."""
    with pytest.raises(ValueError, match=r"duration|outside"):
        cli.parse_duration_ns(text)


@given(st.integers(1, 10**6), st.sampled_from(sorted(cli.NS_PER_UNIT)))
def test_duration_scales_with_its_unit(count: int, unit: str) -> None:
    """Every whole number of every unit is that many times the unit, or refused as too long."""
    expected_ns = count * cli.NS_PER_UNIT[unit]
    if expected_ns > cli.DURATION_NS_MAX:
        with pytest.raises(ValueError, match="outside"):
            cli.parse_duration_ns(f"{count}{unit}")
    else:
        assert cli.parse_duration_ns(f"{count}{unit}") == expected_ns


def test_run_without_arguments_is_balanced_on_the_simulated_exchange(runs: Runs) -> None:
    """No argument, no network: the defaults of the product."""
    settings = asked(runs)
    assert (settings.preset, settings.mode, settings.venue) == ("balanced", "sim", "sim")
    assert runs[0].duration_ns is None
    assert not runs[0].live_flag
    assert not runs[0].json_summary


def test_run_options_reach_the_settings(runs: Runs, tmp_path: Path) -> None:
    """Every option of the market arrives under its key, and the flags beside them."""
    capture = tmp_path / "a: b #c.gz"
    capture.write_bytes(b"")
    arguments = ["--preset", "conservative", "--for", "30s", "--json", "--live", "--no-view"]
    arguments += ["--capture", str(capture), "--speed", "2.5", "--seed", "11"]
    settings = asked(runs, *arguments, "--set", "limits.leverage_max=0.5")
    assert settings.preset == "conservative"
    assert settings.simulated.capture == str(capture)
    assert settings.simulated.speed == 2.5
    assert settings.simulated.seed == 11
    assert settings.limits.leverage_max == 0.5
    assert runs[0].duration_ns == 30 * 10**9
    assert runs[0].json_summary
    assert runs[0].live_flag
    assert not runs[0].show_view


def test_option_wins_over_set_and_set_over_file(runs: Runs, tmp_path: Path) -> None:
    """The nearer to the user's fingers, the stronger."""
    file = tmp_path / "my.yaml"
    file.write_text("simulated: {seed: 1, speed: 3.0}\n")
    settings = asked(
        runs,
        "--config",
        str(file),
        "--set",
        "simulated.seed=2",
        "--seed",
        "3",
        "--set",
        "log.level=error",
    )
    assert (settings.simulated.seed, settings.simulated.speed) == (3, 3.0)
    assert settings.log.level == "error"


def test_venue_means_its_testnet(runs: Runs) -> None:
    """Naming a real venue never means real money by itself."""
    settings = asked(runs, "--venue", "binanceusdm")
    assert (settings.venue, settings.mode) == ("binanceusdm", "testnet")


def test_venue_sim_wins_over_a_live_file(runs: Runs, tmp_path: Path) -> None:
    """Asking for the simulated exchange disarms a live configuration for this run."""
    file = tmp_path / "live.yaml"
    file.write_text("mode: live\nvenue: binanceusdm\nlive: {armed: true}\n")
    settings = asked(runs, "--config", str(file), "--venue", "sim")
    assert (settings.venue, settings.mode) == ("sim", "sim")


def test_live_file_keeps_its_mode(runs: Runs, tmp_path: Path) -> None:
    """Naming the venue again does not turn live into testnet."""
    file = tmp_path / "live.yaml"
    file.write_text("mode: live\nvenue: binanceusdm\nlive: {armed: true}\n")
    settings = asked(runs, "--config", str(file), "--venue", "binanceusdm", "--live")
    assert settings.mode == "live"
    assert runs[0].live_flag


def test_code_of_the_run_is_the_code_of_the_process(runs: Runs) -> None:
    """What the daemon returns is handed on."""
    runs.code = 1
    assert cli.main(["run"]) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["COMMAND"]),
        (["dance"], ["dance", "run", "doctor"]),
        (["run", "--for", "3"], ["--for", "30s"]),
        (["run", "--dance"], ["--dance"]),
        (["run", "--set", "limits"], ["--set", "key=value"]),
        (["run", "--set", "limits.leverage_maxx=1"], ["--set", "leverage_max?"]),
        (["run", "--set", "limits.leverage_max=many"], ["--set", "limits.leverage_max"]),
        (["run", "--speed", "0"], ["simulated.speed"]),
        (["run", "--speed", "fast"], ["--speed", "fast"]),
        (["run", "--seed", "-1"], ["simulated.seed"]),
        (["run", "--preset", "balansed"], ["--preset", "balanced"]),
        (["run", "--capture", "/does/not/exist"], ["--capture", "/does/not/exist"]),
        (["run", "--venue", "mars"], ["--venue", "mars"]),
        (["run", "--set", "live.armed=true"], ["live.armed"]),
        (["run", "--pre", "balanced"], ["--pre"]),
        (["exchange", "--market", "calm", "--capture", __file__], ["--market", "--capture"]),
        (["exchange", "--port", "70000"], ["simulated.port"]),
    ],
)
def test_bad_option_is_one_line_and_code_2(
    runs: Runs, capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    """A refused option names itself in one line, without a traceback and without a run."""
    assert cli.main(arguments) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.count("\n") == 1
    assert written.err.startswith("metaensemble: ")
    assert all(word in written.err for word in words), written.err
    assert not runs


@pytest.mark.parametrize("command", ["run", "exchange", "doctor"])
def test_bad_file_is_code_78_with_its_place(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    """A refused configuration names file, line and key, and tells systemd not to try again."""
    file = tmp_path / "my.yaml"
    file.write_text("preset: balanced\nlimits:\n  leverage_max: -1\n")
    assert cli.main([command, "--config", str(file)]) == 78
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith(f"metaensemble: {file}:3: limits.leverage_max: ")
    assert written.err.count("\n") == 1


def test_every_problem_has_its_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Problems of a file and of an option are told together; the file decides the code."""
    file = tmp_path / "my.yaml"
    file.write_text("limits:\n  leverage: 1\nmeta:\n  lookback: 3\n")
    assert cli.main(["run", "--config", str(file), "--set", "limits.gross=1"]) == 78
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == [f"{file}:2:", f"{file}:4:", "--set:"]


def test_missing_file_is_code_78(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A configuration that is not there is a configuration error."""
    assert cli.main(["run", "--config", str(tmp_path / "no.yaml")]) == 78
    assert "no.yaml" in capsys.readouterr().err


def test_interrupt_is_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt that reaches the command line ends it without a traceback."""

    def interrupted(_options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_doctor", interrupted)
    assert cli.main(["doctor"]) == 130


@pytest.mark.parametrize("command", ["", "run", "exchange", "check", "doctor"])
def test_help_ends_with_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """Every command shows how it is used, and its example is accepted by the parser."""
    with pytest.raises(SystemExit) as stopped:
        cli.main([*command.split(), "--help"])
    assert stopped.value.code == 0
    example = " ".join(capsys.readouterr().out.split("example: ")[1].split())
    assert example.startswith(f"metaensemble {command}".strip())
    cli._parser().parse_args(example.split()[1:])


def test_version_is_the_installed_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version is that of the distribution; an uninstalled checkout says so."""
    known: Callable[[str], str] = {"metaensemble": "1.2.3"}.__getitem__
    monkeypatch.setattr(metadata, "version", known)
    with pytest.raises(SystemExit):
        cli.main(["--version"])

    def unknown(_name: str) -> str:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "version", unknown)
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == "metaensemble 1.2.3\nmetaensemble (not installed)\n"


def test_help_loads_nothing_heavy() -> None:
    """``--help`` answers at once because no third-party library is imported for it."""
    probe = (
        "import sys, json\nfrom daemon import cli\n"
        "try:\n    cli.main(['run', '--help'])\nexcept SystemExit:\n    print()\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_reader_that_leaves_is_no_traceback() -> None:
    """``metaensemble .. | head`` ends quietly when the pipe is closed."""
    script = "from daemon import cli\nimport sys\nsys.exit(cli.main(['check', '--help']))"
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()\n" + script],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    child.stdout.close()
    assert child.stdin is not None
    child.stdin.close()
    assert child.stderr is not None
    assert "Traceback" not in child.stderr.read()
    child.stderr.close()
    assert child.wait(timeout=60) != -signal.SIGPIPE


def test_module_is_the_command() -> None:
    """``python -m daemon`` from the checkout is the same program."""
    done = subprocess.run(
        [sys.executable, "-m", "daemon", "run", "--for", "x"],
        cwd=ROOT,
        env=os.environ | {"PYTHONSAFEPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("metaensemble: argument --for")


def test_markets_of_the_option_are_those_of_the_settings() -> None:
    """The names stand twice, so that help need not load the settings; they are the same."""
    annotation = SimulatedSettings.model_fields["market"].annotation
    assert set(cli.MARKETS) == set(get_args(annotation))


@pytest.mark.parametrize(
    "arguments",
    [
        ("--bars", "missing.parquet"),
        ("--bars", __file__, "--capture", __file__),
    ],
)
def test_bars_that_cannot_be_played_are_refused(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing file and two markets at once are refused in one line."""
    assert cli.main(["run", *arguments]) == 2
    assert capsys.readouterr().err.startswith("metaensemble: --bars")
