"""One order as it came over the wire, parsed and held against the contract's filters. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from daemon.simulated import venue_errors
from daemon.simulated.listings import price_decimals, quantity_decimals
from kernels.events import Side
from kernels.matching import TimeInForce
from kernels.units import Instrument, to_e8

CLIENT_ORDER_ID = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")
DECIMAL = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
DECIMAL_LEGAL = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
ORDER_ID_DIGITS_MAX = 18


class VenueOrderType(StrEnum):
    """Order types of this exchange, in the venue's words."""

    LIMIT = "LIMIT"
    MARKET = "MARKET"


class ConditionalType(StrEnum):
    """Order types that wait for a price; they have calls of their own."""

    STOP = "STOP"
    STOP_MARKET = "STOP_MARKET"
    TAKE_PROFIT = "TAKE_PROFIT"
    TAKE_PROFIT_MARKET = "TAKE_PROFIT_MARKET"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """A well-formed order; ``price_ticks`` is 0 for MARKET, whose time in force is IOC."""

    instrument: int
    side: Side
    order_type: VenueOrderType
    time_in_force: TimeInForce
    price_ticks: int
    quantity_lots: int
    reduce_only: bool
    client_order_id: str


def find_instrument(
    parameters: Mapping[str, str], instruments: tuple[Instrument, ...]
) -> Instrument:
    """Resolve the mandatory ``symbol`` (-1102, -1121)."""
    name = parameters.get("symbol", "")
    if not name:
        raise venue_errors.missing("symbol")
    for instrument in instruments:
        if instrument.venue_id == name:
            return instrument
    raise venue_errors.bad_symbol()


def parse_order(
    parameters: Mapping[str, str], instruments: tuple[Instrument, ...], generated_id: str
) -> OrderRequest:
    """Read POST order parameters; ``generated_id`` names an order sent without an id.

    Raises VenueError for anything malformed and for PRICE_FILTER and LOT_SIZE violations. What
    depends on market and account (collar, notional, margin) is judged when the order is placed.
    """
    instrument = find_instrument(parameters, instruments)
    side = _side(parameters)
    order_type = _order_type(parameters)
    if parameters.get("positionSide", "BOTH") != "BOTH":
        raise venue_errors.position_side_mismatch()
    if order_type is VenueOrderType.LIMIT:
        time_in_force = _time_in_force(parameters)
        price_ticks = read_price_ticks(parameters, instrument)
    else:
        time_in_force = TimeInForce.IOC
        price_ticks = 0
    client_order_id = parameters.get("newClientOrderId", "") or generated_id
    if not CLIENT_ORDER_ID.fullmatch(client_order_id):
        raise venue_errors.client_order_id_invalid()
    return OrderRequest(
        instrument=instrument.index,
        side=side,
        order_type=order_type,
        time_in_force=time_in_force,
        price_ticks=price_ticks,
        quantity_lots=_quantity_lots(parameters, instrument),
        reduce_only=boolean(parameters, "reduceOnly"),
        client_order_id=client_order_id,
    )


def boolean(parameters: Mapping[str, str], name: str) -> bool:
    """Read an optional flag, false when absent (-1130)."""
    text = parameters.get(name, "false").lower()
    if text not in ("true", "false"):
        raise venue_errors.malformed_value(name)
    return text == "true"


def integer(parameters: Mapping[str, str], name: str, default: int) -> int:
    """Read an optional non-negative integer (-1130)."""
    text = parameters.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= ORDER_ID_DIGITS_MAX):
        raise venue_errors.malformed_value(name)
    return int(text)


def decimal_places(text: str) -> int:
    """Count the decimals of a plain decimal string, trailing zeros included."""
    return len(text.partition(".")[2])


def _side(parameters: Mapping[str, str]) -> Side:
    match parameters.get("side", ""):
        case "BUY":
            return Side.BUY
        case "SELL":
            return Side.SELL
        case "":
            raise venue_errors.missing("side")
        case _:
            raise venue_errors.bad_side()


def _order_type(parameters: Mapping[str, str]) -> VenueOrderType:
    name = parameters.get("type", "")
    if not name:
        raise venue_errors.missing("type")
    if name in ConditionalType.__members__:
        raise venue_errors.conditional_elsewhere()
    try:
        return VenueOrderType(name)
    except ValueError:
        raise venue_errors.bad_order_type() from None


def _time_in_force(parameters: Mapping[str, str]) -> TimeInForce:
    name = parameters.get("timeInForce", "")
    if not name:
        raise venue_errors.missing("timeInForce")
    if name not in TimeInForce.__members__:
        raise venue_errors.bad_time_in_force()
    return TimeInForce[name]


def _decimal(parameters: Mapping[str, str], name: str) -> str:
    text = parameters.get(name, "")
    if not text:
        raise venue_errors.missing(name)
    if not DECIMAL.fullmatch(text):
        raise venue_errors.illegal_characters(name, DECIMAL_LEGAL)
    whole, point, fraction = text.partition(".")
    return whole + point + (fraction.rstrip("0") or "0") if point else text


def read_price_ticks(
    parameters: Mapping[str, str], instrument: Instrument, name: str = "price"
) -> int:
    """Read a mandatory price and hold it against PRICE_FILTER (-1102, -1111, -4014, -4001)."""
    text = _decimal(parameters, name)
    if decimal_places(text) > price_decimals(instrument):
        raise venue_errors.too_precise()
    ticks, rest = divmod(to_e8(text), instrument.tick_size_e8)
    if rest:
        raise venue_errors.price_off_tick()
    if ticks <= 0:
        raise venue_errors.price_not_positive()
    return ticks


def _quantity_lots(parameters: Mapping[str, str], instrument: Instrument) -> int:
    text = _decimal(parameters, "quantity")
    if decimal_places(text) > quantity_decimals(instrument):
        raise venue_errors.too_precise()
    lots, rest = divmod(to_e8(text), instrument.lot_size_e8)
    if rest:
        raise venue_errors.quantity_off_step()
    if lots <= 0:
        raise venue_errors.quantity_not_positive()
    if lots < instrument.lots_min:
        raise venue_errors.quantity_too_small()
    if lots > instrument.lots_max:
        raise venue_errors.quantity_too_large()
    return lots
