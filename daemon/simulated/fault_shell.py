"""Where the armed faults reach into the running exchange: sockets, account, clock, streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from config.fault_specs import FaultSpec, Site
from daemon.simulated.faults import ArmedFault, FaultBoard
from daemon.simulated.frame_faults import FrameFaults
from daemon.simulated.intrusions import Intrusions
from daemon.simulated.margin_watch import MarginWatch
from daemon.simulated.order_request import OrderRequest
from daemon.simulated.spot_intrusions import SpotIntrusions
from daemon.simulated.spot_request import SpotRequest
from daemon.simulated.spot_venue import SpotVenue
from daemon.simulated.stream_connection import GOING_AWAY, StreamConnection
from daemon.simulated.streams import SPOT_USER_STREAM, USER_STREAM, StreamHub
from daemon.simulated.user_faults import UserFaults
from daemon.simulated.venue import Venue
from daemon.simulated.venue_clock import VenueClock
from daemon.simulated.venue_errors import VenueError
from daemon.simulated.ws_api import SpotUsers
from kernels.matching import TimeInForce
from kernels.units import E8

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
E8_PER_BPS = E8 // 10_000
Document = dict[str, object]
FUTURES_WALLET, SPOT_WALLET = "futures", "spot"


class FaultShell:
    """Arms and disarms, and does what falls due."""

    def __init__(
        self,
        venue: Venue,
        spot: SpotVenue,
        hub: StreamHub,
        users: SpotUsers,
        clock: VenueClock,
        connections: Iterable[StreamConnection],
        send_user: Callable[[Document], None],
        send_spot_user: Callable[[Document], None],
    ) -> None:
        """Reach into these; the senders are the ways of user events that passed the faults."""
        self.board = FaultBoard()
        self._venue = venue
        self._spot = spot
        self._hub = hub
        self._stream_users = users
        self._clock = clock
        self._connections = connections
        self._send_user = send_user
        self._frames = FrameFaults(self.board, venue.markets, self.now_s)
        self._users = UserFaults(self.board, self.now_s, self._change_order)
        self._intrusions = Intrusions(venue, self.publish_user)
        self.margin = MarginWatch(venue, self._intrusions, self.publish_user)
        venue.desk.gate = self._judge_order
        self._send_spot_user = send_spot_user
        self._spot_users = UserFaults(self.board, self.now_s, self._change_spot_order)
        self._spot_intrusions = SpotIntrusions(spot, self.publish_spot_user)
        spot.desk.gate = self._judge_order

    def now_s(self) -> float:
        """Return the schedule's time."""
        return self._clock.monotonic_ns() / NS_PER_S

    def arm(self, spec: FaultSpec) -> ArmedFault:
        """Arm a fault, and let it strike at once where it should; ValueError as of the board."""
        fault = self.board.arm(spec, self.now_s())
        if spec.site is Site.FRAME:
            self._hub.tamper = self._stream_users.tamper = self._tamper
        self.tick()
        return fault

    def disarm(self, name: str) -> bool:
        """Take a fault away; the clock is right again without a fault of it."""
        is_gone = self.board.disarm(name)
        self._settle()
        return is_gone

    def disarm_all(self) -> int:
        """Take every fault away; return how many there were."""
        count = self.board.disarm_all()
        self._settle()
        return count

    def publish_user(self, document: Document) -> None:
        """Let a user event pass the faults on its way."""
        for passed in self._users.passed(document):
            self._send_user(passed)

    def publish_spot_user(self, document: Document) -> None:
        """Let a spot user event pass the same faults on its way."""
        for passed in self._spot_users.passed(document):
            self._send_spot_user(passed)

    def tick(self) -> None:
        """Do what falls due now."""
        now_s = self.now_s()
        for fault in self.board.due(now_s):
            self._act(fault)
        is_shut = self.board.is_active("maintenance", now_s)
        if is_shut and not self._hub.is_shut:
            for connection in list(self._connections):
                connection.close(GOING_AWAY, "system maintenance")
        self._hub.is_shut = is_shut

    def _settle(self) -> None:
        if not self.board.at(Site.CLOCK):
            self._clock.set_right()
        self.tick()

    def _now_ms(self) -> int:
        return self._clock.now_ns() // NS_PER_MS

    def _tamper(self, stream: str, payload: bytes) -> list[bytes]:
        now: list[bytes] = []
        for delay_s, passed in self._frames.passed(stream, payload):
            if delay_s:
                asyncio.get_running_loop().call_later(delay_s, self._put_late, stream, passed)
            else:
                now.append(passed)
        return now

    def _put_late(self, stream: str, payload: bytes) -> None:
        if stream == USER_STREAM:
            self._hub.put_user(payload)
        elif stream == SPOT_USER_STREAM:
            self._stream_users.put_user(payload)
        else:
            self._hub.put(stream, payload)
            self._hub.flush()

    def _judge_order(self, request: OrderRequest | SpotRequest) -> None:
        words = (request.order_type.value, request.time_in_force.name, request.client_order_id)
        faults = self.board.at(Site.ORDER)
        market_s = self.board.market_s(self.now_s())
        is_taker = request.time_in_force in (TimeInForce.IOC, TimeInForce.FOK)
        for fault in faults:
            if fault.spec.kind == "refuse_takers" and not is_taker:
                continue
            is_open = fault.is_open(self.now_s(), market_s)
            if is_open and fault.matches(" ".join(words)) and fault.strikes():
                raise VenueError(fault.spec.code, fault.spec.message)

    def _change_order(self, fault: ArmedFault, order_id: int) -> None:
        asyncio.get_running_loop().call_later(
            fault.spec.delay_ms / 1000, self._change_order_now, fault.spec, order_id
        )

    def _change_order_now(self, spec: FaultSpec, order_id: int) -> None:
        order = self._venue.desk.order(order_id)
        if order is None:
            return
        if spec.kind == "overfill":
            self._intrusions.overfill(order, spec.lots, self._now_ms())
        else:
            self._intrusions.fill_late(order, self._now_ms())

    def _change_spot_order(self, fault: ArmedFault, order_id: int) -> None:
        asyncio.get_running_loop().call_later(
            fault.spec.delay_ms / 1000, self._change_spot_order_now, fault.spec, order_id
        )

    def _change_spot_order_now(self, spec: FaultSpec, order_id: int) -> None:
        order = self._spot.desk.order(order_id)
        if order is None:
            return
        if spec.kind == "overfill":
            self._spot_intrusions.overfill(order, spec.lots, self._now_ms())
        else:
            self._spot_intrusions.fill_late(order, self._now_ms())

    def _act(self, fault: ArmedFault) -> None:
        match fault.spec.site:
            case Site.SOCKET:
                self._act_on_sockets(fault)
            case Site.ACCOUNT:
                self._act_on_account(fault)
            case Site.CLOCK if fault.spec.kind == "jump_clock":
                self._clock.jump(fault.spec.offset_ms)
            case _:
                self._clock.run_at(fault.spec.drift_ppm)

    def _act_on_sockets(self, fault: ArmedFault) -> None:
        for connection in list(self._connections):
            if not fault.matches(connection.route):
                continue
            match fault.spec.kind:
                case "close_streams":
                    connection.close(fault.spec.close_code, "")
                case "reset_streams":
                    connection.reset()
                case _:
                    connection.mute()

    def _act_on_account(self, fault: ArmedFault) -> None:
        spec: FaultSpec = fault.spec
        now_ms = self._now_ms()
        if spec.kind == "expire_listen_key":
            self._venue.close_listen_key(now_ms)
            return
        if spec.kind == "change_balance":
            amount_e8 = round(spec.amount_quote * E8)
            if fault.matches(FUTURES_WALLET):
                self._intrusions.change_balance(amount_e8, spec.is_told, now_ms)
            if self._spot.instruments and fault.matches(SPOT_WALLET):
                self._spot_intrusions.change_balance(amount_e8, spec.is_told, now_ms)
            return
        for market in self._venue.markets:
            if fault.matches(market.instrument.venue_id):
                self._act_on_position(spec, market.instrument.index, now_ms)

    def _act_on_position(self, spec: FaultSpec, instrument: int, now_ms: int) -> None:
        match spec.kind:
            case "change_position":
                self._intrusions.trade(instrument, spec.lots, spec.is_told, now_ms)
            case "liquidate":
                self._intrusions.liquidate(instrument, now_ms)
            case "deleverage":
                self._intrusions.deleverage(instrument, spec.share, now_ms)
            case _:
                self._venue.pay_funding(now_ms, round(spec.rate_bps * E8_PER_BPS), instrument)
