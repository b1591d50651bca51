"""Order requests: every filter refuses with the venue's own code, everything else passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.simulated.listings import LISTINGS, listed_instruments
from daemon.simulated.order_request import VenueOrderType, parse_order
from daemon.simulated.venue_errors import VenueError
from daemon.simulated.wire_text import price_wire, quantity_wire
from kernels.events import Side
from kernels.matching import TimeInForce

INSTRUMENTS = listed_instruments(
    [listing.symbol for listing in LISTINGS], maker_fee_bps=2.0, taker_fee_bps=5.0
)
GOOD = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "timeInForce": "IOC",
    "price": "60000.10",
    "quantity": "0.010",
    "newClientOrderId": "me-1",
}


@given(
    instrument=st.sampled_from(INSTRUMENTS),
    price_ticks=st.integers(min_value=1, max_value=2**31),
    lots=st.integers(min_value=1, max_value=1_000_000),
    side=st.sampled_from(list(Side)),
    time_in_force=st.sampled_from(list(TimeInForce)),
)
def test_wire_text_comes_back_as_the_same_integers(
    instrument: object, price_ticks: int, lots: int, side: Side, time_in_force: TimeInForce
) -> None:
    """What the exchange prints of a price and a quantity, it reads back exactly."""
    chosen = next(each for each in INSTRUMENTS if each is instrument)
    request = parse_order(
        {
            "symbol": chosen.venue_id,
            "side": side.name,
            "type": "LIMIT",
            "timeInForce": time_in_force.name,
            "price": price_wire(chosen, price_ticks),
            "quantity": quantity_wire(chosen, lots),
            "reduceOnly": "true",
        },
        INSTRUMENTS,
        "generated",
    )
    assert (request.instrument, request.price_ticks, request.quantity_lots) == (
        chosen.index,
        price_ticks,
        lots,
    )
    assert (request.side, request.time_in_force) == (side, time_in_force)
    assert request.reduce_only
    assert request.client_order_id == "generated"


def test_market_order_has_no_price() -> None:
    """A market order is an immediate order without a limit of its own."""
    market = {name: GOOD[name] for name in ("symbol", "side", "quantity")} | {"type": "MARKET"}
    request = parse_order(market, INSTRUMENTS, "g")
    assert request.order_type is VenueOrderType.MARKET
    assert (request.price_ticks, request.time_in_force) == (0, TimeInForce.IOC)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"symbol": ""}, -1102),
        ({"symbol": "DOGEUSDT"}, -1121),
        ({"side": "HOLD"}, -1117),
        ({"side": ""}, -1102),
        ({"type": "STOP_MARKET"}, -4120),
        ({"type": "TRAILING"}, -1116),
        ({"type": ""}, -1102),
        ({"timeInForce": "GTD"}, -1115),
        ({"timeInForce": ""}, -1102),
        ({"price": ""}, -1102),
        ({"price": "1e5"}, -1100),
        ({"price": "-60000"}, -1100),
        ({"price": "nan"}, -1100),
        ({"price": "60000.05"}, -4014),
        ({"price": "60000.001"}, -1111),
        ({"price": "0.00"}, -4001),
        ({"quantity": "0"}, -4003),
        ({"quantity": "0.0001"}, -1111),
        ({"quantity": "1000.001"}, -4005),
        ({"quantity": "٣"}, -1100),
        ({"newClientOrderId": "a" * 37}, -4015),
        ({"newClientOrderId": "no blank"}, -4015),
        ({"positionSide": "LONG"}, -4061),
        ({"reduceOnly": "yes"}, -1130),
    ],
)
def test_violation_has_its_own_code(change: dict[str, str], code: int) -> None:
    """Each spoiled field of a good order is refused for that field."""
    parse_order(GOOD, INSTRUMENTS, "g")
    with pytest.raises(VenueError) as caught:
        parse_order(GOOD | change, INSTRUMENTS, "g")
    assert caught.value.code == code
