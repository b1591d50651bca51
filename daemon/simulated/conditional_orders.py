"""One conditional order: how it came over the wire, what it waits for, how far it got. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from daemon.simulated import venue_errors
from daemon.simulated.listings import find_listing
from daemon.simulated.order_request import (
    ConditionalType,
    OrderRequest,
    VenueOrderType,
    boolean,
    find_instrument,
    parse_order,
    read_price_ticks,
)
from daemon.simulated.venue_order import VenueOrder
from kernels.events import Side
from kernels.units import Instrument

CONDITIONAL_ORDERS_MAX = 200
"""MAX_NUM_ALGO_ORDERS of the contract's filters."""

LIMIT_TYPES = frozenset({ConditionalType.STOP, ConditionalType.TAKE_PROFIT})
STOP_TYPES = frozenset({ConditionalType.STOP, ConditionalType.STOP_MARKET})


def is_reached(side: Side, trigger_ticks: int, price_ticks: int, *, is_stop: bool) -> bool:
    """Tell whether a price has come to a trigger: a stop's from inside, a take-profit's as well.

    A stop to buy and a take-profit to sell wait above the market, the other two below it.
    """
    upward = is_stop == (side is Side.BUY)
    return price_ticks >= trigger_ticks if upward else price_ticks <= trigger_ticks


class PriceSource(StrEnum):
    """Which price releases an order."""

    CONTRACT_PRICE = "CONTRACT_PRICE"
    MARK_PRICE = "MARK_PRICE"


class ConditionalStatus(StrEnum):
    """How far a conditional order got, in the venue's words."""

    NEW = "NEW"
    CANCELED = "CANCELED"
    TRIGGERED = "TRIGGERED"
    FINISHED = "FINISHED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionalRequest:
    """A well-formed conditional order; ``order`` is what is placed when it is released.

    With ``is_close`` the quantity is that of the position at the time of release.
    """

    kind: ConditionalType
    order: OrderRequest
    trigger_ticks: int
    price_source: PriceSource
    is_close: bool
    is_price_protected: bool

    def is_released(self, price_ticks: int) -> bool:
        """Tell whether a price has reached the trigger."""
        is_stop = self.kind in STOP_TYPES
        return is_reached(self.order.side, self.trigger_ticks, price_ticks, is_stop=is_stop)


@dataclass(slots=True, kw_only=True)
class ConditionalOrder:
    """One accepted conditional order; ``released`` is the plain order that came of it."""

    algo_id: int
    request: ConditionalRequest
    created_ms: int
    updated_ms: int
    status: ConditionalStatus = ConditionalStatus.NEW
    triggered_ms: int = 0
    released: VenueOrder | None = None
    reason: str = ""


def parse_conditional(
    parameters: Mapping[str, str], instruments: tuple[Instrument, ...], generated_id: str
) -> ConditionalRequest:
    """Read POST algoOrder parameters; VenueError for anything malformed or off the filters."""
    instrument = find_instrument(parameters, instruments)
    if parameters.get("algoType", "") != "CONDITIONAL":
        raise venue_errors.missing("algoType")
    kind = _kind(parameters)
    is_close = boolean(parameters, "closePosition")
    words = dict(parameters)
    words["type"] = VenueOrderType.LIMIT if kind in LIMIT_TYPES else VenueOrderType.MARKET
    words["newClientOrderId"] = parameters.get("clientAlgoId", "") or generated_id
    words.setdefault("timeInForce", "GTC")
    if is_close:
        if parameters.get("quantity") or boolean(parameters, "reduceOnly") or kind in LIMIT_TYPES:
            raise venue_errors.close_position_with_quantity()
        words["quantity"] = find_listing(instrument.venue_id).lot_size
    order = parse_order(words, instruments, generated_id)
    return ConditionalRequest(
        kind=kind,
        order=order,
        trigger_ticks=read_price_ticks(parameters, instrument, "triggerPrice"),
        price_source=_price_source(parameters),
        is_close=is_close,
        is_price_protected=boolean(parameters, "priceProtect"),
    )


def _kind(parameters: Mapping[str, str]) -> ConditionalType:
    name = parameters.get("type", "")
    if not name:
        raise venue_errors.missing("type")
    try:
        return ConditionalType(name)
    except ValueError:
        raise venue_errors.bad_order_type() from None


def _price_source(parameters: Mapping[str, str]) -> PriceSource:
    try:
        return PriceSource(parameters.get("workingType", "") or PriceSource.CONTRACT_PRICE)
    except ValueError:
        raise venue_errors.malformed_value("workingType") from None
