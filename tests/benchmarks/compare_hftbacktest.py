"""Hold our matching against hftbacktest, order by order, on a recorded market; prints a table.

The same script of passive and aggressive orders, with the same latency, meets the same recorded
depth and trades in both. A row of the table is one kind of order. "agrees": filled lots, last price
and maker or taker are equal and the last fill came within one market event of the other's.

usage: python tests/benchmarks/compare_hftbacktest.py --oracle-python PYTHON [--capture FILE]
PYTHON is the interpreter of an environment that holds ``hftbacktest`` (pip install hftbacktest).

Ours is played twice. Under ``Liquidity.WHOLE`` it assumes what hftbacktest assumes, that nobody
notices us: there 95 in 100 filled orders must agree. Under ``Liquidity.PRINTED``, the rule of the
exchange, we never get more than was traded or shown, and each difference must be one that is gone
where volume does not bind. Exit status 0 when both hold and no order is left without explanation.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from daemon.simulated.capture_source import CaptureSource
from daemon.simulated.listings import listed_instruments
from kernels.book import Book
from kernels.events import DepthDiff, DepthSnapshot, Side, Trade
from kernels.matching import Execution, Liquidity, Matcher, QueueModel, TimeInForce
from kernels.units import Instrument

SHARED = Path(__file__).resolve().parents[2].parent / "shared/data"
CAPTURE = SHARED / "captures/binance_usdm_btcusdt_20240808.gz"
BOOK_CAPACITY = 8_192
BLOCK_NS = 30_000_000_000
"""Buys and sells take turns for so long, so that no order of ours meets another."""
AGREE_FRAC_MIN = 0.95
SUBMIT, CANCEL = 0, 1
BID_DEPTH, ASK_DEPTH, BUY_TRADE, SELL_TRADE = range(4)

KINDS = (
    "post at touch",
    "post behind",
    "rest at touch",
    "cross the touch",
    "take touch",
    "take deep",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """A recorded market as both engines read it; ``moments`` are the times of its events, ns."""

    instrument: Instrument
    opening: DepthSnapshot
    events: list[DepthDiff | Trade]
    moments: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedOrder:
    """One order: sent at, cancelled at (elapsed ns) and what it asks for."""

    kind: int
    at_ns: int
    cancel_ns: int
    side: int
    time_in_force: TimeInForce
    ticks: int
    lots: int


@dataclass(slots=True)
class Outcome:
    """What became of one order: lots filled, of these as taker; price and times of its fills."""

    filled_lots: int = 0
    took_lots: int = 0
    last_ticks: int = 0
    first_ns: int = 0
    filled_ns: int = 0
    is_maker: bool = False


def read_market(capture: Path) -> Market:
    """Read the capture's depth and trades, from the snapshot on, each at a moment of its own."""
    instruments = listed_instruments(("BTC/USDT:USDT",), maker_fee_bps=0.0, taker_fee_bps=0.0)
    book = Book(BOOK_CAPACITY)
    held: list[DepthDiff] = []
    events: list[DepthDiff | Trade] = []
    moments: list[int] = []
    opened_ns = -1
    for frame in CaptureSource(capture, instruments).frames():
        event = frame.event
        if isinstance(event, DepthSnapshot):
            book.load(event)
            for diff in held:
                if diff.last_update_id >= event.last_update_id:
                    book.apply(diff)
            opened_ns = frame.due_ns
        elif isinstance(event, DepthDiff) and opened_ns < 0:
            held.append(event)
        elif isinstance(event, DepthDiff | Trade) and opened_ns >= 0:
            events.append(event)
            last_ns = moments[-1] if moments else opened_ns
            moments.append(max(frame.due_ns, last_ns + 1))
    opening = DepthSnapshot(
        instrument=0,
        event_ns=opened_ns,
        received_ns=opened_ns,
        last_update_id=book.last_update_id,
        bid_levels_n2=book.levels(Side.BUY, BOOK_CAPACITY),
        ask_levels_n2=book.levels(Side.SELL, BOOK_CAPACITY),
    )
    return Market(
        instrument=instruments[0],
        opening=opening,
        events=events,
        moments=np.array(moments, dtype=np.int64),
    )


def write_script(market: Market, count: int, latency_ns: int, seed: int) -> list[ScriptedOrder]:
    """Draw orders around the touch that was displayed at the time of sending.

    No two of ours rest at one price at one time: hftbacktest would let each eat the same trade.
    """
    generator = np.random.default_rng(seed)
    start_ns = int(market.moments[0]) + 1_000_000_000
    end_ns = int(market.moments[-1]) - 2 * latency_ns - 1_000_000_000
    sent = np.sort(generator.integers(start_ns, end_ns, count))
    book = Book(BOOK_CAPACITY)
    book.load(market.opening)
    orders: list[ScriptedOrder] = []
    resting: dict[int, int] = {}
    at = 0
    for at_ns in sent.tolist():
        while at < len(market.events) and market.moments[at] < at_ns:
            event = market.events[at]
            if isinstance(event, DepthDiff):
                book.apply(event)
            at += 1
        block_end_ns = (at_ns // BLOCK_NS + 1) * BLOCK_NS - 4 * latency_ns - 1
        if at_ns + 4 * latency_ns >= min(block_end_ns, end_ns):
            continue
        side = 1 if at_ns // BLOCK_NS % 2 else -1
        bid, _, ask, _ = book.best()
        own, other = (bid, ask) if side == 1 else (ask, bid)
        kind = int(generator.integers(0, len(KINDS)))
        behind, lots = int(generator.integers(1, 60)), int(generator.integers(1, 21))
        reach, deep = int(generator.integers(0, 3)), int(generator.integers(200, 5_000))
        tif, ticks, lots = (
            (TimeInForce.GTX, own, lots),
            (TimeInForce.GTX, own - side * behind, lots),
            (TimeInForce.GTC, own, lots),
            (TimeInForce.GTC, other, lots),
            (TimeInForce.IOC, other + side * reach, lots),
            (TimeInForce.IOC, other + side * 10 * (1 + reach), deep),
        )[kind]
        dwell_ns = int(generator.exponential(8e9)) + 4 * latency_ns
        cancel_ns = min(at_ns + dwell_ns, block_end_ns, end_ns)
        if resting.get(ticks, 0) >= at_ns:
            continue
        if tif is not TimeInForce.IOC:
            resting[ticks] = cancel_ns + 2 * latency_ns
        orders.append(
            ScriptedOrder(
                kind=kind,
                at_ns=at_ns,
                cancel_ns=cancel_ns,
                side=side,
                time_in_force=tif,
                ticks=ticks,
                lots=lots,
            )
        )
    return orders


def actions_of(orders: list[ScriptedOrder]) -> list[tuple[int, int, int]]:
    """List (time, SUBMIT or CANCEL, order) in order of time."""
    submits = [(order.at_ns, SUBMIT, key) for key, order in enumerate(orders)]
    cancels = [
        (order.cancel_ns, CANCEL, key)
        for key, order in enumerate(orders)
        if order.time_in_force is not TimeInForce.IOC
    ]
    return sorted(submits + cancels)


def play_ours(
    market: Market,
    orders: list[ScriptedOrder],
    latency_ns: int,
    queue_model: QueueModel,
    liquidity: Liquidity,
) -> list[Outcome]:
    """Run the script through ``Matcher``; orders and cancels arrive one latency after sending."""
    matcher = Matcher(Book(BOOK_CAPACITY), len(orders) + 1, queue_model, liquidity)
    matcher.load(market.opening)
    outcomes = [Outcome() for _ in orders]

    def note(executions: tuple[Execution, ...], at_ns: int) -> None:
        for execution in executions:
            outcome = outcomes[execution.order_key]
            outcome.filled_lots += execution.quantity_lots
            outcome.took_lots += 0 if execution.is_maker else execution.quantity_lots
            outcome.last_ticks = execution.price_ticks
            outcome.first_ns = outcome.first_ns or at_ns
            outcome.filled_ns = at_ns
            outcome.is_maker = execution.is_maker

    waiting = iter([(at_ns + latency_ns, action, key) for at_ns, action, key in actions_of(orders)])
    arriving = next(waiting, None)
    for at_ns, event in zip(market.moments.tolist(), market.events, strict=True):
        while arriving is not None and arriving[0] <= at_ns:
            arrived_ns, action, key = arriving
            order = orders[key]
            if action == CANCEL:
                matcher.cancel(key)
            else:
                placement = matcher.place(
                    key, Side(order.side), order.time_in_force, order.ticks, order.lots
                )
                note(placement.executions, arrived_ns)
            arriving = next(waiting, None)
        if isinstance(event, Trade):
            fills = matcher.on_trade(event.price_ticks, event.quantity_lots, event.aggressor)
            note(fills, at_ns)
        else:
            note(matcher.on_diff(event), at_ns)
    return outcomes


def market_rows(market: Market) -> Iterator[tuple[int, int, int, int]]:
    """Yield (ns, kind, ticks, lots) for every level and trade, the opening book first."""
    opening_ns = int(market.moments[0]) - 1
    for ticks, lots in market.opening.bid_levels_n2.tolist():
        yield opening_ns, BID_DEPTH, ticks, lots
    for ticks, lots in market.opening.ask_levels_n2.tolist():
        yield opening_ns, ASK_DEPTH, ticks, lots
    for at_ns, event in zip(market.moments.tolist(), market.events, strict=True):
        if isinstance(event, Trade):
            kind = BUY_TRADE if event.aggressor is Side.BUY else SELL_TRADE
            yield at_ns, kind, event.price_ticks, event.quantity_lots
            continue
        for ticks, lots in event.bid_levels_n2.tolist():
            yield at_ns, BID_DEPTH, ticks, lots
        for ticks, lots in event.ask_levels_n2.tolist():
            yield at_ns, ASK_DEPTH, ticks, lots


def play_theirs(
    market: Market,
    orders: list[ScriptedOrder],
    latency_ns: int,
    queue_model: QueueModel,
    oracle_python: str,
) -> tuple[list[Outcome], str]:
    """Let hftbacktest play the same script in its own interpreter; return its version too."""
    rows = np.array(list(market_rows(market)), dtype=np.int64)
    with tempfile.TemporaryDirectory() as folder:
        script, answer = Path(folder) / "script.npz", Path(folder) / "answer.npz"
        np.savez(
            script,
            at_ns=rows[:, 0],
            kind=rows[:, 1],
            ticks=rows[:, 2],
            lots=rows[:, 3],
            actions=np.array(actions_of(orders), dtype=np.int64),
            orders=np.array(
                [
                    (
                        o.side,
                        int(o.time_in_force),
                        o.ticks,
                        o.lots,
                        o.time_in_force is TimeInForce.IOC,
                    )
                    for o in orders
                ],
                dtype=np.int64,
            ),
            latency_ns=np.array(latency_ns),
            settle_ns=np.array(4 * latency_ns),
            tick_size=np.array(market.instrument.tick_size),
            lot_size=np.array(market.instrument.lot_size),
            is_proportional=np.array(queue_model is QueueModel.PROPORTIONAL),
        )
        oracle = Path(__file__).with_name("hftbacktest_oracle.py")
        subprocess.run([oracle_python, str(oracle), str(script), str(answer)], check=True)
        with np.load(answer, allow_pickle=False) as stored:
            found, version = stored["answer"], str(stored["version"])
    return [
        Outcome(
            filled_lots=filled_lots,
            last_ticks=ticks if filled_lots else 0,
            first_ns=at_ns if filled_lots else 0,
            filled_ns=at_ns if filled_lots else 0,
            is_maker=bool(is_maker) if filled_lots else False,
        )
        for filled_lots, ticks, at_ns, is_maker in found.tolist()
    ], version


def moment_of(market: Market, at_ns: int) -> int:
    """Return how many market events had happened by a time."""
    return int(np.searchsorted(market.moments, at_ns, side="right"))


def agree(market: Market, ours: Outcome, theirs: Outcome) -> bool:
    """Say whether two outcomes are one: lots, last price, side, and time within one event."""
    same = (ours.filled_lots, ours.last_ticks, ours.is_maker) == (
        theirs.filled_lots,
        theirs.last_ticks,
        theirs.is_maker,
    )
    apart = moment_of(market, ours.filled_ns) - moment_of(market, theirs.filled_ns)
    return same and abs(apart) <= 1


def explain(order: ScriptedOrder, ours: Outcome, whole: Outcome, theirs: Outcome) -> str:
    """Name the cause of a difference; empty when there is none known.

    ``whole`` is our outcome where volume does not bind: a difference gone there was volume.
    """
    crossed = order.time_in_force is TimeInForce.GTC and whole.took_lots > 0
    if crossed and whole.took_lots < order.lots and theirs.filled_lots == order.lots:
        return "crossing GTC beyond the touch: theirs fills all at the touch, ours rests the rest"
    if (whole.filled_lots, whole.last_ticks, whole.filled_ns) != (
        theirs.filled_lots,
        theirs.last_ticks,
        theirs.filled_ns,
    ):
        return ""
    if order.time_in_force is TimeInForce.IOC:
        return "taker on a level that an order of ours had eaten: theirs leave no trace"
    if ours.first_ns == theirs.filled_ns:
        return "reached at the same event; the trade was smaller than the order, theirs fills whole"
    return "trade shared with another order of ours: theirs lets each have all of it"


def compare(
    market: Market, orders: list[ScriptedOrder], options: argparse.Namespace, model: QueueModel
) -> bool:
    """Play one queue model in both engines and print its table; True when all is well."""
    latency_ns = options.latency_us * 1_000
    theirs, version = play_theirs(market, orders, latency_ns, model, options.oracle_python)
    whole = play_ours(market, orders, latency_ns, model, Liquidity.WHOLE)
    printed = play_ours(market, orders, latency_ns, model, Liquidity.PRINTED)
    is_well = True
    print(f"\nqueue model {model.name}, against hftbacktest {version}")
    for liquidity, ours in ((Liquidity.WHOLE, whole), (Liquidity.PRINTED, printed)):
        sent: Counter[int] = Counter()
        filled: Counter[int] = Counter()
        agreed: Counter[int] = Counter()
        agreed_filled = 0
        causes: Counter[str] = Counter()
        for order, mine, most, other in zip(orders, ours, whole, theirs, strict=True):
            sent[order.kind] += 1
            is_filled = mine.filled_lots > 0 or other.filled_lots > 0
            filled[order.kind] += is_filled
            if agree(market, mine, other):
                agreed[order.kind] += 1
                agreed_filled += is_filled
            else:
                causes[explain(order, mine, most, other) or "NOT EXPLAINED"] += 1
        print(f"\n  liquidity {liquidity.name:18} {'sent':>6} {'filled':>7} {'agree':>6}")
        for kind, name in enumerate(KINDS):
            print(f"  {name:28} {sent[kind]:6} {filled[kind]:7} {agreed[kind]:6}")
        share = agreed_filled / max(filled.total(), 1)
        counts = f"{sent.total():6} {filled.total():7} {agreed.total():6}"
        print(f"  {'all':28} {counts}   {share:.1%} of the filled orders agree")
        for cause, count in causes.most_common():
            print(f"  {count:5}  {cause}")
        is_well = is_well and not causes["NOT EXPLAINED"]
        is_well = is_well and (liquidity is Liquidity.PRINTED or share >= AGREE_FRAC_MIN)
    return is_well


def main(arguments: list[str]) -> int:
    """Run the comparison under both queue models."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--oracle-python", required=True, help="interpreter that has hftbacktest")
    parser.add_argument("--capture", type=Path, default=CAPTURE)
    parser.add_argument("--orders", type=int, default=2_000, help="drawn; some cannot be sent")
    parser.add_argument("--latency-us", type=int, default=5_000, help="order in and answer out")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    market = read_market(options.capture)
    orders = write_script(market, options.orders, options.latency_us * 1_000, options.seed)
    span_s = (market.moments[-1] - market.moments[0]) / 1e9
    print(f"{len(market.events)} depth updates and trades in {span_s:.0f} s, {len(orders)} orders")
    print("agree: equal lots, last price and side, last fill within one market event")
    results = [compare(market, orders, options, model) for model in QueueModel]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
