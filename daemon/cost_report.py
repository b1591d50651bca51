"""``metaensemble costs``: what orders of past runs really cost, beside what a back-test charges.

The model is judged as given, and once more as fitted: fee and price of the earlier half of the
orders are charged to the later half, so that nobody is judged on what taught him.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from daemon.executed_orders import ExecutedOrders, NoOrdersError, executed_orders
from daemon.exit_codes import EXIT_DONE, EXIT_FAILED, EXIT_REFUSED
from strategy.evaluation.cost_figures import (
    BPS,
    ERROR_FRAC_MAX,
    ORDERS_MIN,
    CostFigures,
    ExecutedOrder,
    cost_figures,
)
from strategy.evaluation.execution import Costs
from strategy.evaluation.figures import UNDEFINED
from strategy.evaluation.report_lines import met_words


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedCosts:
    """Costs that the earlier half of the orders showed, and how the later half agrees with them.

    Half spread and slippage cannot be told apart in a shortfall: all of it stands as slippage.
    """

    costs: Costs
    later: CostFigures


def run(journal: Path, costs: Costs, *, as_json: bool) -> int:
    """Tell what orders cost; 0 the model holds or too few orders, 1 it does not, 2 no journal."""
    try:
        found = executed_orders(journal)
    except (NoOrdersError, OSError) as error:
        print(f"metaensemble: {error}", file=sys.stderr)
        return EXIT_REFUSED
    answer = report(found, costs)
    print(json.dumps(answer) if as_json else "\n".join(_lines(answer)))
    return EXIT_FAILED if answer["all"]["is_met"] is False else EXIT_DONE


def report(found: ExecutedOrders, costs: Costs) -> dict[str, Any]:
    """Return all figures of a journal's orders under these costs."""
    fitted = fit(found.orders, costs)
    return {
        "schema": 1,
        "journal": str(found.journal),
        "runs": list(found.runs),
        "all": _words(cost_figures(found.orders, costs)),
        "instruments": {
            symbol: _words(
                cost_figures([each for each in found.orders if each.symbol == symbol], costs)
            )
            for symbol in dict.fromkeys(order.symbol for order in found.orders)
        },
        "fitted": None
        if fitted is None
        else {"costs": asdict(fitted.costs), "later_half": _words(fitted.later)},
        "delay_ms_p50": median(found.delays_ms) if found.delays_ms else None,
        "maker_frac": found.maker_frac,
        "unfilled_frac": found.unfilled_frac,
        "undecided": found.undecided,
        "unvalued": found.unvalued,
    }


def fit(orders: Sequence[ExecutedOrder], costs: Costs) -> FittedCosts | None:
    """Fit fee and slippage to the earlier half; None where either half is too small.

    A price better than the mid on average is charged as 0: a back-test is not paid for luck.
    """
    half = len(orders) // 2
    earlier = cost_figures(orders[:half], costs)
    if earlier.fee is None or earlier.price is None:
        return None
    shown = replace(
        costs,
        fee_frac=max(earlier.fee.bps, 0.0) / BPS,
        half_spread_frac=0.0,
        half_ticks=0.0,
        slippage_frac=max(earlier.price.bps, 0.0) / BPS,
    )
    return FittedCosts(costs=shown, later=cost_figures(orders[half:], shown))


def _words(figures: CostFigures) -> dict[str, Any]:
    return {**asdict(figures), "is_met": figures.is_met}


def _lines(answer: dict[str, Any]) -> Iterator[str]:
    whole, fitted = answer["all"], answer["fitted"]
    yield (
        f"{whole['orders']:,} filled orders of {len(answer['runs'])} run(s) in "
        f"{answer['journal']}, {whole['notional_quote']:,.0f} quote traded"
    )
    yield (
        f"  {'':18s}{'paid, bps':24s}{'of it fee':>10s}{'price':>22s}{'charged':>9s}{'error':>24s}"
    )
    for name, row in (*answer["instruments"].items(), ("all", whole)):
        yield f"  {name:18s}" + _row(row)
    if answer["delay_ms_p50"] is not None:
        yield (
            f"  decision to fill {answer['delay_ms_p50']:.1f} ms (median), "
            f"{answer['maker_frac']:.0%} as maker, {answer['unfilled_frac']:.1%} not filled"
        )
    for count, what in (
        (answer["undecided"], "came from no decision"),
        (answer["unvalued"], "belong to runs whose event log is gone"),
    ):
        if count:
            yield f"  {count:,} orders {what}: not priced"
    if fitted is not None:
        costs = fitted["costs"]
        yield (
            f"  the earlier half shows --fee-bps {BPS * costs['fee_frac']:.2f} "
            "--half-spread-bps 0 --half-ticks 0 "
            f"--slippage-bps {BPS * costs['slippage_frac']:.2f}; "
            f"its error on the later half: {error_words(fitted['later_half'])}"
        )
    yield f"  {met_words(whole['is_met'])} R8 charged within {ERROR_FRAC_MAX:.0%} of what was paid"


def _row(row: dict[str, Any]) -> str:
    if row["total"] is None:
        return f"insufficient: {row['orders']} orders, {ORDERS_MIN} are needed"
    total, fee, price = (_mean(row[part]) for part in ("total", "fee", "price"))
    return (
        f"{total:24s}{fee.split()[0]:>10s}{price:>22s}{row['modelled_bps']:>9.2f}"
        f"{error_words(row):>24s}"
    )


def _mean(part: dict[str, float]) -> str:
    return f"{part['bps']:+.2f} [{part['low_bps']:+.2f}, {part['high_bps']:+.2f}]"


def error_words(row: dict[str, Any]) -> str:
    """Write the model's error with its interval, or that it is undefined."""
    if row["error_frac"] is None:
        return UNDEFINED
    return f"{row['error_frac']:+.1%} [{row['error_low_frac']:+.1%}, {row['error_high_frac']:+.1%}]"
