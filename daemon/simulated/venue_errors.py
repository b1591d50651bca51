"""The venue's refusals: Binance USD-M error codes, texts and HTTP statuses.

Source: the public error-code page of Binance USD-M futures.
"""

from __future__ import annotations


class VenueError(Exception):
    """A request refused by the exchange; answered as ``{"code": .., "msg": ..}``."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        """Keep the venue's code, its text and the HTTP status of the answer."""
        self.code = code
        self.message = message
        self.status = status
        super().__init__(f"{code} {message}")

    def document(self) -> dict[str, object]:
        """Return the JSON document of the answer."""
        return {"code": self.code, "msg": self.message}


def unavailable() -> VenueError:
    """-1001: there is no book yet; nothing was executed."""
    return VenueError(
        -1001, "Internal error; unable to process your request. Please try again.", 503
    )


def stale_timestamp() -> VenueError:
    """-1021: older than recvWindow."""
    return VenueError(-1021, "Timestamp for this request is outside of the recvWindow.")


def early_timestamp() -> VenueError:
    """-1021: more than a second ahead of the venue's clock."""
    return VenueError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")


def bad_signature() -> VenueError:
    """-1022: the HMAC does not belong to the request."""
    return VenueError(-1022, "Signature for this request is not valid.")


def illegal_characters(name: str, legal: str) -> VenueError:
    """-1100: a parameter's text is outside its alphabet."""
    return VenueError(
        -1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'."
    )


def duplicate_parameter() -> VenueError:
    """-1101: a parameter came more than once."""
    return VenueError(-1101, "Duplicate values for a parameter detected.")


def missing(name: str) -> VenueError:
    """-1102: a mandatory parameter is absent, empty or malformed."""
    return VenueError(
        -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
    )


def either_missing(first: str, second: str) -> VenueError:
    """-1102: one of two parameters must be sent."""
    return VenueError(
        -1102, f"Param '{first}' or '{second}' must be sent, but both were empty/null!"
    )


def too_precise() -> VenueError:
    """-1111: more decimals than the asset has."""
    return VenueError(-1111, "Precision is over the maximum defined for this asset.")


def bad_time_in_force() -> VenueError:
    """-1115: none of GTC, IOC, FOK, GTX."""
    return VenueError(-1115, "Invalid timeInForce.")


def bad_order_type() -> VenueError:
    """-1116: neither LIMIT nor MARKET."""
    return VenueError(-1116, "Invalid orderType.")


def bad_side() -> VenueError:
    """-1117: neither BUY nor SELL."""
    return VenueError(-1117, "Invalid side.")


def bad_symbol() -> VenueError:
    """-1121: not listed in this run."""
    return VenueError(-1121, "Invalid symbol.")


def unknown_listen_key() -> VenueError:
    """-1125: no user stream is open."""
    return VenueError(-1125, "This listenKey does not exist.")


def malformed_value(name: str) -> VenueError:
    """-1130: a value that the parameter cannot take."""
    return VenueError(-1130, f"Data sent for parameter '{name}' is not valid.")


def nothing_to_cancel() -> VenueError:
    """-2011: no such working order."""
    return VenueError(-2011, "Unknown order sent.")


def no_such_order() -> VenueError:
    """-2013: never seen, or forgotten."""
    return VenueError(-2013, "Order does not exist.")


def bad_api_key() -> VenueError:
    """-2014: no key was sent."""
    return VenueError(-2014, "API-key format invalid.", 401)


def rejected_api_key() -> VenueError:
    """-2015: a key that is not ours."""
    return VenueError(-2015, "Invalid API-key, IP, or permissions for action.", 401)


def margin_insufficient() -> VenueError:
    """-2019: the available balance does not carry the order."""
    return VenueError(-2019, "Margin is insufficient.")


def reduce_only_rejected() -> VenueError:
    """-2022: a reduce-only order with nothing to reduce."""
    return VenueError(-2022, "ReduceOnly Order is rejected.")


def leverage_invalid() -> VenueError:
    """-4028: outside 1 to 125."""
    return VenueError(-4028, "Leverage is not valid")


def quantity_not_positive() -> VenueError:
    """-4003: zero."""
    return VenueError(-4003, "Quantity less than or equal to zero.")


def quantity_too_small() -> VenueError:
    """-4004: below LOT_SIZE minQty."""
    return VenueError(-4004, "Quantity less than min quantity.")


def quantity_too_large() -> VenueError:
    """-4005: above LOT_SIZE maxQty."""
    return VenueError(-4005, "Quantity greater than max quantity.")


def price_not_positive() -> VenueError:
    """-4001: zero."""
    return VenueError(-4001, "Price less than 0.")


def price_off_tick() -> VenueError:
    """-4014: PRICE_FILTER."""
    return VenueError(-4014, "Price not increased by tick size.")


def client_order_id_invalid() -> VenueError:
    """-4015: alphabet or length."""
    return VenueError(-4015, "Client order id is not valid.")


def price_too_high(limit: str) -> VenueError:
    """-4016: PERCENT_PRICE, buying."""
    return VenueError(-4016, f"Limit price can't be higher than {limit}.")


def price_too_low(limit: str) -> VenueError:
    """-4024: PERCENT_PRICE, selling."""
    return VenueError(-4024, f"Limit price can't be lower than {limit}.")


def depth_limit_invalid() -> VenueError:
    """-4021: not one of the limits the depth call knows."""
    return VenueError(-4021, "Invalid depth limit.")


def quantity_off_step() -> VenueError:
    """-4023: LOT_SIZE stepSize."""
    return VenueError(-4023, "Qty not increased by step size.")


def margin_type_unchanged() -> VenueError:
    """-4046: cross margin stays cross."""
    return VenueError(-4046, "No need to change margin type.")


def margin_type_fixed() -> VenueError:
    """-4047: only cross margin exists here."""
    return VenueError(-4047, "Margin type cannot be changed if there exists open orders.")


def position_side_unchanged() -> VenueError:
    """-4059: one-way stays one-way."""
    return VenueError(-4059, "No need to change position side.")


def position_side_mismatch() -> VenueError:
    """-4061: hedge-mode orders on a one-way account."""
    return VenueError(-4061, "Order's position side does not match user's setting.")


def duplicate_client_order_id() -> VenueError:
    """-4116: the id was used before."""
    return VenueError(-4116, "ClientOrderId is duplicated.")


def notional_too_small(minimum: str) -> VenueError:
    """-4164: MIN_NOTIONAL."""
    return VenueError(
        -4164,
        f"Order's notional must be no smaller than {minimum} (unless you choose reduce only).",
    )


def unknown_path(method: str, path: str) -> VenueError:
    """-5000: no such endpoint."""
    return VenueError(-5000, f"Path {path}, Method {method} is invalid", 404)


def fok_rejected() -> VenueError:
    """-5021: fill-or-kill that could not fill."""
    return VenueError(
        -5021,
        "Due to the order could not be filled immediately, the FOK order has been rejected. "
        "The order will not be recorded in the order history",
    )


def post_only_rejected() -> VenueError:
    """-5022: post-only that would have taken."""
    return VenueError(
        -5022,
        "Due to the order could not be executed as maker, the Post Only order will be rejected. "
        "The order will not be recorded in the order history",
    )


def too_many_open_orders() -> VenueError:
    """-2025: MAX_NUM_ORDERS."""
    return VenueError(-2025, "Reach max open order limit.")


def would_trigger() -> VenueError:
    """-2021: a conditional order whose price has been reached already."""
    return VenueError(-2021, "Order would immediately trigger.")


def too_many_stop_orders() -> VenueError:
    """-4045: MAX_NUM_ALGO_ORDERS."""
    return VenueError(-4045, "Reach max stop order limit.")


def conditional_elsewhere() -> VenueError:
    """-4120: a conditional order sent to the call of plain ones."""
    return VenueError(
        -4120,
        "Order type not supported for this endpoint. Please use the Algo Order API endpoints "
        "instead.",
    )


def close_position_with_quantity() -> VenueError:
    """-4136: closePosition takes neither a quantity nor reduceOnly, and no limit price."""
    return VenueError(-4136, "Target strategy invalid for orderType, closePosition, reduceOnly.")
