"""Options that say what trading costs; nothing heavy is loaded before they are read."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strategy.evaluation.execution import Costs


def add_costs(parser: argparse.ArgumentParser) -> None:
    """Add what trading and holding cost."""
    add_trade_costs(parser)
    _add_bps(parser, "funding", 1.0, "per eight hours, paid by longs and received by shorts")


def add_trade_costs(parser: argparse.ArgumentParser) -> None:
    """Add what trading costs, the same for training and judging; holding is free."""
    parser.set_defaults(funding_bps=0.0)
    _add_bps(parser, "fee", 5.0, "paid on what is traded")
    _add_bps(parser, "half-spread", 0.1, "paid as well, more where the bars' price step is wider")
    _add_bps(parser, "slippage", 0.25, "beyond the touch, paid as well")
    parser.add_argument(
        "--half-ticks",
        type=float,
        default=1.0,
        metavar="N",
        help="half a spread is at least N half price steps of the bars (default 1; 0: ignore them)",
    )


def costs_of(options: argparse.Namespace) -> Costs:
    """Return what either of them asked for; ValueError for numbers out of range.

    Before anything is loaded it is settled where compiled kernels are kept.
    """
    from daemon.kernel_cache import prepare

    prepare()
    from strategy.evaluation.execution import Costs

    return Costs(
        fee_frac=options.fee_bps / 1e4,
        half_spread_frac=options.half_spread_bps / 1e4,
        slippage_frac=options.slippage_bps / 1e4,
        funding_frac=options.funding_bps / 1e4,
        half_ticks=options.half_ticks,
    )


def _add_bps(parser: argparse.ArgumentParser, name: str, default: float, what: str) -> None:
    parser.add_argument(
        f"--{name}-bps", type=float, default=default, help=f"{what} (default {default:g})"
    )
