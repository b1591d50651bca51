"""The commands that look at a venue's feed and send nothing: ``record`` and ``watch``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from config.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandTools:
    """What the command line lends: ways to add options, and to read them into settings."""

    add: Callable[[str, str, str], argparse.ArgumentParser]
    add_configuration: Callable[[argparse.ArgumentParser], None]
    add_market: Callable[[argparse.ArgumentParser], None]
    duration: Callable[[str], int]
    settings: Callable[[argparse.Namespace], Settings]


def register(tools: CommandTools) -> None:
    """Add both commands."""
    record = tools.add(
        "record",
        "write a venue's raw public streams to a file that --capture replays; sends no order",
        "metaensemble record --venue binanceusdm --out btc.gz --for 60s",
    )
    record.add_argument("--out", type=Path, required=True, metavar="FILE", help="gzip, new")
    watch = tools.add(
        "watch",
        "a venue's feed alone, its verdicts and counts; any exchange of ccxt.pro; sends no order",
        "metaensemble watch --venue ccxt:kraken --set 'instruments=[BTC/USD]' --for 10s",
    )
    venues = "sim, binanceusdm, or binance (spot)"
    for parser, more in ((record, ""), (watch, ", or ccxt:NAME with the guarantees of ccxt.pro")):
        tools.add_configuration(parser)
        tools.add_market(parser)
        parser.add_argument("--venue", metavar="VENUE", help=f"{venues}{more}")
        parser.add_argument(
            "--for", dest="duration_ns", type=tools.duration, metavar="TIME", help="stop after 30s"
        )
        parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    record.set_defaults(command=_recorder(tools))
    watch.set_defaults(command=_watcher(tools))


def _recorder(tools: CommandTools) -> Callable[[argparse.Namespace], int]:
    def command(options: argparse.Namespace) -> int:
        settings = tools.settings(options)
        from daemon import record

        return record.run(settings, options.out, options.duration_ns, as_json=options.json)

    return command


def _watcher(tools: CommandTools) -> Callable[[argparse.Namespace], int]:
    def command(options: argparse.Namespace) -> int:
        settings = tools.settings(options)
        from daemon import watch

        return watch.run(settings, options.duration_ns, as_json=options.json)

    return command
