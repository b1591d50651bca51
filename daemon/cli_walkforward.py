"""The command ``walkforward``: reads its options, loads nothing heavy before it is called."""

from __future__ import annotations

import argparse
from pathlib import Path

from daemon.history_options import HistoryTools, add_bars, inputs_of, refuse
from daemon.side_by_side import add_workers, workers_of


def register(tools: HistoryTools) -> None:
    """Add the command."""
    parser = tools.add(
        "walkforward",
        "train on what came before and judge what comes next, fold by fold; can be interrupted",
        "metaensemble walkforward --data btc.parquet --bar 1h --folds 4 --out walk",
    )
    add_bars(parser, tools)
    parser.add_argument(
        "--folds", type=int, default=4, help="pieces that judge (4; 0: --judge only)"
    )
    parser.add_argument(
        "--first", type=float, default=0.5, help="share of bars before the first test (0.5)"
    )
    parser.add_argument("--seed", type=int, default=7, help="of training and resampling (7)")
    parser.add_argument(
        "--effort", type=float, default=1.0, help="share of the full training, for tries"
    )
    parser.add_argument(
        "--judge",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="other bars, on which a bundle of all bars is judged; may be given again",
    )
    parser.add_argument(
        "--seeds", type=int, default=1, help="bundles that --judge judges, from --seed on (1)"
    )
    parser.add_argument(
        "--readme", type=Path, metavar="FILE", help="write the results between its marks"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="of all folds")
    add_workers(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.set_defaults(command=lambda options: _walk(options, tools))


def _walk(options: argparse.Namespace, tools: HistoryTools) -> int:
    options.bundle = options.out
    try:
        inputs = inputs_of(options, tools)
        from daemon import walkforward
        from strategy.learning.training import TrainingPlan

        walk = walkforward.WalkOptions(
            inputs=inputs,
            plan=TrainingPlan(
                seed=options.seed,
                fee_frac=inputs.costs.fee_frac + inputs.costs.slippage_frac,
                half_ticks=inputs.costs.half_ticks,
                effort_frac=options.effort,
            ),
            folds=options.folds,
            first_frac=options.first,
            out=options.out,
            as_json=options.json,
            judges=tuple(options.judge),
            seeds=options.seeds,
            readme=options.readme,
            workers=workers_of(options),
        )
    except ValueError as error:
        return refuse(error)
    return walkforward.run(walk)
