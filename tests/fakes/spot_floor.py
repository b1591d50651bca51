"""Spot's venue without sockets: one book that stands still, and every event it published."""

from __future__ import annotations

from typing import Any

import numpy as np

from daemon.simulated.spot_listings import spot_instruments
from daemon.simulated.spot_order import SpotOrder
from daemon.simulated.spot_request import parse_spot_order
from daemon.simulated.spot_venue import SpotVenue
from kernels.events import DepthSnapshot, Side, Trade
from kernels.units import E8, Instrument, from_e8

NOW_MS = 1_700_000_000_000
BID, ASK = 6_000_000, 6_000_001
SHOWN = 100_000
OPENING_QUOTE_E8 = 100_000 * E8


def pair() -> Instrument:
    """Give BTC/USDT with a fee of 10 bps."""
    return spot_instruments(("BTC/USDT",), first_index=0, maker_fee_bps=10.0, taker_fee_bps=10.0)[0]


class Floor:
    """A venue with one book of ten levels a side, and everything it published."""

    def __init__(self) -> None:
        """Open the book."""
        self.events: list[dict[str, Any]] = []
        self.instrument = pair()
        self.venue = SpotVenue((self.instrument,), OPENING_QUOTE_E8, self.events.append)
        self.venue.apply(
            DepthSnapshot(
                instrument=0,
                event_ns=0,
                received_ns=0,
                last_update_id=1,
                bid_levels_n2=np.array([[BID - i, SHOWN] for i in range(10)], dtype=np.int64),
                ask_levels_n2=np.array([[ASK + i, SHOWN] for i in range(10)], dtype=np.int64),
            ),
            NOW_MS,
        )

    def place(self, side: str, kind: str, **parameters: object) -> SpotOrder:
        """Place an order in the words of the wire."""
        given = {"symbol": "BTCUSDT", "side": side, "type": kind}
        given |= {name: str(value) for name, value in parameters.items()}
        if kind == "LIMIT":
            given.setdefault("timeInForce", "GTC")
        request = parse_spot_order(given, self.venue.instruments, f"order-{len(self.events)}")
        return self.venue.desk.place(request, NOW_MS)

    def trade(self, price_ticks: int, lots: int, aggressor: Side) -> None:
        """Let somebody else trade."""
        self.venue.apply(
            Trade(
                instrument=0,
                event_ns=0,
                received_ns=0,
                trade_id=1,
                price_ticks=price_ticks,
                quantity_lots=lots,
                aggressor=aggressor,
            ),
            NOW_MS,
        )


def price(ticks: int) -> str:
    """Print ticks for the wire."""
    return from_e8(ticks * 1_000_000)
