"""The meta-learners of all loaded models, one for each instrument. Pure.

A model keeps its own: a candidate collects evidence in shadow, and what the old model's agents
earned says nothing of the new one's. What belongs to no loaded model is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable

from config.settings import Settings
from daemon.rollout import Seat
from strategy.controllers import CONTROLLER_NAMES
from strategy.meta_learner import LearnerState, MetaLearner

NS_PER_MS = 1_000_000


class MetaMemory:
    """Meta-learners by the manifest hash of their model's bundle and by instrument."""

    def __init__(self, settings: Settings, instrument_count: int) -> None:
        """Start with none: a model gets its own when it is first asked."""
        self._settings = settings
        self._instrument_count = instrument_count
        self._learners: dict[str, list[MetaLearner]] = {}

    def learner(self, seat: Seat, index: int) -> MetaLearner:
        """Return the learner of a model on one instrument."""
        learners = self._learners.get(seat.bundle.sha256)
        if learners is None:
            learners = [self._new(seat) for _ in range(self._instrument_count)]
            self._learners[seat.bundle.sha256] = learners
        return learners[index]

    def use(self, settings: Settings) -> None:
        """Weigh by these settings from now on."""
        self._settings = settings
        for learners in self._learners.values():
            for learner in learners:
                learner.use(settings.meta)

    def keep(self, seats: Iterable[Seat | None]) -> None:
        """Forget what belongs to none of these models."""
        if len(self._learners) < 2:
            return
        kept = {seat.bundle.sha256 for seat in seats if seat is not None}
        for sha256 in [known for known in self._learners if known not in kept]:
            del self._learners[sha256]

    @property
    def state(self) -> dict[str, list[LearnerState]]:
        """Give all that is remembered; live rows, so write them out at once."""
        return {
            sha256: [learner.state for learner in learners]
            for sha256, learners in sorted(self._learners.items())
        }

    def restore(self, state: dict[str, list[LearnerState]], seats: Iterable[Seat | None]) -> None:
        """Take over what the loaded models' learners remembered; ValueError for other shapes."""
        self._learners = {}
        for seat in seats:
            known = state.get(seat.bundle.sha256) if seat is not None else None
            if seat is None or known is None:
                continue
            for index, one in enumerate(known):
                self.learner(seat, index).restore(one)

    def _new(self, seat: Seat) -> MetaLearner:
        return MetaLearner(
            seat.model.agent_names,
            seat.model.regime_filter,
            self._settings.meta,
            self._settings.decision.interval_ms * NS_PER_MS,
            seat.model.crisis_level,
            seat.model.residual,
        )


def expert_names(agent_names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names along axis N of weights and actions: agents, then controllers."""
    return (*agent_names, *CONTROLLER_NAMES)
