"""What differs between two settings, and which of it may change while the daemon runs.

A hot key is one whose consumer reads it at every decision, so that it can be exchanged between two
of them. Every other key shapes something built at start (sockets, features, the model, the journal)
and needs a restart. A reload is all or nothing: one cold difference refuses the whole of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from config.section import Section
from config.settings import Settings

HOT_PREFIXES: tuple[str, ...] = (
    "decision.trigger",
    "decision.min_gap_ms",
    "decision.data_age_ms_max",
    "decision.drain_events_max",
    "execution.",
    "sizing.",
    "limits.",
    "meta.meta_learning_enabled",
    "meta.max_agent_weight",
    "meta.min_diversification_agents",
    "meta.weight_temperature",
    "meta.regime_stability_threshold",
    "meta.performance_prediction_enabled",
    "meta.kelly_criterion_enabled",
    "meta.max_position_risk",
    "meta.emergency_fallback_enabled",
    "meta.detailed_logging",
    "meta.meta_learning_debug",
)
"""Keys, and groups of keys ending in a dot, that may change between two decisions."""

NAME_ONLY: frozenset[str] = frozenset({"preset"})
"""Keys that only say where values came from; a difference there alone changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One key whose value differs."""

    key: str
    old: Any
    new: Any

    @property
    def is_hot(self) -> bool:
        """Whether it may change while the daemon runs."""
        return is_hot(self.key)


def is_hot(key: str) -> bool:
    """Say whether the key may change while the daemon runs."""
    return any(
        key.startswith(prefix) if prefix.endswith(".") else key == prefix for prefix in HOT_PREFIXES
    )


def leaves(section: Section, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Walk over every key with its dotted path and value, in the order of the model."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def changes(old: Settings, new: Settings) -> tuple[Change, ...]:
    """List what differs, in the order of the model; names of presets are left out."""
    before = dict(leaves(old))
    return tuple(
        Change(key=key, old=before[key], new=value)
        for key, value in leaves(new)
        if value != before[key] and key not in NAME_ONLY
    )
