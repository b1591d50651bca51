"""The command ``bench``: what every stage costs here, and whether it cost less before."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from daemon.bench.stage_names import STAGE_NAMES, chosen_stages, parse_stages
from daemon.cli_operator import Add
from daemon.exit_codes import EXIT_REFUSED


def register(add: Add) -> None:
    """Add the command; ``add`` takes name, summary and example."""
    parser = add(
        "bench",
        "what every stage costs on this machine, beside a baseline timed in the same rounds",
        "metaensemble bench --only feed,features --json",
    )
    parser.add_argument(
        "--only",
        type=_stages,
        default=(),
        metavar="STAGES",
        help=f"of {', '.join(STAGE_NAMES)}; with commas",
    )
    parser.add_argument("--rounds", type=_rounds, default=7, metavar="N", help="3 to 99, 7 if left")
    parser.add_argument(
        "--capture", type=Path, metavar="FILE", help="fold this recording whole as well"
    )
    parser.add_argument(
        "--history",
        type=Path,
        metavar="DIR",
        help="keep the figures there; exit 1 where a form became slower than noise explains",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.set_defaults(command=_bench)


def _stages(text: str) -> tuple[str, ...]:
    try:
        return parse_stages(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _rounds(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 3 <= int(text[:9]) <= 99):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rounds: 3 to 99")
    return int(text)


def _bench(options: argparse.Namespace) -> int:
    from daemon.kernel_cache import prepare

    if options.capture is not None and not options.capture.is_file():
        return _refuse(f"--capture {options.capture}: no such file")
    prepare()
    from daemon.bench import command
    from daemon.bench.bench_history import HistoryError

    asked = command.BenchOptions(
        only=chosen_stages(options.only, options.capture is not None),
        rounds=options.rounds,
        capture=options.capture,
        history=options.history,
        as_json=options.json,
    )
    try:
        return command.run(asked)
    except HistoryError as error:
        return _refuse(f"--history {error}")
    except command.BenchRefusedError as error:
        return _refuse(str(error))


def _refuse(why: str) -> int:
    print(f"metaensemble: {' '.join(why.split())}", file=sys.stderr)
    return EXIT_REFUSED
