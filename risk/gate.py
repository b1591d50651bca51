"""The only door: nothing but ``Gate.review`` can make an ``Approved``, and only that is sent.

The gate is deterministic: its state (message budget, recent approvals, highest sequence) changes by
its own calls only, time arrives as an argument. It judges the worst case: the position with every
working order of one side filled, orders of unknown fate and earlier approvals of the same review
included.

Two kinds of intent:

- New risk must pass every check; any input that is missing denies it. It is attributed to agents
  by ``agent_share_A``; what carries no shares (nobody's wish) is held by the account's limits only.
- A proven reduction is ``reduce_only`` and no larger than the position less all that already works
  on the closing side. It passes in REDUCE_ONLY and FLATTEN, in CANCEL when it cannot rest, never
  in HALTED; it needs a last known price and a price inside the collar of it, and may use the
  reserve of the message budget. Feed and model quality, ages, notional and loss limits, disarmed
  agents and missing model verdicts do not hold it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from config.settings import RiskLimits
from kernels.events import AGENTS, OrderIntent
from kernels.ledger import Ledger, new_state
from kernels.units import Instrument
from risk.agent_latches import AgentLatches, AgentsState
from risk.bounds import Bounds
from risk.breaker import BreakerState
from risk.checks import new_risk_denial, reduction_denial, shape_denial
from risk.reasons import Denial, DenialCode, beyond
from risk.scene import DuplicateKey, Memory, Scene
from risk.survey import survey
from risk.throttle import Throttle
from risk.views import MarketView, ModelVerdict, WorkingView
from risk.working_tally import tally

__all__ = ["Approved", "Denied", "Gate", "GateState", "MarketView", "WorkingView"]


@dataclass(frozen=True, slots=True, init=False)
class Approved:
    """An intent that the gate let through; only the gate can construct one.

    Copying, replacing and pickling are closed as well, so that an approval cannot be reused for
    another intent, process or time. TypeError for every attempt.
    """

    intent: OrderIntent
    approved_ns: int

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Refuse every maker: the gate fills its own by ``_approved``."""
        raise TypeError("Approved is made by the gate only")

    def __init_subclass__(cls) -> NoReturn:
        """Refuse subclasses: they could drop the check of the maker."""
        raise TypeError("Approved cannot be subclassed")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse copy and pickle."""
        raise TypeError("Approved cannot be copied or pickled")

    def __setstate__(self, state: object) -> NoReturn:
        """Refuse to be filled from a pickle or a copy."""
        raise TypeError("Approved cannot be restored")


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """An intent that we refuse to send; ``detail`` names the unit of both numbers."""

    intent: OrderIntent
    code: DenialCode
    limit: float
    observed: float
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GateState:
    """All that the gate remembers, as a value: save it, restore it, replay is exact.

    ``approved`` pairs what the duplicate check compares with the newest approval, UNIX ns.
    """

    throttle: Throttle
    approved: tuple[tuple[DuplicateKey, int], ...]
    last_sequence: int
    agents: AgentsState


class Gate:
    """Judge intents against the limits; deterministic, for one thread."""

    __slots__ = ("_count", "_memory", "_scene")

    def __init__(
        self,
        instruments: tuple[Instrument, ...],
        limits: RiskLimits,
        agent_count: int = len(AGENTS),
    ) -> None:
        """Start with a full message budget, every agent armed and no memory."""
        self._count = len(instruments)
        self._scene = scene = Scene()
        scene.instruments = instruments
        scene.tick_lot_quote_e8 = tuple(each.tick_lot_quote_e8 for each in instruments)
        scene.limits = limits
        scene.bounds = Bounds(limits)
        self._memory = scene.memory = Memory(
            throttle=Throttle.full(
                rate_per_s=limits.messages_per_s_max,
                burst=limits.messages_burst_max,
                reserve=limits.messages_reserve,
            ),
            agents=AgentLatches(agent_count, limits),
        )
        # compile now: no order waits for it
        survey(new_state(scene.tick_lot_quote_e8, 0), tally(self._count, ()).table_NC, 0)

    def review(
        self,
        intents: Sequence[OrderIntent],
        *,
        ledger: Ledger | None,
        market: MarketView | None,
        working: WorkingView | None,
        breaker: BreakerState | None,
        model: Sequence[ModelVerdict] | None,
        now_ns: int,
    ) -> tuple[Approved | Denied, ...]:
        """Answer every intent, in order; an approval counts as working for those behind it.

        Put reductions first. None for an input that is not known: without a model verdict new risk
        is denied, without any of the others everything is, for nothing is a proven reduction then.
        """
        scene = self._scene
        if ledger is None or market is None or working is None:
            return _without(intents, "the account, its orders or the market")
        if not len(market) == len(working.table_NC) == self._count:
            return _without(intents, "market and orders of every instrument")
        if type(breaker) is not BreakerState:
            return _without(intents, "the state of the breaker")
        scene.state_S = ledger.live_state
        scene.table_NC = working.table_NC
        scene.owns_table = False
        scene.market = market
        scene.model = model
        scene.breaker = breaker
        scene.now_ns = now_ns
        memory = self._memory
        memory.throttle = memory.throttle.refill(now_ns)
        self._forget(now_ns - scene.bounds.duplicate_window_ns)
        if len(intents) == 1:
            return (self._judge(intents[0], scene),)
        answers: list[Approved | Denied] = []
        for intent in intents:
            answer = self._judge(intent, scene)
            if type(answer) is Approved:
                scene.count_as_working(intent)
            answers.append(answer)
        return tuple(answers)

    def allow_cancel(self, now_ns: int) -> bool:
        """Take one message for a cancel, from the reserve if need be; False when none is left."""
        memory = self._memory
        refilled = memory.throttle.refill(now_ns)
        spent = refilled.take(may_use_reserve=True)
        memory.throttle = refilled if spent is None else spent
        return spent is not None

    def set_limits(self, limits: RiskLimits) -> None:
        """Judge by other limits from now on; what was spent stays spent, who is disarmed too."""
        memory = self._memory
        self._scene.limits = limits
        self._scene.bounds = Bounds(limits)
        memory.agents.set_limits(limits)
        memory.throttle = memory.throttle.limited(
            rate_per_s=limits.messages_per_s_max,
            burst=limits.messages_burst_max,
            reserve=limits.messages_reserve,
        )

    @property
    def agents(self) -> AgentLatches:
        """Who may still ask for new risk; disarm and re-arm here."""
        return self._memory.agents

    @property
    def state(self) -> GateState:
        """Give all that the gate remembers."""
        memory = self._memory
        return GateState(
            throttle=memory.throttle,
            approved=tuple(memory.approved_ns_by_key.items()),
            last_sequence=memory.last_sequence,
            agents=memory.agents.state,
        )

    def restore(self, state: GateState) -> None:
        """Take over what a gate with the same limits remembered."""
        memory = self._memory
        memory.throttle = state.throttle
        memory.approved_ns_by_key = dict(state.approved)
        memory.last_sequence = state.last_sequence
        memory.agents.restore(state.agents)

    def _judge(self, intent: OrderIntent, scene: Scene) -> Approved | Denied:
        denial = shape_denial(intent, scene)
        if denial is not None:
            return _denied(intent, denial)
        scene.look(intent)
        if not scene.is_whole:
            return _without((intent,), "working orders that agree with the account")[0]
        if intent.reduce_only:
            denial = reduction_denial(intent, scene)
        else:
            denial = new_risk_denial(intent, scene)
        if denial is not None:
            return _denied(intent, denial)
        scene.remember(intent)
        return _approved(intent, scene.now_ns)

    def _forget(self, oldest_ns: int) -> None:
        """Drop approvals that left the duplicate window; the oldest come first."""
        approved = self._memory.approved_ns_by_key
        while approved:
            key = next(iter(approved))
            if approved[key] > oldest_ns:
                return
            del approved[key]


_SET_INTENT = Approved.__dict__["intent"].__set__
_SET_APPROVED_NS = Approved.__dict__["approved_ns"].__set__


def _approved(intent: OrderIntent, now_ns: int) -> Approved:
    """Make the one thing that may be sent; by its slots, 0.35 us cheaper than by an initialiser."""
    approved = object.__new__(Approved)
    _SET_INTENT(approved, intent)
    _SET_APPROVED_NS(approved, now_ns)
    return approved


def _without(intents: Sequence[OrderIntent], what: str) -> tuple[Denied, ...]:
    absent = beyond(DenialCode.INPUT_MISSING, 0, 0, f"lacks {what}")
    return tuple(_denied(intent, absent) for intent in intents)


def _denied(intent: OrderIntent, denial: Denial) -> Denied:
    return Denied(
        intent=intent,
        code=denial.code,
        limit=denial.limit,
        observed=denial.observed,
        detail=denial.detail,
    )
