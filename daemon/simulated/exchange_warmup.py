"""Compile what the exchange's process needs before the first client waits for it."""

from __future__ import annotations

import numpy as np

from daemon.simulated.listings import listed_instruments
from daemon.simulated.order_request import OrderRequest, VenueOrderType
from daemon.simulated.spot_listings import spot_instruments
from daemon.simulated.spot_request import parse_spot_order
from daemon.simulated.spot_venue import SpotVenue
from daemon.simulated.venue import Venue
from kernels.events import DepthDiff, DepthSnapshot, Side, Trade
from kernels.matching import TimeInForce
from kernels.units import E8

BID_TICKS = 600_000
ASK_TICKS = 600_010
SHOWN_LOTS = 10
ORDER_LOTS = 5


def warm_up() -> None:
    """Run book, matching and ledger once, on a market that nobody sees."""
    instruments = listed_instruments(("BTCUSDT",), maker_fee_bps=0.0, taker_fee_bps=0.0)
    venue = Venue(instruments, 1_000 * E8, 0, lambda document: None, lambda key, document: None)
    snapshot = open_book()
    venue.apply(snapshot, 0)
    venue.desk.place(_buy(TimeInForce.IOC, ASK_TICKS), 0)
    resting = venue.desk.place(_buy(TimeInForce.GTC, BID_TICKS), 0)
    diff = DepthDiff(
        instrument=0,
        event_ns=0,
        received_ns=0,
        first_update_id=2,
        last_update_id=2,
        previous_update_id=1,
        bid_levels_n2=snapshot.bid_levels_n2,
        ask_levels_n2=snapshot.ask_levels_n2,
    )
    venue.apply(diff, 0)
    trade = Trade(
        instrument=0,
        event_ns=0,
        received_ns=0,
        trade_id=1,
        price_ticks=BID_TICKS,
        quantity_lots=SHOWN_LOTS + 1,
        aggressor=Side.SELL,
    )
    venue.apply(trade, 0)
    venue.renew_mark(0)
    venue.desk.cancel(resting, 0)
    venue.tick(0)
    _warm_up_spot(snapshot)


def _warm_up_spot(snapshot: DepthSnapshot) -> None:
    """Buy once on spot, whose market orders look at the displayed levels first."""
    pairs = spot_instruments(("BTC/USDT",), first_index=0, maker_fee_bps=0.0, taker_fee_bps=0.0)
    venue = SpotVenue(pairs, 1_000 * E8, lambda document: None)
    venue.apply(snapshot, 0)
    terms = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.001"}
    venue.desk.place(parse_spot_order(terms, pairs, "warm"), 0)


def open_book() -> DepthSnapshot:
    """Give a book of one level a side, a tick apart from 60000."""
    return DepthSnapshot(
        instrument=0,
        event_ns=0,
        received_ns=0,
        last_update_id=1,
        bid_levels_n2=np.array([[BID_TICKS, SHOWN_LOTS]], dtype=np.int64),
        ask_levels_n2=np.array([[ASK_TICKS, SHOWN_LOTS]], dtype=np.int64),
    )


def _buy(time_in_force: TimeInForce, price_ticks: int) -> OrderRequest:
    return OrderRequest(
        instrument=0,
        side=Side.BUY,
        order_type=VenueOrderType.LIMIT,
        time_in_force=time_in_force,
        price_ticks=price_ticks,
        quantity_lots=ORDER_LOTS,
        reduce_only=False,
        client_order_id=time_in_force.name,
    )
