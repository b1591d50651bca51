"""A trading world in plain Python on the daemon's own ``Ledger``: one event after the other."""

from __future__ import annotations

from kernels.events import Fill, Funding, Side
from kernels.ledger import Ledger
from kernels.units import E8, Instrument
from strategy.learning.environment import WorldRules
from strategy.learning.market_tape import MarketTape
from strategy.learning.world_steps import TICK_LOT_E8

CONTRACT = Instrument(
    index=0,
    symbol="TAPE/USDT:USDT",
    venue_id="TAPEUSDT",
    tick_size_e8=E8,
    lot_size_e8=TICK_LOT_E8,
    lots_min=1,
    lots_max=2**31,
    notional_min_quote_e8=0,
    maker_fee_frac=0.0,
    taker_fee_frac=0.0,
)


class NaiveWorld:
    """One account on a tape, from a given bar on, with costs times a factor."""

    def __init__(self, tape: MarketTape, rules: WorldRules, bar: int, factor: float) -> None:
        """Open flat."""
        self.tape, self.rules, self.bar, self.factor = tape, rules, bar, factor
        self.opening_e8 = round(rules.wallet_quote * E8)
        self.ledger = Ledger((CONTRACT,), self.opening_e8)
        self.ledger.mark(0, int(tape.price_ticks_T[bar]))
        self.waiting = [0] * rules.delay_bars
        self.steps = 0

    def step(self, action: int) -> tuple[float, bool, bool]:
        """Return reward, terminated, truncated."""
        wanted = action - 1
        if wanted < 0 and not self.rules.is_short_allowed:
            wanted = 0
        self.waiting.append(wanted)
        before_e8 = self.ledger.equity_quote_e8
        self._trade(self.waiting.pop(0), self.bar)
        price = int(self.tape.price_ticks_T[self.bar + 1])
        self.ledger.mark(0, price)
        crossings = int(self.tape.crossings_T[self.bar])
        position = self.ledger.position_lots(0)
        if position and crossings:
            rate = self.rules.costs.funding_frac * self.factor * crossings
            owed_e8 = round(float(position * price * TICK_LOT_E8) * rate)
            self.ledger.apply_funding(
                Funding(event_ns=0, received_ns=0, instrument=0, amount_quote_e8=-owed_e8)
            )
        self.bar += 1
        self.steps += 1
        is_ruined = self.ledger.equity_quote_e8 <= self.rules.ruin_frac * self.opening_e8
        if is_ruined:
            self._trade(0, self.bar)
        reward = (self.ledger.equity_quote_e8 - before_e8) / before_e8
        is_over = self.steps >= self.rules.episode_bars or self.bar + 1 >= len(self.tape)
        return reward, is_ruined, is_over and not is_ruined

    def _trade(self, wanted: int, bar: int) -> None:
        price = int(self.tape.price_ticks_T[bar])
        held = self.ledger.position_lots(0)
        if wanted == (held > 0) - (held < 0):
            return
        worth_e8 = price * TICK_LOT_E8
        full = int(self.rules.position_frac * max(self.ledger.equity_quote_e8, 0) / worth_e8)
        change = wanted * full - held
        if change == 0 or abs(change) * worth_e8 < round(self.rules.notional_min_quote * E8):
            return
        costs = self.rules.costs
        half = max(costs.half_spread_frac, costs.half_ticks * self.tape.half_tick_T[bar])
        adverse = round(float(price * (half + costs.slippage_frac) * self.factor))
        paid = max(price + (adverse if change > 0 else -adverse), 1)
        fee = abs(change) * paid * TICK_LOT_E8 * round(costs.fee_frac * self.factor * E8) // E8
        self.ledger.apply_fill(
            Fill(
                event_ns=0,
                received_ns=0,
                instrument=0,
                client_order_id="",
                trade_id=self.steps,
                side=Side.BUY if change > 0 else Side.SELL,
                price_ticks=paid,
                quantity_lots=abs(change),
                fee_quote_e8=fee,
                is_maker=False,
            )
        )
