"""Time nautilus_trader from a quote tick to OrderSubmitted; executed by its own interpreter.

usage: python nautilus_ticks.py [TICKS]

A back-test engine with its logging bypassed and its order rate raised, one instrument, one strategy
that answers every quote with a limit order. The clock runs from ``DataEngine.process`` through
strategy, risk engine and execution engine until the strategy is told that its order was submitted.
What is not in it: decoding of bytes, features, networks, weights, a journal, a signature. Prints
one JSON object with ``version``, ``orders`` and ``p50_ns``, ``p99_ns``.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any

FIRST_TICKS = 20
SPACING_NS = 1_000_000


def load() -> dict[str, Any]:
    """Import what is used of nautilus_trader; its modules are not known here."""
    names = {
        "nautilus_trader.backtest.engine": ("BacktestEngine", "BacktestEngineConfig"),
        "nautilus_trader.config": ("LoggingConfig", "RiskEngineConfig", "StrategyConfig"),
        "nautilus_trader.model.currencies": ("USDT",),
        "nautilus_trader.model.data": ("QuoteTick",),
        "nautilus_trader.model.enums": ("AccountType", "OmsType", "OrderSide"),
        "nautilus_trader.model.identifiers": ("Venue",),
        "nautilus_trader.model.objects": ("Money", "Price", "Quantity"),
        "nautilus_trader.test_kit.providers": ("TestInstrumentProvider",),
        "nautilus_trader.trading.strategy": ("Strategy",),
    }
    return {
        name: getattr(importlib.import_module(module), name)
        for module, wanted in names.items()
        for name in wanted
    }


def answering_strategy(n: dict[str, Any], instrument: Any) -> Any:
    """Make a strategy that bids at every quote and notes when it hears of the submission."""
    base: Any = n["Strategy"]

    class Answering(base):  # type: ignore[misc]  # it comes from another environment
        def __init__(self) -> None:
            super().__init__(n["StrategyConfig"]())
            self.heard_ns = 0

        def on_start(self) -> None:
            self.subscribe_quote_ticks(instrument.id)

        def on_quote_tick(self, quote: Any) -> None:
            quantity = n["Quantity"].from_str("0.001")
            side = n["OrderSide"].BUY
            order = self.order_factory.limit(instrument.id, side, quantity, quote.bid_price)
            self.submit_order(order)

        def on_order_submitted(self, event: Any) -> None:
            self.heard_ns = time.perf_counter_ns()

    return Answering()


def engine_with(n: dict[str, Any], instrument: Any, strategy: Any) -> Any:
    """Build an engine that denies nothing and writes nothing."""
    engine = n["BacktestEngine"](
        n["BacktestEngineConfig"](
            logging=n["LoggingConfig"](bypass_logging=True),
            risk_engine=n["RiskEngineConfig"](max_order_submit_rate="1000000/00:00:01"),
        )
    )
    engine.add_venue(
        venue=n["Venue"]("BINANCE"),
        oms_type=n["OmsType"].NETTING,
        account_type=n["AccountType"].MARGIN,
        base_currency=None,
        starting_balances=[n["Money"](10_000_000, n["USDT"])],
    )
    engine.add_instrument(instrument)
    engine.add_strategy(strategy)
    return engine


def main(tick_count: int) -> None:
    """Start the engine on a few ticks, then time each of the others by itself."""
    n = load()
    instrument = n["TestInstrumentProvider"].btcusdt_perp_binance()

    def tick(number: int) -> Any:
        bid = 60_000 + number % 50 * 0.1
        size, at_ns = n["Quantity"].from_str("5.000"), number * SPACING_NS
        prices = n["Price"](bid, 1), n["Price"](bid + 0.1, 1)
        return n["QuoteTick"](instrument.id, *prices, size, size, at_ns, at_ns)

    strategy = answering_strategy(n, instrument)
    engine = engine_with(n, instrument, strategy)
    engine.add_data([tick(number) for number in range(1, FIRST_TICKS)])
    engine.run(streaming=True)
    process = engine.kernel.data_engine.process
    taken_ns = []
    for number in range(FIRST_TICKS, FIRST_TICKS + tick_count):
        quote = tick(number)
        began_ns = time.perf_counter_ns()
        process(quote)
        if strategy.heard_ns > began_ns:
            taken_ns.append(strategy.heard_ns - began_ns)
    taken_ns.sort()
    found = {
        "version": importlib.import_module("nautilus_trader").__version__,
        "orders": len(taken_ns),
        "p50_ns": taken_ns[len(taken_ns) // 2],
        "p99_ns": taken_ns[len(taken_ns) * 99 // 100],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3_000)
