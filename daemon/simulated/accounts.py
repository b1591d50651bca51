"""The one account of the exchange: cash and positions in the shared ledger, margin beside them.

One-way position mode, cross margin, quote currency USDT. Margin of an instrument is the larger of
the two positions its working orders may lead to, at the mark price, divided by the leverage.
"""

from __future__ import annotations

from dataclasses import dataclass

from daemon.simulated.venue_market import VenueMarket
from kernels.events import Fill, Funding, Side
from kernels.ledger import Ledger
from kernels.units import E8, Instrument

LEVERAGE_DEFAULT = 20
LEVERAGE_MAX = 125
MAINTENANCE_E8 = E8 // 250
"""Maintenance margin rate of the only bracket, 0.4 %."""


@dataclass(slots=True)
class WorkingLots:
    """Open lots of one instrument's working orders, by side."""

    buy_lots: int = 0
    sell_lots: int = 0

    def add(self, side: Side, lots: int) -> None:
        """Count lots in (positive) or out (negative)."""
        if side is Side.BUY:
            self.buy_lots += lots
        else:
            self.sell_lots += lots


class Account:
    """Wallet, positions, margin; amounts in 1e-8 quote."""

    def __init__(self, markets: tuple[VenueMarket, ...], wallet_quote_e8: int) -> None:
        """Open flat with this wallet."""
        self._markets = markets
        self.ledger = Ledger(tuple(market.instrument for market in markets), wallet_quote_e8)
        self.leverage = [LEVERAGE_DEFAULT for _ in markets]
        self.working = [WorkingLots() for _ in markets]
        self.realised_e8 = [0 for _ in markets]
        self.updated_ms = 0

    def fee_e8(self, instrument: Instrument, price_ticks: int, lots: int, is_maker: bool) -> int:
        """Commission of one execution, rounded down; negative is a rebate."""
        fee_frac = instrument.maker_fee_frac if is_maker else instrument.taker_fee_frac
        return instrument.notional_quote_e8(price_ticks, lots) * round(fee_frac * E8) // E8

    def book_fill(self, fill: Fill, now_ms: int) -> int:
        """Book one execution; return the profit it realised before fees."""
        before_e8 = self.ledger.realised_quote_e8
        self.ledger.apply_fill(fill)
        realised_e8 = self.ledger.realised_quote_e8 - before_e8
        self.realised_e8[fill.instrument] += realised_e8
        self.updated_ms = now_ms
        return realised_e8

    def book_funding(self, funding: Funding, now_ms: int) -> None:
        """Book a funding payment."""
        self.ledger.apply_funding(funding)
        self.updated_ms = now_ms

    def mark(self, instrument: int) -> None:
        """Value one instrument at its market's mark price, when there is one."""
        mark_ticks = self._markets[instrument].mark_ticks
        if mark_ticks > 0:
            self.ledger.mark(instrument, mark_ticks)

    def position_lots(self, instrument: int) -> int:
        """Signed position."""
        return self.ledger.position_lots(instrument)

    def entry_price_e8(self, instrument: int) -> int:
        """Average entry price of the open position in 1e-8 quote per unit, 0 when flat."""
        lots = self.position_lots(instrument)
        if lots == 0:
            return 0
        lot_size_e8 = self._markets[instrument].instrument.lot_size_e8
        return self.ledger.entry_quote_e8(instrument) * E8 // (lots * lot_size_e8)

    def notional_e8(self, instrument: int) -> int:
        """Signed position value at the mark."""
        market = self._markets[instrument]
        return market.instrument.notional_quote_e8(
            market.mark_ticks, self.position_lots(instrument)
        )

    def unrealised_e8(self, instrument: int) -> int:
        """Unrealised profit at the mark, 0 while there is no mark."""
        if not self.ledger.is_marked(instrument):
            return 0
        return self.notional_e8(instrument) - self.ledger.entry_quote_e8(instrument)

    def position_margin_e8(self, instrument: int) -> int:
        """Initial margin of the position alone."""
        return abs(self.notional_e8(instrument)) // self.leverage[instrument]

    def initial_margin_e8(self, instrument: int, extra_buy: int = 0, extra_sell: int = 0) -> int:
        """Initial margin of position and working orders, ``extra_*`` lots counted as working."""
        market = self._markets[instrument]
        lots = self.position_lots(instrument)
        working = self.working[instrument]
        reach_lots = max(
            abs(lots),
            abs(lots + working.buy_lots + extra_buy),
            abs(lots - working.sell_lots - extra_sell),
        )
        notional_e8 = market.instrument.notional_quote_e8(market.mark_ticks, reach_lots)
        return notional_e8 // self.leverage[instrument]

    def maintenance_margin_e8(self, instrument: int) -> int:
        """Maintenance margin of the position."""
        return abs(self.notional_e8(instrument)) * MAINTENANCE_E8 // E8

    @property
    def margin_e8(self) -> int:
        """Initial margin of everything."""
        return sum(self.initial_margin_e8(index) for index in range(len(self._markets)))

    @property
    def equity_e8(self) -> int:
        """Wallet plus unrealised profit (the venue's margin balance)."""
        return self.ledger.equity_quote_e8

    @property
    def available_e8(self) -> int:
        """What may still be used as margin, never negative."""
        return max(0, self.equity_e8 - self.margin_e8)

    def carries(self, instrument: int, side: Side, lots: int) -> bool:
        """Tell whether the balance carries an order that would add ``lots`` on one side."""
        extra_buy, extra_sell = (lots, 0) if side is Side.BUY else (0, lots)
        before_e8 = self.initial_margin_e8(instrument)
        after_e8 = self.initial_margin_e8(instrument, extra_buy, extra_sell)
        return after_e8 <= before_e8 or after_e8 - before_e8 <= self.available_e8
