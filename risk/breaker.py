"""The emergency ladder: five states, one transition table, and only an operator climbs up.

NORMAL       everything the limits allow.
REDUCE_ONLY  reductions only.
CANCEL       working orders are being cancelled; reductions only if they cannot rest (IOC).
FLATTEN      positions are being closed; reductions only. Ends in HALTED once the venue says flat.
HALTED       nothing is sent but cancels; an operator who wants to close asks for FLATTEN.

Every trigger has a code (its value) that goes into the log, the alerts and the latch on disk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum

from config.settings import RiskLimits

NS_PER_MS = 1_000_000


class BreakerState(IntEnum):
    """Rungs of the ladder; a larger number permits less."""

    NORMAL = 0
    REDUCE_ONLY = 1
    CANCEL = 2
    FLATTEN = 3
    HALTED = 4


class Trigger(StrEnum):
    """What can move the breaker; the OPERATOR_* ones come from a human only."""

    DAILY_LOSS = "daily_loss"
    DRAWDOWN = "drawdown"
    DRAWDOWN_FLATTEN = "drawdown_flatten"
    REJECTS = "rejects"
    POSITION_MISMATCH = "position_mismatch"
    STALE_FEED = "stale_feed"
    CLOCK_SKEW = "clock_skew"
    MODEL_FAILURE = "model_failure"
    MODEL_FLATTEN = "model_flatten"
    JOURNAL_ERROR = "journal_error"
    DISK_FULL = "disk_full"
    HEARTBEAT = "heartbeat"
    GUARD = "guard"
    LATCH_ERROR = "latch_error"
    FLAT = "flat"
    OPERATOR_REDUCE = "operator_reduce"
    OPERATOR_CANCEL = "operator_cancel"
    OPERATOR_FLATTEN = "operator_flatten"
    OPERATOR_HALT = "operator_halt"
    OPERATOR_RESUME = "operator_resume"


_N, _R, _C, _F, _H = BreakerState
TRANSITIONS: dict[Trigger, tuple[BreakerState, ...]] = {
    #           from:           NORMAL, REDUCE_ONLY, CANCEL, FLATTEN, HALTED
    Trigger.DAILY_LOSS: (_R, _R, _C, _F, _H),
    Trigger.DRAWDOWN: (_H, _H, _H, _F, _H),  # a flatten under way is let finish, then HALTED
    Trigger.DRAWDOWN_FLATTEN: (_F, _F, _F, _F, _H),  # a kept position could go on losing
    Trigger.REJECTS: (_R, _R, _C, _F, _H),
    Trigger.POSITION_MISMATCH: (_R, _R, _C, _F, _H),
    Trigger.STALE_FEED: (_R, _R, _C, _F, _H),
    Trigger.CLOCK_SKEW: (_R, _R, _C, _F, _H),
    Trigger.MODEL_FAILURE: (_R, _R, _C, _F, _H),
    Trigger.MODEL_FLATTEN: (_F, _F, _F, _F, _H),  # where the policy says flatten
    Trigger.JOURNAL_ERROR: (_R, _R, _C, _F, _H),
    Trigger.DISK_FULL: (_R, _R, _C, _F, _H),
    Trigger.HEARTBEAT: (_R, _R, _C, _F, _H),  # we stood still, or nobody watches us
    Trigger.GUARD: (_H, _H, _H, _H, _H),  # the guard closed our positions: a human looks first
    Trigger.LATCH_ERROR: (_H, _H, _H, _H, _H),  # what an earlier run latched cannot be read
    Trigger.FLAT: (_N, _R, _C, _H, _H),  # all positions closed: only FLATTEN ends by it
    Trigger.OPERATOR_REDUCE: (_R, _R, _C, _F, _H),
    Trigger.OPERATOR_CANCEL: (_C, _C, _C, _F, _H),
    Trigger.OPERATOR_FLATTEN: (_F, _F, _F, _F, _F),
    Trigger.OPERATOR_HALT: (_H, _H, _H, _H, _H),
    Trigger.OPERATOR_RESUME: (_N, _N, _N, _N, _N),
}
"""New state by trigger and present state; every pair is listed, nothing is implied."""


def transition(state: BreakerState, trigger: Trigger) -> BreakerState:
    """Look up where ``trigger`` leads from ``state``."""
    return TRANSITIONS[trigger][state]


def loss_trigger(
    day_loss_frac: float, drawdown_frac: float, limits: RiskLimits, *, flattens: bool = False
) -> Trigger | None:
    """Name the loss limit that is reached, the graver one first; NaN counts as reached.

    ``flattens``: a drawdown closes positions. One that is not a number halts in any case: books
    that cannot be read are no ground to trade on.
    """
    if not drawdown_frac < limits.drawdown_frac_max:
        is_number = drawdown_frac == drawdown_frac
        return Trigger.DRAWDOWN_FLATTEN if flattens and is_number else Trigger.DRAWDOWN
    if not day_loss_frac < limits.daily_loss_frac_max:
        return Trigger.DAILY_LOSS
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """The breaker as a value: its state, since when and why, and the newest venue rejections."""

    state: BreakerState = BreakerState.NORMAL
    since_ns: int = 0
    trigger: Trigger | None = None
    rejected_ns: tuple[int, ...] = ()
    reason: str = ""

    def apply(self, trigger: Trigger, now_ns: int, reason: str = "") -> Breaker:
        """Follow the table; the same object comes back when the state does not change."""
        state = transition(self.state, trigger)
        if state is self.state:
            return self
        kept = () if trigger is Trigger.OPERATOR_RESUME else self.rejected_ns
        return replace(
            self,
            state=state,
            since_ns=now_ns,
            trigger=trigger,
            rejected_ns=kept,
            reason=reason or trigger.value,
        )

    def count_rejection(self, now_ns: int, limits: RiskLimits) -> Breaker:
        """Remember one rejection by the venue; too many within the window: REJECTS."""
        oldest_ns = now_ns - limits.reject_window_ms * NS_PER_MS
        recent = tuple(each for each in self.rejected_ns if each > oldest_ns)
        recent = (*recent, now_ns)[-max(limits.rejects_in_window_max, 1) :]
        counted = replace(self, rejected_ns=recent)
        if len(recent) < limits.rejects_in_window_max:
            return counted
        return counted.apply(Trigger.REJECTS, now_ns, "the venue rejects our orders")
