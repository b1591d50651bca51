"""Is what a back-test charges what orders really cost? Implementation shortfalls against the model.

Realised cost is what orders paid beyond the mid of their decision, fee included, as a share of
what was traded; the model's is fee, half spread (at least half a tick of the book that the order
met) and slippage. Orders count by their size. The
interval is that of a ratio of sums over independent orders (Cochran 1977, 6.5), so delays, drift
and luck of single orders widen it instead of being taken for cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategy.evaluation.execution import Costs

Floats = NDArray[np.float64]

ORDERS_MIN = 30
"""Filled orders below which nothing is said."""

ERROR_FRAC_MAX = 0.20
NORMAL_95 = 1.959964
BPS = 1e4


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutedOrder:
    """One order that filled at least in part; costs in bps of the mid at its decision.

    ``price_bps`` is paid beyond that mid, ``fee_bps`` to the venue; a negative number was earned.
    ``half_tick_bps`` is half the instrument's price step.
    """

    symbol: str
    notional_quote: float
    price_bps: float
    fee_bps: float
    half_tick_bps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanCost:
    """A mean by size with its 95 % interval, in bps."""

    bps: float
    low_bps: float
    high_bps: float

    def __str__(self) -> str:
        """Write mean and interval."""
        return f"{self.bps:.2f} [{self.low_bps:.2f}, {self.high_bps:.2f}] bps"


@dataclass(frozen=True, slots=True, kw_only=True)
class CostFigures:
    """Realised cost of orders, by part, and the model's.

    ``error_frac`` is the model's excess over realised cost; ``error_low_frac`` and
    ``error_high_frac`` the same at the ends of the realised interval. All None below
    ``ORDERS_MIN`` orders, or where the interval of the realised cost reaches 0.
    """

    orders: int
    notional_quote: float
    total: MeanCost | None
    fee: MeanCost | None
    price: MeanCost | None
    modelled_bps: float
    error_frac: float | None
    error_low_frac: float | None
    error_high_frac: float | None

    @property
    def is_met(self) -> bool | None:
        """Whether the error is within ``ERROR_FRAC_MAX`` over the whole interval; None unknown."""
        if self.error_low_frac is None or self.error_high_frac is None:
            return None
        return max(abs(self.error_low_frac), abs(self.error_high_frac)) <= ERROR_FRAC_MAX


def cost_figures(orders: Sequence[ExecutedOrder], costs: Costs) -> CostFigures:
    """Hold what orders paid against what ``costs`` would have charged for them."""
    size_n = np.array([order.notional_quote for order in orders])
    price_n = np.array([order.price_bps for order in orders])
    fee_n = np.array([order.fee_bps for order in orders])
    half_n = np.array([order.half_tick_bps for order in orders]) / BPS
    charged_n = BPS * costs.trade_fracs(half_n)
    whole = float(size_n.sum())
    modelled = float(charged_n @ size_n) / whole if whole > 0.0 else BPS * costs.trade_frac
    total = fee = price = error = low = high = None
    if len(orders) >= ORDERS_MIN:
        total, fee, price = (mean_cost(x_n, size_n) for x_n in (price_n + fee_n, fee_n, price_n))
        if total.low_bps > 0.0:
            error = modelled / total.bps - 1.0
            low, high = modelled / total.high_bps - 1.0, modelled / total.low_bps - 1.0
    return CostFigures(
        orders=len(orders),
        notional_quote=whole,
        total=total,
        fee=fee,
        price=price,
        modelled_bps=modelled,
        error_frac=error,
        error_low_frac=low,
        error_high_frac=high,
    )


def mean_cost(value_n: Floats, size_n: Floats) -> MeanCost:
    """Return the mean by size of at least two values, with the interval of a ratio of sums."""
    count, whole = len(value_n), float(size_n.sum())
    mean = float(np.sum(size_n * value_n)) / whole
    apart = float(np.sum((size_n * (value_n - mean)) ** 2)) * count / (count - 1)
    half = NORMAL_95 * apart**0.5 / whole
    return MeanCost(bps=mean, low_bps=mean - half, high_bps=mean + half)
