"""What the REST calls of conditional orders do, as USD-M names them: algoOrder and its kin."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from daemon.simulated import venue_errors
from daemon.simulated.conditional_documents import conditional_document
from daemon.simulated.conditional_orders import ConditionalOrder, parse_conditional
from daemon.simulated.order_request import find_instrument, integer
from daemon.simulated.venue import Venue

Parameters = Mapping[str, str]
ROWS_DEFAULT = 500
ROWS_MAX = 1_000


class ConditionalCalls:
    """One method per call; each takes the parameters and the venue's time."""

    def __init__(self, venue: Venue) -> None:
        """Answer for one venue."""
        self._venue = venue
        self._desk = venue.conditional

    async def place(self, parameters: Parameters, now_ms: int) -> object:
        """POST /fapi/v1/algoOrder."""
        generated_id = f"algo_{secrets.token_hex(10)}"
        request = parse_conditional(parameters, self._venue.instruments, generated_id)
        return self._document(self._desk.place(request, now_ms))

    async def query(self, parameters: Parameters, now_ms: int) -> object:
        """GET /fapi/v1/algoOrder, by either id; the symbol is not asked for."""
        order = self._find(parameters)
        if order is None:
            raise venue_errors.no_such_order()
        return self._document(order)

    async def cancel(self, parameters: Parameters, now_ms: int) -> object:
        """DELETE /fapi/v1/algoOrder, by either id."""
        order = self._find(parameters)
        if order is None:
            raise venue_errors.nothing_to_cancel()
        self._desk.cancel(order, now_ms)
        return {
            "algoId": order.algo_id,
            "clientAlgoId": order.request.order.client_order_id,
            "code": "200",
            "msg": "success",
        }

    async def list_open(self, parameters: Parameters, now_ms: int) -> object:
        """GET /fapi/v1/openAlgoOrders, of one symbol or of all."""
        return [self._document(order) for order in self._desk.waiting(self._chosen(parameters))]

    async def list_all(self, parameters: Parameters, now_ms: int) -> object:
        """GET /fapi/v1/allAlgoOrders: newest ``limit``, or from ``algoId`` on."""
        instrument = find_instrument(parameters, self._venue.instruments)
        from_id = integer(parameters, "algoId", 0)
        limit = min(integer(parameters, "limit", ROWS_DEFAULT), ROWS_MAX)
        orders = [
            order
            for order in self._desk.orders()
            if order.request.order.instrument == instrument.index and order.algo_id >= from_id
        ]
        chosen = orders[:limit] if from_id else orders[max(0, len(orders) - limit) :]
        return [self._document(order) for order in chosen]

    async def cancel_all(self, parameters: Parameters, now_ms: int) -> object:
        """DELETE /fapi/v1/algoOpenOrders."""
        instrument = find_instrument(parameters, self._venue.instruments)
        self._desk.cancel_all(instrument.index, now_ms)
        return {"code": 200, "msg": "The operation of cancel all open order is done."}

    def _chosen(self, parameters: Parameters) -> int | None:
        if not parameters.get("symbol"):
            return None
        return find_instrument(parameters, self._venue.instruments).index

    def _find(self, parameters: Parameters) -> ConditionalOrder | None:
        algo_id = integer(parameters, "algoId", 0)
        client_id = parameters.get("clientAlgoId", "")
        if not (algo_id or client_id):
            raise venue_errors.either_missing("clientAlgoId", "algoId")
        return self._desk.find(algo_id, client_id)

    def _document(self, order: ConditionalOrder) -> object:
        return conditional_document(order, self._venue.instruments[order.request.order.instrument])
