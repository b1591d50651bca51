"""The command ``costs``: reads its options, loads nothing heavy before it is called."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from daemon.cost_options import add_costs, costs_of
from daemon.history_options import HistoryTools, refuse
from daemon.places import journal_directory


def register(tools: HistoryTools) -> None:
    """Add the command."""
    parser = tools.add(
        "costs",
        "what the orders of past runs cost, beside what a back-test charges for them",
        "metaensemble costs ~/.local/state/metaensemble/paper --fee-bps 5",
    )
    parser.add_argument(
        "journal",
        nargs="?",
        type=Path,
        metavar="JOURNAL",
        help="directory of a mode's journal, or its file; the user's unless given",
    )
    add_costs(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.set_defaults(command=_costs)


def _costs(options: argparse.Namespace) -> int:
    try:
        costs = costs_of(options)
    except ValueError as error:
        return refuse(error)
    from daemon import cost_report

    journal = options.journal or journal_directory("", os.environ)
    return cost_report.run(journal, costs, as_json=options.json)
