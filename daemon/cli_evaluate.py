"""The command ``evaluate``: reads its options, loads nothing heavy before it is called."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from daemon.cli_train import day_ns
from daemon.history_options import HistoryTools, add_history, inputs_of, refuse


def register(tools: HistoryTools) -> None:
    """Add the command."""
    parser = tools.add(
        "evaluate",
        "judge a bundle on bars: rivals, intervals, leak detectors, trials counted, one headline",
        "metaensemble evaluate models/btc-1h --data btc.parquet --test-from 2022-01-01 --json",
    )
    add_history(parser, tools)
    parser.add_argument(
        "--test-from",
        type=day_ns,
        default=0,
        metavar="2022-01-01",
        help="bars before only teach; by default what the training saw, or a fifth",
    )
    parser.add_argument("--seed", type=int, default=7, help="of all resampling (default 7)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("evaluation_results"),
        metavar="DIR",
        help="where the report goes (evaluation_results)",
    )
    parser.add_argument(
        "--seal",
        type=Path,
        metavar="FILE",
        help="later bars that nobody has looked at: they judge, once, and it is recorded",
    )
    parser.add_argument(
        "--again", action="store_true", help="look at sealed bars once more; every report says so"
    )
    parser.add_argument(
        "--thorough", action="store_true", help="look for leaks in 100,000 decisions (minutes)"
    )
    parser.add_argument(
        "--journal",
        type=Path,
        metavar="DIR",
        help="of past runs: the costs are held against what its orders paid (see costs)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.set_defaults(command=lambda options: _evaluate(options, tools))


def _evaluate(options: argparse.Namespace, tools: HistoryTools) -> int:
    try:
        inputs = inputs_of(options, tools)
    except ValueError as error:
        return refuse(error)
    from daemon import evaluation

    return evaluation.run(
        evaluation.EvaluationOptions(
            inputs=replace(inputs, sealed_path=options.seal),
            is_again=options.again,
            is_thorough=options.thorough,
            journal_path=options.journal,
            test_from_ns=options.test_from,
            seed=options.seed,
            out=options.out,
            as_json=options.json,
        )
    )
