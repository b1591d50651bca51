"""Run hftbacktest over a prepared market and order script; executed by its own interpreter.

hftbacktest pins numpy below what this project needs, so it lives in an environment of its own and
meets us only through two npz files. Nothing of ours is imported here.

usage: python hftbacktest_oracle.py SCRIPT.npz ANSWER.npz
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SUBMIT = 0
CANCEL = 1

BID_DEPTH, ASK_DEPTH, BUY_TRADE, SELL_TRADE = range(4)
"""Kinds of a market row, as the script numbers them."""


def event_array(hft: Any, rows: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """Turn market rows into hftbacktest's events, seen by exchange and strategy alike."""
    binding = importlib.import_module("hftbacktest.types")
    both = hft.EXCH_EVENT | hft.LOCAL_EVENT
    flags = np.array(
        [
            both | hft.DEPTH_EVENT | hft.BUY_EVENT,
            both | hft.DEPTH_EVENT | hft.SELL_EVENT,
            both | hft.TRADE_EVENT | hft.BUY_EVENT,
            both | hft.TRADE_EVENT | hft.SELL_EVENT,
        ],
        dtype=np.uint64,
    )
    events = np.zeros(len(rows["kind"]), dtype=binding.event_dtype)
    events["ev"] = flags[rows["kind"]]
    events["exch_ts"] = events["local_ts"] = rows["at_ns"]
    events["px"] = rows["ticks"] * float(rows["tick_size"])
    events["qty"] = rows["lots"] * float(rows["lot_size"])
    return events


def build(hft: Any, rows: dict[str, NDArray[Any]], events: NDArray[Any], takes: bool) -> Any:
    """Set up one asset under the models that ours claims to equal.

    Takers need ``PartialFillExchange``, which walks the levels. Resting orders get
    ``NoPartialFillExchange``: in 2.4.4 the other keeps an order that a trade filled exactly and
    stops with InvalidOrderStatus at the next one, and counts what it already filled again.
    The events are not copied: they must outlive the backtest.
    """
    asset = (
        hft.BacktestAsset()
        .data(events)
        .linear_asset(1.0)
        .constant_order_latency(int(rows["latency_ns"]), int(rows["latency_ns"]))
        .trading_value_fee_model(0.0, 0.0)
        .tick_size(float(rows["tick_size"]))
        .lot_size(float(rows["lot_size"]))
    )
    asset = asset.partial_fill_exchange() if takes else asset.no_partial_fill_exchange()
    if bool(rows["is_proportional"]):
        asset = asset.power_prob_queue_model(1.0)
    else:
        asset = asset.risk_adverse_queue_model()
    return hft.HashMapMarketDepthBacktest([asset])


def play(
    hft: Any, rows: dict[str, NDArray[Any]], events: NDArray[Any], takes: bool
) -> Iterator[tuple[int, list[int]]]:
    """Send the takers or the others of the script; yield (order, its row of the answer)."""
    words = importlib.import_module("hftbacktest.order")
    tifs = {0: words.GTC, 1: words.IOC, 2: words.FOK, 3: words.GTX}
    backtest = build(hft, rows, events, takes)
    tick_size, lot_size = float(rows["tick_size"]), float(rows["lot_size"])
    backtest.elapse(1)  # before the first step its clock says nothing
    for at_ns, action, key in rows["actions"].tolist():
        side, tif, ticks, lots, is_taker = rows["orders"][key].tolist()
        if bool(is_taker) is not takes:
            continue
        wait_ns = at_ns - int(backtest.current_timestamp)
        failure = backtest.elapse(wait_ns) if wait_ns > 0 else 0
        if failure:
            raise SystemExit(f"hftbacktest stopped with {failure} at {at_ns} ns")
        if action == SUBMIT:
            submit = backtest.submit_buy_order if side == 1 else backtest.submit_sell_order
            price, quantity = ticks * tick_size, lots * lot_size
            submit(0, key, price, quantity, tifs[tif], words.LIMIT, False)
            continue
        order = backtest.orders(0).get(key)
        if order is not None and order.cancellable:
            backtest.cancel(0, key, False)
    backtest.elapse(int(rows["settle_ns"]))
    for key, (_, _, _, lots, is_taker) in enumerate(rows["orders"].tolist()):
        if bool(is_taker) is takes:
            order = backtest.orders(0).get(key)
            if order is None:
                raise SystemExit(f"order {key} has no state")
            filled_lots = lots - round(order.leaves_qty / lot_size)
            last_ticks = round(order.exec_price / tick_size) if filled_lots else 0
            is_maker = int(order.arr[0]["maker"])
            yield key, [filled_lots, last_ticks, order.exch_timestamp, is_maker]


def main(script: Path, answer: Path) -> None:
    """Read the script, play it, write the answer."""
    with np.load(script, allow_pickle=False) as stored:
        rows = {name: stored[name] for name in stored.files}
    hft = importlib.import_module("hftbacktest")
    events = event_array(hft, rows)
    found = np.zeros((len(rows["orders"]), 4), dtype=np.int64)
    for takes in (False, True):
        for key, row in play(hft, rows, events, takes):
            found[key] = row
    np.savez(answer, answer=found, version=np.array(hft.__version__))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
