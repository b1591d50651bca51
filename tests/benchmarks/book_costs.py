"""What taking so much from a recorded book costs beyond its mid: evidence for the default charge.

    python -m tests.benchmarks.book_costs --capture FILE [--contract-quote 100]

Once a second of the recording the asks are bought up to each value. Printed are half the spread,
and for each value the mean price beyond the mid and the 95 % quantile, in bps. Coin-margined books
count contracts: ``--contract-quote`` says what one is worth.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

VALUES_QUOTE = (10_000.0, 25_000.0, 100_000.0, 500_000.0)
EVERY_NS = 1_000_000_000
BPS = 1e4

Side = dict[float, float]


def books(path: Path) -> Iterator[tuple[Side, Side]]:
    """Yield bids and asks, price to quantity, once a second from the snapshot on."""
    bids: Side = {}
    asks: Side = {}
    early: list[dict[str, Any]] = []
    known, last_ns = -1, 0
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            received, document = line.split(" ", 1)
            message = json.loads(document)
            message = message.get("data", message)
            if "lastUpdateId" in message:
                known = message["lastUpdateId"]
                bids, asks = (
                    {float(price): float(quantity) for price, quantity in message[name]}
                    for name in ("bids", "asks")
                )
                due, early = early, []
            elif message.get("e") == "depthUpdate" and known < 0:
                early.append(message)
                continue
            elif message.get("e") == "depthUpdate":
                due = [message]
            else:
                continue
            for update in due:
                if update["u"] > known:
                    _apply(bids, update["b"])
                    _apply(asks, update["a"])
            if int(received) - last_ns >= EVERY_NS:
                last_ns = int(received)
                yield bids, asks


def taken_bps(bids: Side, asks: Side, value_quote: float, contract_quote: float) -> float | None:
    """Return what buying this value costs beyond the mid; None where the book is not so deep."""
    mid = 0.5 * (max(bids) + min(asks))
    left, paid = value_quote, 0.0
    for price, quantity in sorted(asks.items()):
        part = min(left, quantity * (contract_quote or price))
        paid += part * (price / mid - 1.0)
        left -= part
        if left <= 0.0:
            return BPS * paid / value_quote
    return None


def _apply(side: Side, levels: list[list[str]]) -> None:
    for price, quantity in levels:
        if float(quantity) == 0.0:
            side.pop(float(price), None)
        else:
            side[float(price)] = float(quantity)


def main() -> None:
    """Read one recording and print what its books asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--capture", type=Path, required=True)
    parser.add_argument("--contract-quote", type=float, default=0.0)
    options = parser.parse_args()
    half: list[float] = []
    taken: dict[float, list[float]] = {value: [] for value in VALUES_QUOTE}
    for bids, asks in books(options.capture):
        top, bottom = max(bids), min(asks)
        half.append(BPS * (bottom - top) / (top + bottom))
        for value in VALUES_QUOTE:
            cost = taken_bps(bids, asks, value, options.contract_quote)
            if cost is not None:
                taken[value].append(cost)
    print(f"{options.capture.name}: {len(half)} books, half spread {np.mean(half):.4f} bps")
    for value, costs in taken.items():
        if costs:
            print(
                f"  {value:>9,.0f}: {np.mean(costs):.3f} bps, 95 % below "
                f"{np.quantile(costs, 0.95):.3f} ({len(costs)} books deep enough)"
            )


if __name__ == "__main__":
    main()
