"""The command line; the operator's commands are in ``daemon.cli_operator``.

Only the standard library is imported here; a command loads what it needs when it is called, so that
``--help`` answers at once. Exit codes: 0 done, 1 failed, 2 refused input, 78 refused configuration
(the service manager must not try again), 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from daemon import (
    cli_alert,
    cli_backtest,
    cli_bench,
    cli_feeds,
    cli_guard,
    cli_models,
    cli_operator,
    cli_top,
    cli_train,
)
from daemon.exit_codes import EXIT_CONFIG, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED
from daemon.history_options import HistoryTools

if TYPE_CHECKING:
    from typing import TypeAlias

    from config.settings import Settings

    Commands: TypeAlias = argparse._SubParsersAction["_Parser"]


NS_PER_UNIT = {
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
DURATION = re.compile(r"(\d+(?:\.\d{1,6})?)(ms|s|m|h|d)", re.ASCII)
DURATION_NS_MAX = 3_650 * NS_PER_UNIT["d"]

MARKETS = (
    *("trending", "calm", "volatile", "regimes"),
    *("matched", "misspecified", "martingale", "flash_crash"),
)
"""Synthetic markets, as ``config.settings`` names them; a test holds the two together."""


class Refusal(Exception):  # noqa: N818 - a refused input is an outcome, not a fault
    """Input that is refused: one line on stderr for each problem, and this exit code."""

    def __init__(self, *problems: str, code: int = EXIT_REFUSED) -> None:
        """Keep a sentence for each problem and the process's exit code."""
        super().__init__(*problems)
        self.problems = problems
        self.code = code


def parse_duration_ns(text: str) -> int:
    """Parse ``500ms``, ``30s``, ``5m``, ``2h`` or ``1d`` into nanoseconds.

    Raises ValueError for a missing unit, zero, or more than ten years.
    """
    match = DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration: write a number and ms, s, m, h or d, as in 30s")
    whole, _, fraction = match[1].partition(".")
    unit_ns = NS_PER_UNIT[match[2]]
    duration_ns = int(whole) * unit_ns + int(fraction.ljust(6, "0")) * unit_ns // 1_000_000
    if not 0 < duration_ns <= DURATION_NS_MAX:
        raise ValueError(f"{text!r} is outside 1 ns to ten years")
    return duration_ns


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; nothing but our own bugs raises."""
    try:
        options = _parser().parse_args(arguments)
        code: int = options.command(options)
        sys.stdout.flush()
        return code
    except Refusal as refusal:
        return _complain(refusal)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # the reader left (as in ``| head``): keep the interpreter from flushing into it again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED


def _complain(refusal: Refusal) -> int:
    with contextlib.suppress(BrokenPipeError):
        for problem in refusal.problems:
            print(f"metaensemble: {' '.join(problem.split())}", file=sys.stderr)
    return refusal.code


class _Parser(argparse.ArgumentParser):
    """Print one line instead of the whole usage when an option is refused."""

    def error(self, message: str) -> NoReturn:
        raise Refusal(f"{message} (see {self.prog} --help)")


class _Version(argparse.Action):
    """Look the version up only when it is asked for."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        try:
            version = metadata.version("metaensemble")
        except metadata.PackageNotFoundError:
            version = "(not installed)"
        print(f"metaensemble {version}")
        parser.exit()


def _duration(text: str) -> int:
    try:
        return parse_duration_ns(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _assignment(text: str) -> str:
    name, equals, _ = text.partition("=")
    if not (name.strip() and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is no key=value, as in limits.leverage_max=0.5")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="metaensemble",
        description="Trade with an ensemble of agents, weighed by market regime, behind one gate.",
        epilog="example: metaensemble run --for 60s",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(commands)
    _add_exchange(commands)
    _add_check(commands)
    _add_doctor(commands)
    cli_operator.register(lambda *words: _add(commands, *words))
    cli_top.register(lambda *words: _add(commands, *words))
    for room in (cli_guard, cli_alert):
        room.register(
            lambda *words: _add(commands, *words),
            _add_configuration,
            lambda options: _settings(options, ()),
        )
    cli_models.register(lambda *words: _add(commands, *words))
    cli_train.register(lambda *words: _add(commands, *words), _duration, MARKETS)
    cli_backtest.register(
        HistoryTools(
            lambda *words: _add(commands, *words),
            *(_add_configuration, _duration, lambda options: _settings(options, ())),
        )
    )
    _add_replay(commands)
    cli_bench.register(lambda *words: _add(commands, *words))
    cli_feeds.register(
        cli_feeds.CommandTools(
            add=lambda *words: _add(commands, *words),
            add_configuration=_add_configuration,
            add_market=_add_market,
            duration=_duration,
            settings=lambda options: _settings(
                options, [*_venue_assignments(options), *_market_assignments(options)]
            ),
        )
    )
    return parser


def _add(commands: Commands, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    return commands.add_parser(
        name, help=summary, description=summary, epilog=f"example: {example}", allow_abbrev=False
    )


def _add_configuration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file over the preset")
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="conservative, balanced, aggressive, research or custom; balanced unless FILE says so",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=_assignment,
        metavar="KEY=VALUE",
        help="override one setting, as in limits.leverage_max=0.5; may be given again",
    )


def _add_market(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--market",
        choices=MARKETS,
        help="synthetic market; not together with --capture or --bars",
    )
    parser.add_argument(
        "--capture", type=Path, metavar="FILE", help="replay recorded streams as the market"
    )
    parser.add_argument(
        "--bars",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="play recorded bars (parquet) as the market; once per instrument, in their order",
    )
    parser.add_argument("--speed", type=float, metavar="X", help="times real time")
    parser.add_argument("--seed", type=int, metavar="N", help="of the synthetic market")
    parser.add_argument(
        "--faults", type=Path, metavar="FILE", help="YAML script of what is to go wrong, and when"
    )


def _add_run(commands: Commands) -> None:
    parser = _add(
        commands,
        "run",
        "the daemon: with no argument, preset balanced on the built-in exchange, no network needed",
        "metaensemble run --preset conservative --for 60s --json",
    )
    _add_configuration(parser)
    parser.add_argument(
        "--venue",
        choices=("sim", "binanceusdm"),
        help="sim: the built-in exchange; binanceusdm: its testnet unless the mode says live",
    )
    parser.add_argument(
        "--for", dest="duration_ns", type=_duration, metavar="TIME", help="stop after 500ms, 30s .."
    )
    _add_market(parser)
    parser.add_argument(
        "--json", action="store_true", help="end with one JSON object on the last line of stdout"
    )
    parser.add_argument(
        "--live", action="store_true", help="with live.armed: true in the file, send real orders"
    )
    parser.add_argument("--no-view", action="store_true", help="no live view on a terminal")
    parser.set_defaults(command=_run)


def _add_exchange(commands: Commands) -> None:
    parser = _add(
        commands,
        "exchange",
        "the simulated exchange alone, on loopback, until it is interrupted",
        "metaensemble exchange --market volatile --port 8443",
    )
    _add_configuration(parser)
    _add_market(parser)
    parser.add_argument("--port", type=int, metavar="N", help="0: any free port")
    parser.add_argument(
        "--plain", action="store_true", help="serve without TLS too, on another loopback port"
    )
    parser.add_argument("--json", action="store_true", help="print nothing but JSON lines")
    parser.set_defaults(command=_exchange)


def _add_check(commands: Commands) -> None:
    parser = _add(
        commands,
        "check",
        "validate configuration files, presets and model bundles; trades nothing",
        "metaensemble check /etc/metaensemble/main.yaml bundles/candidate",
    )
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="YAML files and bundle directories; none: all presets and the shipped bundle",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.set_defaults(command=_check)


def _add_doctor(commands: Commands) -> None:
    parser = _add(
        commands,
        "doctor",
        "what this machine can do, and what to do about what it cannot",
        "metaensemble doctor --json",
    )
    _add_configuration(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.set_defaults(command=_doctor)


def _add_replay(commands: Commands) -> None:
    parser = _add(
        commands,
        "replay",
        "fold a recorded run again and compare every decision, order and state bit for bit",
        "metaensemble replay ~/.local/state/metaensemble --json",
    )
    parser.add_argument(
        "journal", type=Path, metavar="JOURNAL", help="directory of the journal, or one segment"
    )
    parser.add_argument("--run", metavar="ID", help="which run; the newest unless given")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.set_defaults(command=_replay)


def _settings(options: argparse.Namespace, assignments: Sequence[str]) -> Settings:
    from config.load import ConfigError, load_settings

    try:
        return load_settings(options.preset, options.config, [*options.set, *assignments])
    except ConfigError as error:
        problems = str(error).splitlines()  # each begins with its file, or with its option
        only_options = all(problem.startswith("--") for problem in problems)
        raise Refusal(*problems, code=EXIT_REFUSED if only_options else EXIT_CONFIG) from None


def _market_assignments(options: argparse.Namespace) -> list[str]:
    """Translate the market's options into settings; later assignments win over ``--set``."""
    assignments = []
    if options.capture is not None:
        if not options.capture.is_file():
            raise Refusal(f"--capture {options.capture}: no such file")
        assignments.append(f"simulated.capture={options.capture.absolute()}")
    missing = [path for path in options.bars if not path.is_file()]
    if missing:
        raise Refusal(f"--bars {missing[0]}: no such file")
    if options.bars:
        if options.capture is not None:
            raise Refusal("--bars and --capture exclude each other")
        paths = json.dumps([str(path.absolute()) for path in options.bars])
        assignments += [f"simulated.bars={paths}", "simulated.capture="]
    if options.market is not None:
        if options.capture is not None or options.bars:
            raise Refusal("--market excludes --capture and --bars")
        assignments += ["simulated.capture=", "simulated.bars=[]"]
        assignments.append(f"simulated.market={options.market}")
    if options.faults is not None:
        if not options.faults.is_file():
            raise Refusal(f"--faults {options.faults}: no such file")
        assignments.append(f"simulated.faults={options.faults.absolute()}")
    if options.speed is not None:
        assignments.append(f"simulated.speed={options.speed}")
    if options.seed is not None:
        assignments.append(f"simulated.seed={options.seed}")
    return assignments


def _venue_assignments(options: argparse.Namespace) -> list[str]:
    """Give the venue its mode: a venue's testnet, unless the configuration itself says more."""
    if options.venue is None:
        return []
    mode = "sim" if options.venue == "sim" else _settings(options, ()).mode
    if options.venue != "sim" and mode == "sim":
        mode = "testnet"
    return [f"venue={options.venue}", f"mode={mode}"]


def _run(options: argparse.Namespace) -> int:
    from daemon.lean_start import prepare

    assignments = [*_venue_assignments(options), *_market_assignments(options)]
    settings = _settings(options, assignments)
    prepare()
    from config.load import load_settings
    from daemon import app

    def reread() -> Settings:
        return load_settings(options.preset, options.config, [*options.set, *assignments])

    show_view = not (options.no_view or options.json) and sys.stdout.isatty()
    return app.run(
        app.RunOptions(
            settings=settings,
            reread=reread,
            duration_ns=options.duration_ns,
            json_summary=options.json,
            live_flag=options.live,
            show_view=show_view,
        )
    )


def _exchange(options: argparse.Namespace) -> int:
    assignments = _market_assignments(options)
    if options.port is not None:
        assignments.append(f"simulated.port={options.port}")
    settings = _settings(options, assignments)
    from daemon.kernel_cache import prepare

    prepare()
    from daemon.simulated import foreground

    return foreground.run(
        settings.simulated, settings.instruments, is_plain=options.plain, as_json=options.json
    )


def _check(options: argparse.Namespace) -> int:
    from daemon.kernel_cache import prepare

    prepare()
    from daemon import check

    return check.run(options.files, as_json=options.json)


def _doctor(options: argparse.Namespace) -> int:
    settings = _settings(options, ())
    from daemon import doctor

    return doctor.run(settings, as_json=options.json)


def _replay(options: argparse.Namespace) -> int:
    from daemon.kernel_cache import prepare

    prepare()
    from daemon import replay

    return replay.run(options.journal, options.run, as_json=options.json)
