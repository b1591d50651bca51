"""Compiled loops over rows of events: no Python between one event and the next."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels import feature_events
from kernels.jit import njit


@njit
def nothing(value: int) -> int:
    """Return the argument: what a call into compiled code costs by itself."""
    return value


@njit
def fold_quotes(state: NDArray[np.float64], quotes_n5: NDArray[np.int64]) -> None:
    """Fold rows of received_ns, bid_ticks, bid_lots, ask_ticks, ask_lots into a feature state."""
    for i in range(quotes_n5.shape[0]):
        feature_events.on_quote(
            state,
            quotes_n5[i, 0],
            quotes_n5[i, 1],
            quotes_n5[i, 2],
            quotes_n5[i, 3],
            quotes_n5[i, 4],
        )


@njit
def fold_quotes_and_trades(
    state: NDArray[np.float64], quotes_n5: NDArray[np.int64], trades_n3: NDArray[np.int64]
) -> None:
    """Fold each quote, then the trade of the same row: price_ticks, quantity_lots, sign.

    The trade comes at its quote's time. Both arrays have the same number of rows.
    """
    for i in range(quotes_n5.shape[0]):
        now_ns = quotes_n5[i, 0]
        feature_events.on_quote(
            state, now_ns, quotes_n5[i, 1], quotes_n5[i, 2], quotes_n5[i, 3], quotes_n5[i, 4]
        )
        feature_events.on_trade(state, now_ns, trades_n3[i, 0], trades_n3[i, 1], trades_n3[i, 2])
