"""Options of the commands that play a history; nothing heavy is loaded before they are read."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.cli_train import END_NS, day_ns
from daemon.cost_options import add_costs, costs_of

if TYPE_CHECKING:
    from config.settings import Settings
    from daemon.evaluation_inputs import Inputs


@dataclass(frozen=True, slots=True)
class HistoryTools:
    """What the command line's own file lends."""

    add: Callable[[str, str, str], argparse.ArgumentParser]
    add_configuration: Callable[[argparse.ArgumentParser], None]
    duration: Callable[[str], int]
    settings: Callable[[argparse.Namespace], Settings]


def add_history(parser: argparse.ArgumentParser, tools: HistoryTools) -> None:
    """Add what every command asks for that plays a bundle over a history."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle directory")
    add_bars(parser, tools)
    parser.add_argument("--ledger", type=Path, metavar="FILE", help="of trials; beside BUNDLE")


def add_bars(parser: argparse.ArgumentParser, tools: HistoryTools) -> None:
    """Add bars, costs and configuration."""
    parser.add_argument(
        "--data", type=Path, required=True, metavar="FILE", help="parquet: ts open high low close"
    )
    parser.add_argument(
        "--bar", dest="bar_ns", type=tools.duration, default=0, metavar="TIME", help="longer bars"
    )
    parser.add_argument("--from", dest="from_ns", type=day_ns, default=0, metavar="2022-01-01")
    parser.add_argument("--to", dest="to_ns", type=day_ns, default=END_NS, metavar="2023-01-01")
    add_costs(parser)
    parser.add_argument("--delay", type=int, default=0, metavar="BARS", help="fill so much later")
    parser.add_argument(
        "--equity", type=float, default=100_000.0, help="that limits are held against (100000)"
    )
    tools.add_configuration(parser)


def inputs_of(options: argparse.Namespace, tools: HistoryTools) -> Inputs:
    """Return what ``add_history`` asked for; ValueError for numbers out of range."""
    costs = costs_of(options)
    from daemon.evaluation_inputs import Inputs

    if not (options.equity > 0.0 and 0 <= options.delay <= 1_000):
        raise ValueError(f"--equity {options.equity:g} and --delay {options.delay} out of range")
    return Inputs(
        bundle_path=options.bundle,
        bars_path=options.data,
        bar_ns=options.bar_ns,
        from_ns=options.from_ns,
        to_ns=options.to_ns,
        costs=costs,
        delay_bars=options.delay,
        equity_quote=options.equity,
        settings=tools.settings(options),
        ledger_path=getattr(options, "ledger", None),
    )


def refuse(error: Exception) -> int:
    """Say in one line why an option is refused; return the exit code."""
    import sys

    from daemon.exit_codes import EXIT_REFUSED

    print(f"metaensemble: {error}", file=sys.stderr)
    return EXIT_REFUSED
