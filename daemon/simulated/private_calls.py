"""What the authenticated REST calls do: account, orders, listen keys, settings."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from daemon.simulated import account_documents, order_documents, venue_errors
from daemon.simulated.accounts import LEVERAGE_MAX
from daemon.simulated.order_request import boolean, find_instrument, integer, parse_order
from daemon.simulated.venue import Venue
from daemon.simulated.venue_market import VenueMarket
from daemon.simulated.venue_order import WORKING, VenueOrder
from kernels.units import Instrument

Parameters = Mapping[str, str]
ROWS_DEFAULT = 500
ROWS_MAX = 1_000
COUNTDOWN_MS_MAX = 7 * 86_400_000


class PrivateCalls:
    """One method per call; each takes the parameters and the venue's time."""

    def __init__(self, venue: Venue) -> None:
        """Answer for one venue."""
        self._venue = venue

    async def account_v2(self, parameters: Parameters, now_ms: int) -> object:
        """GET /fapi/v2/account."""
        return account_documents.account_document(
            self._venue.account, self._venue.markets, now_ms, 2
        )

    async def account_v3(self, parameters: Parameters, now_ms: int) -> object:
        """GET /fapi/v3/account."""
        return account_documents.account_document(
            self._venue.account, self._venue.markets, now_ms, 3
        )

    async def balance(self, parameters: Parameters, now_ms: int) -> object:
        """GET /fapi/v2|v3/balance."""
        return account_documents.balance_document(self._venue.account, now_ms)

    async def position_risk_v2(self, parameters: Parameters, now_ms: int) -> object:
        """GET /fapi/v2/positionRisk: every instrument."""
        return [
            account_documents.position_document(self._venue.account, market, 2)
            for market in self._chosen(parameters)
        ]

    async def position_risk_v3(self, parameters: Parameters, now_ms: int) -> object:
        """GET /fapi/v3/positionRisk: instruments with a position or a working order."""
        account = self._venue.account
        return [
            account_documents.position_document(account, market, 3)
            for market in self._chosen(parameters)
            if account.position_lots(market.instrument.index)
            or self._venue.desk.working_orders(market.instrument.index)
        ]

    async def leverage_brackets(self, parameters: Parameters, now_ms: int) -> object:
        """GET /fapi/v1/leverageBracket."""
        return [account_documents.bracket_document(market) for market in self._chosen(parameters)]

    async def commission_rate(self, parameters: Parameters, now_ms: int) -> object:
        """GET /fapi/v1/commissionRate."""
        instrument = self._instrument(parameters)
        return {
            "symbol": instrument.venue_id,
            "makerCommissionRate": f"{instrument.maker_fee_frac:.6f}",
            "takerCommissionRate": f"{instrument.taker_fee_frac:.6f}",
        }

    async def position_side(self, parameters: Parameters, now_ms: int) -> object:
        """GET /fapi/v1/positionSide/dual: one-way."""
        return {"dualSidePosition": False}

    async def set_position_side(self, parameters: Parameters, now_ms: int) -> object:
        """POST /fapi/v1/positionSide/dual: stays one-way."""
        if boolean(parameters, "dualSidePosition"):
            raise venue_errors.position_side_mismatch()
        raise venue_errors.position_side_unchanged()

    async def set_margin_type(self, parameters: Parameters, now_ms: int) -> object:
        """POST /fapi/v1/marginType: stays cross."""
        self._instrument(parameters)
        if parameters.get("marginType") == "CROSSED":
            raise venue_errors.margin_type_unchanged()
        raise venue_errors.margin_type_fixed()

    async def set_leverage(self, parameters: Parameters, now_ms: int) -> object:
        """POST /fapi/v1/leverage."""
        instrument = self._instrument(parameters)
        leverage = integer(parameters, "leverage", 0)
        if not 1 <= leverage <= LEVERAGE_MAX:
            raise venue_errors.leverage_invalid()
        self._venue.account.leverage[instrument.index] = leverage
        return {
            "symbol": instrument.venue_id,
            "leverage": leverage,
            "maxNotionalValue": str(account_documents.NOTIONAL_CAP),
        }

    async def countdown(self, parameters: Parameters, now_ms: int) -> object:
        """POST /fapi/v1/countdownCancelAll: arm or disarm the dead-man's switch."""
        instrument = self._instrument(parameters)
        if not parameters.get("countdownTime"):
            raise venue_errors.missing("countdownTime")
        countdown_ms = integer(parameters, "countdownTime", 0)
        if countdown_ms > COUNTDOWN_MS_MAX:
            raise venue_errors.malformed_value("countdownTime")
        self._venue.set_countdown(instrument.index, countdown_ms, now_ms)
        return {"symbol": instrument.venue_id, "countdownTime": str(countdown_ms)}

    async def user_trades(self, parameters: Parameters, now_ms: int) -> object:
        """GET /fapi/v1/userTrades: newest ``limit``, or from ``fromId`` or ``startTime`` on."""
        instrument = self._instrument(parameters)
        order_id = integer(parameters, "orderId", 0)
        from_id = integer(parameters, "fromId", 0)
        start_ms = integer(parameters, "startTime", 0)
        end_ms = integer(parameters, "endTime", now_ms)
        limit = min(integer(parameters, "limit", ROWS_DEFAULT), ROWS_MAX)
        rows = [
            record
            for record in self._venue.desk.fills
            if record.fill.instrument == instrument.index
            and order_id in (0, record.order_id)
            and record.fill.trade_id >= from_id
            and start_ms <= record.time_ms <= end_ms
        ]
        chosen = rows[:limit] if from_id or start_ms else rows[max(0, len(rows) - limit) :]
        return [order_documents.user_trade_document(record, instrument) for record in chosen]

    async def open_listen_key(self, parameters: Parameters, now_ms: int) -> object:
        """POST /fapi/v1/listenKey."""
        return {"listenKey": self._venue.listen_key.obtain(now_ms)}

    async def extend_listen_key(self, parameters: Parameters, now_ms: int) -> object:
        """PUT /fapi/v1/listenKey."""
        return {"listenKey": self._venue.listen_key.extend(now_ms)}

    async def close_listen_key(self, parameters: Parameters, now_ms: int) -> object:
        """DELETE /fapi/v1/listenKey."""
        self._venue.close_listen_key(now_ms)
        return {}

    async def place_order(self, parameters: Parameters, now_ms: int) -> object:
        """POST /fapi/v1/order."""
        generated_id = f"web_{secrets.token_hex(10)}"
        request = parse_order(parameters, self._venue.instruments, generated_id)
        return self._document(self._venue.desk.place(request, now_ms))

    async def amend_order(self, parameters: Parameters, now_ms: int) -> object:
        """PUT /fapi/v1/order: a limit order's price and quantity, both mandatory."""
        order = self._find(parameters)
        if order is None or order.request.price_ticks == 0:
            raise venue_errors.no_such_order()
        terms = {
            "symbol": parameters["symbol"],
            "side": parameters.get("side", ""),
            "type": "LIMIT",
            "timeInForce": order.request.time_in_force.name,
            "price": parameters.get("price", ""),
            "quantity": parameters.get("quantity", ""),
        }
        request = parse_order(terms, self._venue.instruments, order.request.client_order_id)
        if request.side is not order.request.side:
            raise venue_errors.malformed_value("side")
        return self._document(
            self._venue.desk.amend(order, request.price_ticks, request.quantity_lots, now_ms)
        )

    async def query_order(self, parameters: Parameters, now_ms: int) -> object:
        """GET /fapi/v1/order."""
        order = self._find(parameters)
        if order is None:
            raise venue_errors.no_such_order()
        return self._document(order)

    async def query_open_order(self, parameters: Parameters, now_ms: int) -> object:
        """GET /fapi/v1/openOrder."""
        order = self._find(parameters)
        if order is None or order.status not in WORKING:
            raise venue_errors.no_such_order()
        return self._document(order)

    async def cancel_order(self, parameters: Parameters, now_ms: int) -> object:
        """DELETE /fapi/v1/order."""
        order = self._find(parameters)
        if order is None:
            raise venue_errors.nothing_to_cancel()
        return self._document(self._venue.desk.cancel(order, now_ms))

    async def open_orders(self, parameters: Parameters, now_ms: int) -> object:
        """GET /fapi/v1/openOrders, of one symbol or of all."""
        chosen = {market.instrument.index for market in self._chosen(parameters)}
        return [
            self._document(order)
            for order in self._venue.desk.working_orders()
            if order.request.instrument in chosen
        ]

    async def all_orders(self, parameters: Parameters, now_ms: int) -> object:
        """GET /fapi/v1/allOrders: newest ``limit``, or from ``orderId`` on."""
        instrument = self._instrument(parameters)
        from_id = integer(parameters, "orderId", 0)
        limit = min(integer(parameters, "limit", ROWS_DEFAULT), ROWS_MAX)
        orders = [
            order
            for order in self._venue.desk.orders()
            if order.request.instrument == instrument.index and order.order_id >= from_id
        ]
        chosen = orders[:limit] if from_id else orders[max(0, len(orders) - limit) :]
        return [self._document(order) for order in chosen]

    async def cancel_all(self, parameters: Parameters, now_ms: int) -> object:
        """DELETE /fapi/v1/allOpenOrders."""
        instrument = self._instrument(parameters)
        self._venue.desk.cancel_all(instrument.index, now_ms)
        return {"code": 200, "msg": "The operation of cancel all open order is done."}

    def _instrument(self, parameters: Parameters) -> Instrument:
        return find_instrument(parameters, self._venue.instruments)

    def _chosen(self, parameters: Parameters) -> tuple[VenueMarket, ...]:
        if not parameters.get("symbol"):
            return self._venue.markets
        return (self._venue.markets[self._instrument(parameters).index],)

    def _find(self, parameters: Parameters) -> VenueOrder | None:
        instrument = self._instrument(parameters)
        order_id = integer(parameters, "orderId", 0)
        client_order_id = parameters.get("origClientOrderId", "")
        if not (order_id or client_order_id):
            raise venue_errors.either_missing("origClientOrderId", "orderId")
        return self._venue.desk.find(instrument.index, order_id, client_order_id)

    def _document(self, order: VenueOrder) -> object:
        instrument = self._venue.instruments[order.request.instrument]
        return order_documents.order_document(order, instrument)
