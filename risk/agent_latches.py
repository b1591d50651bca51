"""Which agents may still ask for new risk: repeated executions and losses disarm, a human re-arms.

An agent whose wish has led to too many approved orders within a window is disarmed, and so is one
that lost too much; the latch opens by ``rearm`` only, never by time or by new limits. Reductions
are neither counted nor held back.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from config.settings import RiskLimits

NS_PER_MS = 1_000_000


class DisarmCause(StrEnum):
    """Why an agent may not ask for new risk."""

    EXECUTIONS = "executions"
    LOSS = "loss"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentsState:
    """The latches and counts of all agents as a value; ``executed_ns`` oldest first, UNIX ns."""

    cause: tuple[DisarmCause | None, ...]
    executed_ns: tuple[tuple[int, ...], ...]


class AgentLatches:
    """Count executions per agent and remember who is disarmed; deterministic."""

    __slots__ = ("_cause", "_executed_ns", "_kept", "_window_ns", "count_A", "is_any_disarmed")

    def __init__(self, agent_count: int, limits: RiskLimits) -> None:
        """Start with everybody armed, unless the limit is 0: then nobody is."""
        self.count_A = agent_count
        self._cause: list[DisarmCause | None] = [None] * agent_count
        self._executed_ns: list[deque[int]] = [deque() for _ in range(agent_count)]
        self.is_any_disarmed = False
        self.set_limits(limits)

    def set_limits(self, limits: RiskLimits) -> None:
        """Count by other limits from now on; who is disarmed stays so."""
        self._kept = kept = limits.agent_executions_max
        self._window_ns = limits.agent_execution_window_ms * NS_PER_MS
        self._executed_ns = [deque(each, maxlen=kept) for each in self._executed_ns]
        if not kept:
            self._disarm_all_by_zero()

    def count(self, shares_A: tuple[float, ...], now_ns: int) -> None:
        """Count one approved order of new risk for everybody who has a share in it."""
        oldest_ns, kept = now_ns - self._window_ns, self._kept
        for agent, share in enumerate(shares_A):
            if share > 0.0:
                executed_ns = self._executed_ns[agent]
                executed_ns.append(now_ns)
                is_full = len(executed_ns) == kept
                if is_full and (not kept or executed_ns[0] > oldest_ns):
                    self.disarm(agent, DisarmCause.EXECUTIONS)

    def disarm(self, agent: int, cause: DisarmCause) -> bool:
        """Latch one agent; False where it was already, whose first cause then stays."""
        if self._cause[agent] is not None:
            return False
        self._cause[agent] = cause
        self.is_any_disarmed = True
        return True

    def rearm(self) -> None:
        """Let everybody ask again and count anew; an operator's word only. A limit of 0 stays 0."""
        self._cause = [None] * len(self._cause)
        self.is_any_disarmed = False
        for executed_ns in self._executed_ns:
            executed_ns.clear()
        if any(executed_ns.maxlen == 0 for executed_ns in self._executed_ns):
            self._disarm_all_by_zero()

    def first_disarmed(self, shares_A: tuple[float, ...]) -> int | None:
        """Name the first disarmed agent with a share, or None."""
        for agent, share in enumerate(shares_A):
            if share > 0.0 and self._cause[agent] is not None:
                return agent
        return None

    @property
    def causes(self) -> tuple[DisarmCause | None, ...]:
        """Why each agent is disarmed, None where it is not."""
        return tuple(self._cause)

    @property
    def state(self) -> AgentsState:
        """Give latches and counts."""
        return AgentsState(
            cause=tuple(self._cause),
            executed_ns=tuple(tuple(each) for each in self._executed_ns),
        )

    def restore(self, state: AgentsState) -> None:
        """Take over what was remembered; ValueError unless it speaks of as many agents."""
        if not len(state.cause) == len(state.executed_ns) == len(self._cause):
            raise ValueError(f"state of {len(state.cause)} agents, wanted {len(self._cause)}")
        kept = self._executed_ns[0].maxlen if self._executed_ns else None
        self._cause = [None if each is None else DisarmCause(each) for each in state.cause]
        self._executed_ns = [deque(each, maxlen=kept) for each in state.executed_ns]
        self.is_any_disarmed = any(each is not None for each in self._cause)
        if kept == 0:
            self._disarm_all_by_zero()

    def _disarm_all_by_zero(self) -> None:
        for agent in range(len(self._cause)):
            self.disarm(agent, DisarmCause.EXECUTIONS)
