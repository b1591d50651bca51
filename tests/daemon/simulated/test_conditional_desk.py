"""The conditional desk: what releases an order, and what comes of it."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.simulated.conditional_orders import ConditionalStatus, PriceSource, parse_conditional
from daemon.simulated.exchange_warmup import open_book
from daemon.simulated.listings import listed_instruments
from daemon.simulated.venue import Venue
from daemon.simulated.venue_errors import VenueError
from kernels.events import Side, Trade
from kernels.units import E8

NOW_MS = 1_700_000_000_000
INSTRUMENTS = listed_instruments(("BTCUSDT",), maker_fee_bps=2.0, taker_fee_bps=5.0)
WORDS = {
    "symbol": "BTCUSDT",
    "algoType": "CONDITIONAL",
    "side": "SELL",
    "type": "STOP_MARKET",
    "quantity": "0.010",
    "triggerPrice": "59000.0",
}


class Floor:
    """A venue with one book around 60000 and everything it published."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        publish = self.events.append
        self.venue = Venue(
            INSTRUMENTS, 100_000 * E8, NOW_MS, publish, lambda key, event: publish(event)
        )
        self.venue.apply(open_book(), NOW_MS)

    def place(self, **words: str) -> Any:
        """Place a conditional order."""
        request = parse_conditional({**WORDS, **words}, INSTRUMENTS, f"made-{len(self.events)}")
        return self.venue.conditional.place(request, NOW_MS)

    def trade(self, price: float) -> None:
        """Print a public trade."""
        trade = Trade(
            instrument=0,
            event_ns=0,
            received_ns=0,
            trade_id=1,
            price_ticks=round(price * 10),
            quantity_lots=1,
            aggressor=Side.SELL,
        )
        self.venue.apply(trade, NOW_MS)

    def told(self) -> list[str]:
        """Return the statuses of all ALGO_UPDATE events."""
        return [event["o"]["X"] for event in self.events if event["e"] == "ALGO_UPDATE"]


@pytest.mark.parametrize(
    ("side", "kind", "trigger", "reached", "short_of"),
    [
        ("SELL", "STOP_MARKET", "59900.0", 59_900.0, 59_900.1),
        ("BUY", "STOP_MARKET", "60100.0", 60_100.0, 60_099.9),
        ("SELL", "TAKE_PROFIT_MARKET", "60100.0", 60_100.0, 60_099.9),
        ("BUY", "TAKE_PROFIT_MARKET", "59900.0", 59_900.0, 59_900.1),
    ],
)
def test_each_kind_is_released_on_its_own_side(
    side: str, kind: str, trigger: str, reached: float, short_of: float
) -> None:
    """A tick short of the trigger nothing happens; at the trigger the order is placed."""
    floor = Floor()
    order = floor.place(side=side, type=kind, triggerPrice=trigger, quantity="0.005")
    floor.trade(short_of)
    assert floor.told() == ["NEW"]
    floor.trade(reached)
    assert order.status is ConditionalStatus.TRIGGERED
    floor.venue.tick(NOW_MS)
    assert floor.told() == ["NEW", "TRIGGERED", "FINISHED"]
    assert abs(floor.venue.account.position_lots(0)) == 5


def test_refused_release_is_rejected_with_the_reason() -> None:
    """A reduce-only stop without a position is told as rejected; closePosition expires."""
    floor = Floor()
    order = floor.place(reduceOnly="true", triggerPrice="59900.0")
    floor.place(closePosition="true", quantity="", triggerPrice="59900.0")
    floor.trade(59_900.0)
    assert order.reason == "ReduceOnly Order is rejected."
    assert floor.told() == ["NEW", "NEW", "REJECTED", "EXPIRED"]


def test_trades_do_not_release_what_waits_for_the_mark() -> None:
    """The mark price stays at the mid, so a trade alone releases nothing."""
    floor = Floor()
    order = floor.place(triggerPrice="59900.0", workingType=PriceSource.MARK_PRICE)
    floor.trade(59_000.0)
    floor.venue.tick(NOW_MS)
    assert order.status is ConditionalStatus.NEW


def test_protected_order_waits_while_prices_are_apart() -> None:
    """With priceProtect a print far from the mark releases nothing."""
    floor = Floor()
    order = floor.place(triggerPrice="59900.0", priceProtect="TRUE")
    floor.trade(50_000.0)
    assert floor.told() == ["NEW"]
    floor.trade(59_890.0)
    assert order.status is ConditionalStatus.TRIGGERED


def test_room_for_conditional_orders_is_bounded() -> None:
    """The two hundred and first is refused with -4045."""
    floor = Floor()
    for number in range(200):
        floor.place(clientAlgoId=f"n{number}")
    with pytest.raises(VenueError, match="-4045"):
        floor.place()


@given(
    st.dictionaries(
        st.sampled_from([*WORDS, "price", "closePosition", "workingType", "priceProtect"]),
        st.one_of(st.text(max_size=12), st.sampled_from(["STOP", "true", "BUY", "1.5", "60000"])),
        max_size=6,
    )
)
def test_any_words_are_an_order_or_a_refusal(changed: dict[str, str]) -> None:
    """Whatever stands in the parameters, only the documented refusal is raised."""
    with contextlib.suppress(VenueError):
        request = parse_conditional({**WORDS, **changed}, INSTRUMENTS, "made")
        assert request.trigger_ticks > 0
        assert request.order.quantity_lots > 0
