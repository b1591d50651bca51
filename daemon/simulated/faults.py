"""Which faults are armed and when each strikes: a pure schedule, no clock, no socket.

Times are seconds of any monotonic clock; the market's own time begins with ``start_market``.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from config.fault_specs import TIMED_SITES, FaultSpec, Site

NEVER_S = float("inf")
ARMED_MAX = 256


class ArmedFault:
    """One armed fault: what it is, and how often it struck."""

    __slots__ = ("_due_s", "_generator", "armed_s", "fired", "name", "seen", "spec")

    def __init__(self, spec: FaultSpec, name: str, now_s: float) -> None:
        """Arm now; the seed of the spec decides every draw."""
        self.spec = spec
        self.name = name
        self.armed_s = now_s
        self.seen = 0
        self.fired = 0
        self._generator = np.random.default_rng(spec.seed)
        self._due_s = now_s + spec.after_s

    def is_open(self, now_s: float, market_s: float) -> bool:
        """Tell whether it may strike now: begun, not over, not used up."""
        spec = self.spec
        since_s = now_s - self.armed_s
        return (
            since_s >= spec.after_s
            and market_s >= spec.at_s
            and not self.is_over(now_s)
            and not self.is_used_up
        )

    def is_over(self, now_s: float) -> bool:
        """Tell whether its time has passed."""
        spec = self.spec
        return bool(spec.for_s) and now_s - self.armed_s >= spec.after_s + spec.for_s

    @property
    def is_used_up(self) -> bool:
        """Tell whether it struck as often as it may."""
        return bool(self.spec.count) and self.fired >= self.spec.count

    def matches(self, target: str) -> bool:
        """Tell whether it is aimed at this target."""
        return fnmatchcase(target, self.spec.target)

    def strikes(self) -> bool:
        """Count one occasion; tell whether it strikes this time."""
        spec = self.spec
        self.seen += 1
        place = self.seen - spec.skip
        if place <= 0 or place % spec.every:
            return False
        if spec.chance < 1.0 and self._generator.random() >= spec.chance:
            return False
        self.fired += 1
        return True

    def falls_due(self, now_s: float, market_s: float) -> bool:
        """Timed kinds: tell, once for each time, whether it strikes now."""
        if now_s < self._due_s or not self.is_open(now_s, market_s):
            return False
        self._due_s = now_s + self.spec.every_s
        return self.strikes()

    def draw(self, below: int) -> int:
        """Draw a whole number from 0 to ``below`` - 1."""
        return int(self._generator.integers(below))

    def document(self) -> dict[str, Any]:
        """Describe it for the control port."""
        return {
            **self.spec.document(),
            "name": self.name,
            "site": str(self.spec.site),
            "seen": self.seen,
            "fired": self.fired,
        }


class FaultBoard:
    """All armed faults in the order of their arming; the first that strikes has its way."""

    def __init__(self) -> None:
        """Start with none."""
        self._faults: dict[str, ArmedFault] = {}
        self._number = 0
        self._market_began_s = NEVER_S
        self._sites: dict[Site, tuple[ArmedFault, ...]] = {}
        self.fired_before: dict[str, int] = {}

    def start_market(self, now_s: float) -> None:
        """Let the market's time begin."""
        self._market_began_s = min(self._market_began_s, now_s)

    def market_s(self, now_s: float) -> float:
        """Return the time since the market began, 0 before that."""
        return max(0.0, now_s - self._market_began_s)

    def arm(self, spec: FaultSpec, now_s: float) -> ArmedFault:
        """Arm one; ValueError for a name that is taken, or for too many."""
        self._number += 1
        name = spec.name or f"{spec.kind}-{self._number}"
        if name in self._faults:
            raise ValueError(f"a fault named {name!r} is armed already")
        if len(self._faults) >= ARMED_MAX:
            raise ValueError(f"no more than {ARMED_MAX} faults may be armed")
        fault = self._faults[name] = ArmedFault(spec, name, now_s)
        self._sort()
        return fault

    def disarm(self, name: str) -> bool:
        """Take one away; False when there is none of that name."""
        fault = self._faults.pop(name, None)
        if fault is None:
            return False
        kind = fault.spec.kind
        self.fired_before[kind] = self.fired_before.get(kind, 0) + fault.fired
        self._sort()
        return True

    def disarm_all(self) -> int:
        """Take all away; return how many there were."""
        names = list(self._faults)
        for name in names:
            self.disarm(name)
        return len(names)

    def at(self, site: Site) -> tuple[ArmedFault, ...]:
        """Return the faults of one site, empty for most of the time."""
        return self._sites.get(site, ())

    def strike(
        self, site: Site, target: str, now_s: float, without: frozenset[str] = frozenset()
    ) -> ArmedFault | None:
        """Offer one occasion to the faults of a site; return the one that strikes.

        A fault behind the one that strikes does not see the occasion, nor do kinds in ``without``.
        """
        faults = self.at(site)
        if not faults:
            return None
        market_s = self.market_s(now_s)
        for fault in faults:
            if fault.spec.kind in without or not fault.matches(target):
                continue
            if fault.is_open(now_s, market_s) and fault.strikes():
                return fault
        return None

    def due(self, now_s: float) -> list[ArmedFault]:
        """Return the timed faults that strike now."""
        market_s = self.market_s(now_s)
        return [
            fault
            for site in TIMED_SITES
            for fault in self.at(site)
            if fault.falls_due(now_s, market_s)
        ]

    def is_active(self, kind: str, now_s: float) -> bool:
        """Tell whether an armed fault of a kind is open now."""
        market_s = self.market_s(now_s)
        return any(
            fault.spec.kind == kind and fault.is_open(now_s, market_s)
            for fault in self._faults.values()
        )

    def listing(self) -> list[dict[str, Any]]:
        """Describe every armed fault."""
        return [fault.document() for fault in self._faults.values()]

    def fired_counts(self) -> dict[str, int]:
        """Return how often each kind struck, disarmed faults included."""
        counts = dict(self.fired_before)
        for fault in self._faults.values():
            kind = fault.spec.kind
            counts[kind] = counts.get(kind, 0) + fault.fired
        return {kind: count for kind, count in sorted(counts.items()) if count}

    def _sort(self) -> None:
        self._sites = {
            site: tuple(fault for fault in self._faults.values() if fault.spec.site is site)
            for site in Site
        }
