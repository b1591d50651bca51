"""Losses of the account and of every agent, judged whenever they may have moved. Pure.

Equity moves with fills, marks, funding and what is taken over from the venue; limits move with the
settings, latches with an operator. Whoever changes one of these says ``moved``. Between two marks
nothing does, and judging anew at every drain cost 12 us of a decision.
"""

from __future__ import annotations

from config.settings import RiskLimits
from kernels.attribution import AgentLedger
from kernels.ledger import NS_PER_DAY, Ledger, reset_peaks
from risk.agent_latches import AgentLatches, DisarmCause
from risk.breaker import Trigger, loss_trigger


class LossWatch:
    """Begins the days and judges the losses of one account; see the module."""

    __slots__ = ("_agents", "_day_ends_ns", "_latches", "_ledger", "has_moved")

    def __init__(self, ledger: Ledger, agents: AgentLedger, latches: AgentLatches) -> None:
        """Watch these from their opening on."""
        self._ledger = ledger
        self._agents = agents
        self._latches = latches
        self.moved()

    def moved(self) -> None:
        """Judge at the next occasion."""
        self.has_moved = True
        self._day_ends_ns = (self._ledger.day + 1) * NS_PER_DAY

    def roll_day(self, now_ns: int) -> None:
        """Measure the day's losses from now on once 00:00 UTC has passed."""
        if now_ns < self._day_ends_ns:
            return
        self._ledger.roll_day(now_ns)
        self._agents.roll_day(now_ns)
        self.moved()

    def judge(self, limits: RiskLimits, *, flattens: bool) -> Trigger | None:
        """Disarm agents that lost too much; return the trigger of the account's own loss."""
        self.has_moved = False
        ledger = self._ledger
        tolerated_e8 = limits.agent_daily_loss_frac_max * ledger.day_start_quote_e8
        for agent, lost_e8 in enumerate(self._agents.day_losses_quote_e8()):
            if lost_e8 > 0 and not lost_e8 < tolerated_e8:
                self._latches.disarm(agent, DisarmCause.LOSS)
        return loss_trigger(ledger.day_loss_frac, ledger.drawdown_frac, limits, flattens=flattens)

    def forget(self) -> None:
        """Let peak and day begin now: else the loss that was looked at would trip again at once."""
        state_S = self._ledger.state
        reset_peaks(state_S)
        self._ledger.restore(state_S)
        self._agents.forget_losses()
        self.moved()
