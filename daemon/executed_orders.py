"""What the orders of past runs cost, read from a journal: the runs' side of R8.

The journal names decisions, intents and fills; what a tick of a lot is worth stands at the head of
the run's event log. Orders that came from no decision (closing, flattening) were decided at no
price and are counted, not priced.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from daemon.event_frames import LogCorruptError, read_records
from daemon.event_log import DIRECTORY, segments
from daemon.event_words import WordsError, decode_facts
from daemon.identity import RUN_ID_LENGTH
from daemon.journal_reader import FillRow, IntentRow, JournalUnreadableError, read_orders
from daemon.shortfall import Execution, measure
from kernels.units import E8
from strategy.evaluation.cost_figures import BPS, ExecutedOrder

JOURNAL_FILE = "journal.sqlite"
NS_PER_MS = 1e6


class NoOrdersError(ValueError):
    """There is no journal to read orders from; the sentence is for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutedOrders:
    """The orders of all runs of a journal that filled, and what is known of the others.

    ``delays_ms`` from the decision to the first fill, one for each order; ``maker_frac`` of what
    filled, ``unfilled_frac`` of what was asked for, both by value. ``undecided`` orders had no
    decision's price, ``unvalued`` belong to runs whose event log is gone.
    """

    journal: Path
    runs: tuple[str, ...]
    orders: tuple[ExecutedOrder, ...]
    delays_ms: tuple[float, ...]
    maker_frac: float
    unfilled_frac: float
    undecided: int
    unvalued: int


def executed_orders(place: Path) -> ExecutedOrders:
    """Read every order of a journal: its file, its directory, or the one above with one mode in it.

    Raises NoOrdersError where there is none or it cannot be read.
    """
    path = find_journal(place)
    try:
        intents, fills = read_orders(path)
    except JournalUnreadableError as error:
        raise NoOrdersError(f"cannot be read: {error}") from error
    return _measured(path, intents, fills, _values(path.parent / DIRECTORY))


def find_journal(place: Path) -> Path:
    """Return the journal's file; NoOrdersError where there is none, or one for several modes."""
    if place.is_file():
        return place
    below = place / JOURNAL_FILE
    found = [below] if below.is_file() else sorted(place.glob(f"*/{JOURNAL_FILE}"))
    if len(found) != 1:
        what = "holds no journal" if not found else f"holds {len(found)} journals: name one"
        raise NoOrdersError(f"{place} {what}")
    return found[0]


def _values(directory: Path) -> dict[tuple[str, str], int]:
    """Return what a tick of a lot is worth, in 1e-8 quote, by run and symbol."""
    values: dict[tuple[str, str], int] = {}
    seen: set[str] = set()
    for path in segments(directory):
        run_id = path.name[:RUN_ID_LENGTH]
        if run_id in seen:
            continue
        seen.add(run_id)
        try:
            facts = decode_facts(next(iter(read_records(path))).payload)
        except (LogCorruptError, WordsError, StopIteration, OSError) as error:
            raise NoOrdersError(f"{path} does not say what was traded: {error}") from error
        for instrument in facts.instruments:
            values[run_id, instrument.symbol] = instrument.tick_lot_quote_e8
    return values


def _measured(
    path: Path,
    intents: list[IntentRow],
    fills: list[FillRow],
    values: Mapping[tuple[str, str], int],
) -> ExecutedOrders:
    by_order: dict[str, list[FillRow]] = defaultdict(list)
    for fill in fills:
        by_order[fill[0]].append(fill)
    orders: list[ExecutedOrder] = []
    delays_ms: list[float] = []
    undecided = unvalued = 0
    asked = filled = made = 0.0
    for order_id, run_id, symbol, side, quantity_lots, decided_ns, mid_ticks in intents:
        value_e8 = values.get((run_id, symbol))
        undecided += not mid_ticks
        unvalued += bool(mid_ticks) and value_e8 is None
        if not mid_ticks or value_e8 is None:
            continue
        own, lot_quote = by_order[order_id], mid_ticks * value_e8 / E8
        found = measure(
            side=side,
            decision_mid_ticks=mid_ticks,
            quantity_lots=quantity_lots,
            tick_lot_quote_e8=value_e8,
            fills=[
                Execution(price_ticks=price, quantity_lots=lots, fee_quote_e8=fee)
                for _, price, lots, fee, _, _ in own
            ],
            delay_ns=own[0][4] - decided_ns if own else None,
        )
        asked += quantity_lots * lot_quote
        filled += found.filled_lots * lot_quote
        made += sum(fill[2] for fill in own if fill[5]) * lot_quote
        if found.price_bps is None or found.fee_bps is None or found.delay_ns is None:
            continue
        orders.append(
            ExecutedOrder(
                symbol=symbol,
                notional_quote=found.filled_lots * lot_quote,
                price_bps=found.price_bps,
                fee_bps=found.fee_bps,
                half_tick_bps=0.5 * BPS / mid_ticks,
            )
        )
        delays_ms.append(found.delay_ns / NS_PER_MS)
    return ExecutedOrders(
        journal=path,
        runs=tuple(dict.fromkeys(intent[1] for intent in intents)),
        orders=tuple(orders),
        delays_ms=tuple(delays_ms),
        maker_frac=made / filled if filled else 0.0,
        unfilled_frac=1.0 - filled / asked if asked else 0.0,
        undecided=undecided,
        unvalued=unvalued,
    )
