"""The commands that make bundles: ``train`` here, ``export`` beside it.

Options are read here; nothing heavy is loaded before a command is called.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from daemon import cli_export
from daemon.cost_options import add_trade_costs, costs_of
from daemon.exit_codes import EXIT_REFUSED
from daemon.side_by_side import HERE, add_workers, workers_of

END_NS = 2**63 - 1


def register(
    add: Callable[[str, str, str], argparse.ArgumentParser],
    duration: Callable[[str], int],
    markets: tuple[str, ...],
) -> None:
    """Add both commands."""
    cli_export.register(add)
    parser = add(
        "train",
        "train the five agents on bars and write a bundle; an interrupted training goes on",
        "metaensemble train --data btc.parquet --bar 1h --out models/btc-1h",
    )
    bars = parser.add_mutually_exclusive_group(required=True)
    bars.add_argument("--data", type=Path, metavar="FILE", help="parquet: ts open high low close")
    bars.add_argument(
        "--market", choices=markets, metavar="NAME", help=f"drawn bars: {', '.join(markets)}"
    )
    parser.add_argument(
        "--market-bars", type=int, default=20_000, metavar="N", help="of a --market (20000)"
    )
    parser.add_argument(
        "--market-seed", type=int, default=1, metavar="N", help="a --market is drawn with (1)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="bundle to write")
    parser.add_argument(
        "--bar", dest="bar_ns", type=duration, default=0, metavar="TIME", help="longer bars: 1h"
    )
    parser.add_argument("--from", dest="from_ns", type=day_ns, default=0, metavar="2020-01-01")
    parser.add_argument("--to", dest="to_ns", type=day_ns, default=END_NS, metavar="2021-01-01")
    parser.add_argument("--seed", type=int, default=7, help="of all five trainings (default 7)")
    parser.add_argument(
        "--seeds", type=int, default=1, help="bundles to make, from --seed on, each in DIR/seed-N"
    )
    add_workers(parser)
    add_trade_costs(parser)
    parser.add_argument(
        "--effort", type=float, default=1.0, help="share of the full training, for tries"
    )
    parser.add_argument(
        "--expires-days", type=int, default=180, help="refused afterwards (default 180, 0: never)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.set_defaults(command=_command)


def _command(options: argparse.Namespace) -> int:
    from daemon import train, train_seeds
    from strategy.learning.training import TrainingPlan

    try:
        workers, costs = workers_of(options), costs_of(options)
        if options.market is not None and (options.from_ns, options.to_ns) != (0, END_NS):
            raise ValueError("--from and --to belong to --data, a market begins anew")
        plan = TrainingPlan(
            seed=options.seed,
            fee_frac=costs.fee_frac + costs.slippage_frac,
            half_ticks=costs.half_ticks,
            effort_frac=options.effort,
        )
    except ValueError as error:
        print(f"metaensemble: train: {error}", file=sys.stderr)
        return EXIT_REFUSED
    asked = train.TrainOptions(
        bars_path=options.data,
        out=options.out,
        bar_ns=options.bar_ns,
        from_ns=options.from_ns,
        to_ns=options.to_ns,
        half_spread_frac=costs.half_spread_frac,
        expires_days=options.expires_days,
        plan=plan,
        as_json=options.json,
        market=options.market or "",
        market_bars=options.market_bars,
        market_seed=options.market_seed,
    )
    if options.seeds == 1 and workers == HERE:
        return train.run(asked)
    return train_seeds.run(asked, options.seeds, workers)


def day_ns(text: str) -> int:
    """Read ``2021-06-30`` or ``2021-06-30T12:00`` as UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no date such as 2021-06-30") from error
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(aware.timestamp()) * 1_000_000_000
