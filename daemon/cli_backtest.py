"""The command ``backtest``: reads its options, loads nothing heavy before it is called."""

from __future__ import annotations

import argparse
from pathlib import Path

from daemon import cli_costs, cli_evaluate, cli_residual, cli_walkforward
from daemon.history_options import HistoryTools, add_history, inputs_of, refuse


def register(tools: HistoryTools) -> None:
    """Add the command, and the others that play a history."""
    parser = tools.add(
        "backtest",
        "play a bundle over bars as the daemon would decide, net of all costs",
        "metaensemble backtest models/btc-1h --data btc.parquet --from 2022-01-01 --json",
    )
    add_history(parser, tools)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write every bar's equity, weights, votes (npz)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.set_defaults(command=lambda options: _backtest(options, tools))
    cli_evaluate.register(tools)
    cli_walkforward.register(tools)
    cli_residual.register(tools)
    cli_costs.register(tools)


def _backtest(options: argparse.Namespace, tools: HistoryTools) -> int:
    try:
        inputs = inputs_of(options, tools)
    except ValueError as error:
        return refuse(error)
    from daemon import backtesting

    return backtesting.run(inputs, options.out, as_json=options.json)
