"""The command ``predictor``: reads its options, loads nothing heavy before it is called."""

from __future__ import annotations

import argparse
from pathlib import Path

from daemon.history_options import HistoryTools, refuse


def register(tools: HistoryTools) -> None:
    """Add the command."""
    parser = tools.add(
        "predictor",
        "fit the performance predictor to a walk's shadow log; writes a candidate bundle",
        "metaensemble predictor models/btc-1h --walk walk --out models/btc-1h-residual",
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle that is copied")
    parser.add_argument(
        "--walk", type=Path, required=True, metavar="DIR", help="folder that walkforward wrote"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="bundle to write")
    parser.add_argument("--seed", type=int, default=7, help="of the fit (default 7)")
    tools.add_configuration(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.set_defaults(command=lambda options: _train(options, tools))


def _train(options: argparse.Namespace, tools: HistoryTools) -> int:
    from daemon.kernel_cache import prepare

    prepare()
    from daemon import residual_training

    try:
        wanted = residual_training.ResidualOptions(
            walk=options.walk,
            bundle=options.bundle,
            out=options.out,
            meta=tools.settings(options).meta,
            seed=options.seed,
            as_json=options.json,
        )
    except ValueError as error:
        return refuse(error)
    return residual_training.run(wanted)
