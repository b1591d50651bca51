"""A decision in words: what the journal keeps of it and what the operator is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from daemon.effects import Decided
from kernels.events import REGIMES
from strategy.chain import CORE_NAMES


def words_of(decided: Decided, expert_names: Sequence[str]) -> dict[str, Any]:
    """Return all that explains a decision, under readable names."""
    return {
        "regime": REGIMES[decided.regime],
        "posterior": _named(REGIMES, decided.regime_K),
        "stability": shortened(decided.stability),
        "weights": _named(expert_names, decided.weights_N),
        "actions": dict(zip(expert_names, decided.action_N, strict=True)),
        **reasons(decided, expert_names),
        "exposure": shortened(decided.exposure),
        "disagreement": shortened(decided.disagreement),
        "trust": shortened(decided.trust_frac),
        "target_lots": decided.target_lots,
        "position_lots": decided.position_lots,
        "mid_ticks": decided.mid_ticks,
        "data_age_ns": decided.data_age_ns,
        "outcome": decided.outcome,
    }


def reasons(decided: Decided, expert_names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Say why these weights: what each expert is believed to earn, which weightings are heard.

    Both are empty where nothing was weighed.
    """
    if not decided.share_J:
        return {"believed_sharpe": {}, "weightings": {}}
    return {
        "believed_sharpe": _named(expert_names, decided.skill_N),
        "weightings": _named((*CORE_NAMES, *expert_names), decided.share_J),
    }


def shortened(number: float) -> float:
    """Round to what a reader wants: four places."""
    return round(float(number), 4)


def _named(names: Sequence[str], numbers: Sequence[float]) -> dict[str, float]:
    return dict(zip(names, map(shortened, numbers), strict=True))
