"""The spot half of the exchange without its sockets, and the floor on which both halves stand."""

from __future__ import annotations

from daemon.simulated.market_source import SourceEvent
from daemon.simulated.order_desk import Publish
from daemon.simulated.spot_account import Holdings, lock_of
from daemon.simulated.spot_desk import SpotDesk
from daemon.simulated.spot_request import SpotRequest
from daemon.simulated.venue import Venue
from daemon.simulated.venue_market import VenueMarket
from kernels.events import Trade
from kernels.units import Instrument, from_e8


class SpotVenue:
    """Markets, balances and orders of the pairs; ``publish`` takes user-stream documents."""

    def __init__(
        self, instruments: tuple[Instrument, ...], quote_e8: int, publish: Publish
    ) -> None:
        """Open with quote currency alone; instruments keep the index they come with."""
        self.instruments = instruments
        self.markets = {item.index: VenueMarket(item) for item in instruments}
        self.holdings = Holdings(instruments, quote_e8)
        self.desk = SpotDesk(self.markets, self.holdings, publish)

    def apply(self, event: SourceEvent, now_ms: int) -> None:
        """Let one market event move book, queue and orders."""
        executions = self.markets[event.instrument].apply(event, now_ms)
        if executions:
            self.desk.settle(event.instrument, executions, now_ms)
        if isinstance(event, Trade):
            self.desk.release_stops(event.instrument, now_ms)

    def renew_mark(self, instrument: int) -> bool:
        """Set the average price to the mid; False while there is no book."""
        market = self.markets[instrument]
        return market.is_open and market.renew_mark()

    def affordable_lots(self, request: SpotRequest, price_ticks: int) -> int:
        """Return how many lots at this price the free balance pays for."""
        instrument = self.markets[request.instrument].instrument
        asset, lot_e8 = lock_of(instrument, request.side, price_ticks, 1)
        return self.holdings.free_e8[asset] // lot_e8

    def report(self) -> dict[str, object]:
        """Sum up orders, fills, and what the account holds and paid in every asset."""
        holdings = self.holdings
        return {
            **self.desk.counts.words(len(self.desk.working_orders())),
            "balances": {
                asset: from_e8(holdings.free_e8[asset] + holdings.locked_e8[asset])
                for asset in holdings.assets
            },
            "fees": {asset: from_e8(holdings.fees_e8[asset]) for asset in holdings.assets},
        }


class TradingFloor:
    """Both halves as one to the player: contracts are numbered first, then pairs."""

    def __init__(self, futures: Venue, spot: SpotVenue) -> None:
        """Join the halves; the pairs' indices follow the contracts' without a gap."""
        self._futures = futures
        self._spot = spot
        self._futures_count = len(futures.instruments)
        self.instruments = futures.instruments + spot.instruments
        self.markets = futures.markets + tuple(spot.markets.values())
        if [item.index for item in self.instruments] != list(range(len(self.instruments))):
            raise ValueError("pairs must be numbered after the contracts")

    def apply(self, event: SourceEvent, now_ms: int) -> None:
        """Let one market event move its instrument."""
        if event.instrument < self._futures_count:
            self._futures.apply(event, now_ms)
        else:
            self._spot.apply(event, now_ms)

    def renew_mark(self, instrument: int) -> bool:
        """Renew the mark price of a contract, the average price of a pair."""
        if instrument < self._futures_count:
            return self._futures.renew_mark(instrument)
        return self._spot.renew_mark(instrument)
