"""One spot order as it came over the wire, parsed and held against the pair's filters. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from daemon.simulated import spot_errors, venue_errors
from daemon.simulated.conditional_orders import is_reached
from daemon.simulated.order_request import (
    CLIENT_ORDER_ID,
    DECIMAL,
    DECIMAL_LEGAL,
    decimal_places,
    find_instrument,
)
from kernels.events import Side
from kernels.matching import TimeInForce
from kernels.units import Instrument, to_e8

Parameters = Mapping[str, str]
DECIMALS_MAX = 8
CLIENT_ORDER_ID_LEGAL = r"^[a-zA-Z0-9-_]{1,36}$"
TIMES_IN_FORCE = ("GTC", "IOC", "FOK")


class SpotOrderType(StrEnum):
    """Order types of this exchange, in spot's words."""

    LIMIT = "LIMIT"
    MARKET = "MARKET"
    LIMIT_MAKER = "LIMIT_MAKER"
    STOP_LOSS = "STOP_LOSS"
    STOP_LOSS_LIMIT = "STOP_LOSS_LIMIT"
    TAKE_PROFIT = "TAKE_PROFIT"
    TAKE_PROFIT_LIMIT = "TAKE_PROFIT_LIMIT"


MARKET_TYPES = frozenset({SpotOrderType.MARKET, SpotOrderType.STOP_LOSS, SpotOrderType.TAKE_PROFIT})
TIMED_TYPES = frozenset(
    {SpotOrderType.LIMIT, SpotOrderType.STOP_LOSS_LIMIT, SpotOrderType.TAKE_PROFIT_LIMIT}
)
"""Types whose time in force the client chooses."""

LOSS_TYPES = frozenset({SpotOrderType.STOP_LOSS, SpotOrderType.STOP_LOSS_LIMIT})
PROFIT_TYPES = frozenset({SpotOrderType.TAKE_PROFIT, SpotOrderType.TAKE_PROFIT_LIMIT})
STOP_TYPES = LOSS_TYPES | PROFIT_TYPES
"""Types that wait for the price of a trade before they work."""


class ResponseType(StrEnum):
    """How much an order's answer tells."""

    ACK = "ACK"
    RESULT = "RESULT"
    FULL = "FULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotRequest:
    """A well-formed order.

    ``price_ticks`` is 0 for the market types, whose time in force is IOC; that of LIMIT_MAKER is
    GTX. Either ``quantity_lots`` or, for MARKET, ``spend_quote_e8`` is positive, the other is 0.
    ``stop_ticks`` is 0 for all but the stop types.
    """

    instrument: int
    side: Side
    order_type: SpotOrderType
    time_in_force: TimeInForce
    price_ticks: int
    stop_ticks: int
    quantity_lots: int
    spend_quote_e8: int
    client_order_id: str
    response: ResponseType

    @property
    def time_in_force_text(self) -> str:
        """Print the time in force; a market order and a maker order are GTC on spot's wire."""
        return self.time_in_force.name if self.order_type in TIMED_TYPES else "GTC"

    def is_released(self, price_ticks: int) -> bool:
        """Tell whether a trade at this price lets a stop order work."""
        is_stop = self.order_type in LOSS_TYPES
        return is_reached(self.side, self.stop_ticks, price_ticks, is_stop=is_stop)


def parse_spot_order(
    parameters: Parameters, instruments: tuple[Instrument, ...], generated_id: str
) -> SpotRequest:
    """Read POST order parameters; ``generated_id`` names an order sent without an id.

    VenueError for anything malformed and for PRICE_FILTER and LOT_SIZE. What depends on market and
    balances is judged when the order is placed.
    """
    instrument = find_instrument(parameters, instruments)
    side = _choice(parameters, "side", ("BUY", "SELL"), venue_errors.bad_side())
    type_name = _choice(parameters, "type", tuple(SpotOrderType), venue_errors.bad_order_type())
    order_type = SpotOrderType(type_name)
    time_in_force = _time_in_force(parameters, order_type)
    price_ticks = 0
    spend_quote_e8 = 0
    if order_type in MARKET_TYPES:
        _refuse(parameters, "price")
    else:
        price_ticks = _price_ticks(parameters, instrument, "price")
    if order_type is SpotOrderType.MARKET:
        spend_quote_e8 = _spend_quote_e8(parameters)
    else:
        _refuse(parameters, "quoteOrderQty")
    client_order_id = parameters.get("newClientOrderId", "") or generated_id
    if not CLIENT_ORDER_ID.fullmatch(client_order_id):
        raise venue_errors.illegal_characters("newClientOrderId", CLIENT_ORDER_ID_LEGAL)
    is_plain = order_type in (SpotOrderType.LIMIT, SpotOrderType.MARKET)
    default = ResponseType.FULL if is_plain else ResponseType.ACK
    response = parameters.get("newOrderRespType", "") or default
    if response not in tuple(ResponseType):
        raise venue_errors.malformed_value("newOrderRespType")
    return SpotRequest(
        instrument=instrument.index,
        side=Side.BUY if side == "BUY" else Side.SELL,
        order_type=order_type,
        time_in_force=time_in_force,
        price_ticks=price_ticks,
        stop_ticks=_stop_ticks(parameters, order_type, instrument),
        quantity_lots=0 if spend_quote_e8 else _quantity_lots(parameters, instrument),
        spend_quote_e8=spend_quote_e8,
        client_order_id=client_order_id,
        response=ResponseType(response),
    )


def _choice(
    parameters: Parameters, name: str, allowed: tuple[str, ...], error: venue_errors.VenueError
) -> str:
    text = parameters.get(name, "")
    if not text:
        raise venue_errors.missing(name)
    if text not in allowed:
        raise error
    return text


def _time_in_force(parameters: Parameters, order_type: SpotOrderType) -> TimeInForce:
    if order_type in TIMED_TYPES:
        error = venue_errors.bad_time_in_force()
        return TimeInForce[_choice(parameters, "timeInForce", TIMES_IN_FORCE, error)]
    _refuse(parameters, "timeInForce")
    return TimeInForce.IOC if order_type in MARKET_TYPES else TimeInForce.GTX


def _refuse(parameters: Parameters, name: str) -> None:
    if parameters.get(name):
        raise spot_errors.not_required(name)


def _amount_e8(parameters: Parameters, name: str) -> int:
    text = parameters.get(name, "")
    if not text:
        raise venue_errors.missing(name)
    if not DECIMAL.fullmatch(text):
        raise venue_errors.illegal_characters(name, DECIMAL_LEGAL)
    whole, point, fraction = text.partition(".")
    shortened = whole + point + (fraction.rstrip("0") or "0") if point else text
    if decimal_places(shortened) > DECIMALS_MAX:
        raise spot_errors.too_precise(name)
    return to_e8(shortened)


def _stop_ticks(parameters: Parameters, order_type: SpotOrderType, instrument: Instrument) -> int:
    """Read the price that a stop order waits for; 0 for the other types, which take none."""
    if order_type not in STOP_TYPES:
        _refuse(parameters, "stopPrice")
        _refuse(parameters, "trailingDelta")
        return 0
    if parameters.get("trailingDelta"):
        raise spot_errors.no_trailing_stops()
    if not parameters.get("stopPrice"):
        raise venue_errors.either_missing("stopPrice", "trailingDelta")
    return _price_ticks(parameters, instrument, "stopPrice")


def _price_ticks(parameters: Parameters, instrument: Instrument, name: str) -> int:
    ticks, rest = divmod(_amount_e8(parameters, name), instrument.tick_size_e8)
    if rest or ticks <= 0:
        raise spot_errors.filter_failure("PRICE_FILTER")
    return ticks


def _quantity_lots(parameters: Parameters, instrument: Instrument) -> int:
    lots, rest = divmod(_amount_e8(parameters, "quantity"), instrument.lot_size_e8)
    if rest or not instrument.lots_min <= lots <= instrument.lots_max:
        raise spot_errors.filter_failure("LOT_SIZE")
    return lots


def _spend_quote_e8(parameters: Parameters) -> int:
    """Read quoteOrderQty of a market order; 0 when it names a quantity instead."""
    if bool(parameters.get("quantity")) == bool(parameters.get("quoteOrderQty")):
        raise spot_errors.quantity_unclear()
    if parameters.get("quantity"):
        return 0
    spend_quote_e8 = _amount_e8(parameters, "quoteOrderQty")
    if spend_quote_e8 <= 0:
        raise spot_errors.filter_failure("NOTIONAL")
    return spend_quote_e8
