"""The breaker at work: what trips it, what follows, and how positions are closed. Pure.

``Ladder`` holds the breaker and the few counters that lead to it: for how long feeds were down,
how often models failed in a row, how far closing has come. Every change is latched on disk before
its consequences are carried out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from config.settings import Settings
from daemon.effects import CancelAll, Effect, LatchBreaker
from daemon.notes import NoteBook
from kernels.events import Verdict
from risk.breaker import Breaker, BreakerState, Trigger

NS_PER_MS = 1_000_000
CALL_GUARD_NS = 10_000_000_000
"""The guard is asked again to close what we cannot after this long."""
VERIFY_NS = 1_000_000_000
"""How often the venue is asked whether we are flat."""


@dataclass(slots=True, kw_only=True)
class Closing:
    """How far the closing of one instrument's position has come."""

    attempt_count: int = 0
    tried_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderState:
    """All that the ladder remembers, ``told`` being the triggers already spoken of."""

    breaker: Breaker
    told: list[str]
    not_ok_since_ns: list[int]
    model_failures: list[int]
    closing_attempts: list[int]
    closing_tried_ns: list[int]
    guard_called_ns: int
    verified_ns: int


class Ladder:
    """The breaker of one account over N instruments."""

    def __init__(self, instrument_count: int, settings: Settings, notes: NoteBook) -> None:
        """Start in NORMAL; ``take_over`` brings in what an earlier run latched."""
        self.breaker = Breaker()
        self.settings = settings.breaker
        self._limits = settings.limits
        self._notes = notes
        self._told: set[str] = set()
        self._not_ok_since_ns = [0] * instrument_count
        self._model_failures = [0] * instrument_count
        self._closings = [Closing() for _ in range(instrument_count)]
        self._guard_called_ns = 0
        self._verified_ns = 0

    # what trips ------------------------------------------------------------------------------

    def trip(self, trigger: Trigger, reason: str) -> tuple[Effect, ...]:
        """Apply a trigger; one that changes nothing is still told once until RESUME."""
        before = self.breaker
        return self._replace(before.apply(trigger, self._notes.now_ns, reason), trigger, reason)

    def count_rejection(self, rejected_ns: int) -> tuple[Effect, ...]:
        """Count one rejection by the venue."""
        counted = self.breaker.count_rejection(rejected_ns, self._limits)
        if counted.state is self.breaker.state:
            self.breaker = counted
            return ()
        return self._replace(counted, Trigger.REJECTS, counted.reason)

    def watch_feeds(self, verdicts: Sequence[Verdict], now_ns: int) -> tuple[Effect, ...]:
        """Trip when an instrument had no usable feed for too long."""
        effects: list[Effect] = []
        for index, verdict in enumerate(verdicts):
            since_ns = self._not_ok_since_ns[index]
            if verdict is Verdict.OK:
                self._not_ok_since_ns[index] = 0
            elif not since_ns:
                self._not_ok_since_ns[index] = now_ns
            elif now_ns - since_ns >= self.settings.feed_down_ms_max * NS_PER_MS:
                self._not_ok_since_ns[index] = now_ns
                skewed = verdict is Verdict.SKEWED
                trigger = Trigger.CLOCK_SKEW if skewed else Trigger.STALE_FEED
                down_s = (now_ns - since_ns) / 1e9
                reason = f"{verdict.name} for {down_s:.0f} s"
                effects.append(self._notes.note("feed_down", index, reason=reason))
                effects.extend(self.trip(trigger, reason))
        return tuple(effects)

    def model_failed(self, instrument: int, is_flatten: bool) -> tuple[Effect, ...]:
        """Count a decision without a usable model; ``is_flatten`` is the policy's word."""
        self._model_failures[instrument] += 1
        failure_count = self._model_failures[instrument]
        if is_flatten:
            return self.trip(Trigger.MODEL_FLATTEN, "no usable model: policy flatten")
        if failure_count < self.settings.model_failures_max:
            return ()
        return self.trip(Trigger.MODEL_FAILURE, f"no usable model {failure_count} times in a row")

    def model_worked(self, instrument: int) -> None:
        """Begin the count of failures anew."""
        self._model_failures[instrument] = 0

    # closing ---------------------------------------------------------------------------------

    @property
    def is_closing(self) -> bool:
        """Whether positions are being closed."""
        return self.breaker.state is BreakerState.FLATTEN

    def may_close(self, instrument: int, now_ns: int) -> int | None:
        """Return the number of the closing attempt that is due, None while it is too early."""
        closing = self._closings[instrument]
        if now_ns - closing.tried_ns < self.settings.flatten_retry_ms * NS_PER_MS:
            return None
        closing.tried_ns = now_ns
        closing.attempt_count += 1
        return closing.attempt_count - 1

    def wants_guard(self, now_ns: int) -> bool:
        """Say whether closing got stuck and the guard, which reaches further, should take over."""
        attempts_max = self.settings.flatten_attempts_max
        if all(closing.attempt_count < attempts_max for closing in self._closings):
            return False
        if now_ns - self._guard_called_ns < CALL_GUARD_NS:
            return False
        self._guard_called_ns = now_ns
        return True

    def wants_proof(self, now_ns: int) -> bool:
        """Say whether the venue should be asked now if we are flat."""
        if now_ns - self._verified_ns < VERIFY_NS:
            return False
        self._verified_ns = now_ns
        return True

    # memory ----------------------------------------------------------------------------------

    def take_over(self, breaker: Breaker) -> None:
        """Start where an earlier run was latched; what was counted before its end is over."""
        self.breaker = breaker
        self._rearm()

    @property
    def state(self) -> LadderState:
        """Give all that the ladder remembers."""
        return LadderState(
            breaker=self.breaker,
            told=sorted(self._told),
            not_ok_since_ns=list(self._not_ok_since_ns),
            model_failures=list(self._model_failures),
            closing_attempts=[closing.attempt_count for closing in self._closings],
            closing_tried_ns=[closing.tried_ns for closing in self._closings],
            guard_called_ns=self._guard_called_ns,
            verified_ns=self._verified_ns,
        )

    def restore(self, state: LadderState) -> None:
        """Take over what another ladder remembered."""
        self.breaker = state.breaker
        self._told = set(state.told)
        self._not_ok_since_ns = list(state.not_ok_since_ns)
        self._model_failures = list(state.model_failures)
        self._closings = [
            Closing(attempt_count=count, tried_ns=tried_ns)
            for count, tried_ns in zip(state.closing_attempts, state.closing_tried_ns, strict=True)
        ]
        self._guard_called_ns = state.guard_called_ns
        self._verified_ns = state.verified_ns

    def _replace(self, breaker: Breaker, trigger: Trigger, reason: str) -> tuple[Effect, ...]:
        before = self.breaker
        self.breaker = breaker
        if breaker.state is before.state:
            if trigger.value in self._told or breaker.state is BreakerState.NORMAL:
                return ()
            self._told.add(trigger.value)
            told = self._notes.note(
                "breaker_trigger", trigger=trigger.value, state=before.state.name, reason=reason
            )
            return (told,)
        changed = self._notes.note(
            "breaker_changed",
            trigger=trigger.value,
            before=before.state.name,
            state=breaker.state.name,
            reason=reason,
        )
        effects: list[Effect] = [LatchBreaker(breaker=breaker), changed]
        if breaker.state is BreakerState.NORMAL:
            self._rearm()
            return tuple(effects)
        self._told.add(trigger.value)
        if breaker.state is BreakerState.FLATTEN:
            self._closings = [Closing() for _ in self._closings]
        if breaker.state >= BreakerState.CANCEL:
            effects.extend(
                CancelAll(instrument=index, reason=reason) for index in range(len(self._closings))
            )
        return tuple(effects)

    def _rearm(self) -> None:
        self._told.clear()
        self._not_ok_since_ns = [0] * len(self._not_ok_since_ns)
        self._model_failures = [0] * len(self._model_failures)
