"""What a model says, counted: enough to hold a candidate against the model that decides. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from strategy.runtime import Judgement

ACTION_COUNT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Decisions of one model; ``votes`` counts SELL, HOLD, BUY of its healthy agents.

    ``unsound`` counts decisions in which some agent, or the regime posterior, was not finite.
    """

    decisions: int = 0
    unsound: int = 0
    votes: tuple[int, int, int] = (0, 0, 0)

    def add(self, judgement: Judgement) -> Tally:
        """Return the tally with one more decision, however many instruments it judged."""
        actions = judgement.action_BA
        found = tuple(
            count + int(np.count_nonzero(actions == action))
            for action, count in enumerate(self.votes)
        )
        return Tally(
            decisions=self.decisions + 1,
            unsound=self.unsound + (not is_sound(judgement)),
            votes=(found[0], found[1], found[2]),
        )

    def shares(self) -> tuple[float, ...]:
        """Return the share of each action in [0, 1]; zeros before the first vote."""
        total = sum(self.votes)
        return tuple(count / total if total else 0.0 for count in self.votes)


def is_sound(judgement: Judgement) -> bool:
    """Say whether every agent and every posterior gave finite numbers."""
    return bool(judgement.healthy_BA.all()) and bool(judgement.regime_healthy_B.all())


def action_shift(first: Tally, second: Tally) -> float:
    """Return how far two action histograms lie apart, in [0, 1]: total variation distance.

    0.0 where either has no vote: nothing is known then.
    """
    if not (sum(first.votes) and sum(second.votes)):
        return 0.0
    pairs = zip(first.shares(), second.shares(), strict=True)
    return 0.5 * sum(abs(one - other) for one, other in pairs)
