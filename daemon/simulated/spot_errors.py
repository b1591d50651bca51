"""Refusals that only spot knows, or words otherwise; the common ones are ``venue_errors``'.

Source: the public error-code page and the order documents of Binance spot.
"""

from __future__ import annotations

from daemon.simulated.venue_errors import VenueError


def filter_failure(name: str) -> VenueError:
    """-1013: one of the pair's filters, by its name."""
    return VenueError(-1013, f"Filter failure: {name}")


def insufficient_balance() -> VenueError:
    """-2010: the free balance does not pay for the order."""
    return VenueError(-2010, "Account has insufficient balance for requested action.")


def would_match() -> VenueError:
    """-2010: a LIMIT_MAKER that would have taken."""
    return VenueError(-2010, "Order would immediately match and take.")


def stop_would_trigger() -> VenueError:
    """-2010: a stop order whose price the market has reached already."""
    return VenueError(-2010, "Stop price would trigger immediately.")


def no_trailing_stops() -> VenueError:
    """-2010: trailingDelta on a pair whose allowTrailingStop is false."""
    return VenueError(-2010, "Trailing stop orders are not supported for this symbol.")


def duplicate_order() -> VenueError:
    """-2010: the client order id belongs to an order that still works."""
    return VenueError(-2010, "Duplicate order sent.")


def quantity_unclear() -> VenueError:
    """-1128: neither or both of quantity and quoteOrderQty."""
    return VenueError(-1128, "Combination of optional parameters invalid.")


def not_required(name: str) -> VenueError:
    """-1106: a parameter that this order type does not take."""
    return VenueError(-1106, f"Parameter '{name}' sent when not required.")


def too_precise(name: str) -> VenueError:
    """-1111: more than eight decimals."""
    return VenueError(-1111, f"Parameter '{name}' has too much precision.")


def invalid_json() -> VenueError:
    """-1135: a ws-api message that is no JSON object with a method."""
    return VenueError(-1135, "Invalid JSON Request")


def unknown_method(name: str) -> VenueError:
    """-1020: a ws-api method that is not served."""
    return VenueError(-1020, f"This operation is not supported: {name[:60]}")


def subscription_active() -> VenueError:
    """-2035: the connection has its user data stream already."""
    return VenueError(-2035, "User Data Stream subscription already active.")


def no_subscription() -> VenueError:
    """-2036: there is no such user data stream on this connection."""
    return VenueError(-2036, "User Data Stream subscription not found.")


class CancelReplaceError(VenueError):
    """A cancelReplace of which a half or all failed; tells what became of either half."""

    def __init__(
        self, cancel: object, placed: object, *, is_cancelled: bool, is_attempted: bool
    ) -> None:
        """Take the two answers; ``placed`` is None when nothing was to be placed any more."""
        is_partial = is_cancelled or (placed is not None and not isinstance(placed, VenueError))
        super().__init__(
            -2021 if is_partial else -2022,
            f"Order cancel-replace {'partially ' if is_partial else ''}failed.",
            409 if is_partial else 400,
        )
        new_result = "NOT_ATTEMPTED"
        if is_attempted:
            new_result = "FAILURE" if isinstance(placed, VenueError) else "SUCCESS"
        self._answers: dict[str, object] = {
            "cancelResult": "SUCCESS" if is_cancelled else "FAILURE",
            "newOrderResult": new_result,
            "cancelResponse": _plain(cancel),
            "newOrderResponse": _plain(placed),
        }

    def document(self) -> dict[str, object]:
        """Return the JSON document of the answer."""
        return {**super().document(), "data": self._answers}


def _plain(answer: object) -> object:
    return answer.document() if isinstance(answer, VenueError) else answer
