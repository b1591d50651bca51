"""How long an order is under way: seeded draws for the way in and the way out.

Pure: the seed is the only source of chance, the two ways draw from streams of their own, so that
what happens on one never shifts the other. A way is a queue: nothing overtakes on it.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np

NS_PER_MS = 1_000_000
DRAWS = 4096
LATENCY_MS_MAX = 60_000.0
"""Longer than that no draw gets; a lognormal has no end of its own."""


class LatencyKind(StrEnum):
    """Shape of the distribution."""

    CONSTANT = "constant"
    LOGNORMAL = "lognormal"


class Way:
    """One direction: ``draw_ns`` gives single times, ``arrival_ns`` keeps them in order."""

    __slots__ = ("_at", "_draws_ns", "_generator", "_kind", "_last_ns", "_median_ns", "_sigma")

    def __init__(
        self, kind: LatencyKind, median_ms: float, sigma: float, generator: np.random.Generator
    ) -> None:
        """Draw from ``generator``, which is owned from then on."""
        self._kind = kind
        self._median_ns = median_ms * NS_PER_MS
        self._sigma = sigma
        self._generator = generator
        self._draws_ns: list[int] = []
        self._at = 0
        self._last_ns = 0

    def draw_ns(self) -> int:
        """Return the next latency, nanoseconds, not negative."""
        if self._kind is LatencyKind.CONSTANT or self._sigma == 0.0:
            return int(self._median_ns)
        if self._at == len(self._draws_ns):
            drawn = self._median_ns * np.exp(
                self._sigma * self._generator.standard_normal(DRAWS, dtype=np.float64)
            )
            bounded = np.minimum(drawn, LATENCY_MS_MAX * NS_PER_MS)
            self._draws_ns = bounded.astype(np.int64).tolist()
            self._at = 0
        self._at += 1
        return self._draws_ns[self._at - 1]

    def arrival_ns(self, sent_ns: int) -> int:
        """Return when what is sent at ``sent_ns`` arrives: never before what was sent before it.

        Times are those of any one clock, nanoseconds.
        """
        self._last_ns = max(sent_ns + self.draw_ns(), self._last_ns)
        return self._last_ns


class OrderLatency:
    """Both ways of one connection: ``inward`` to the venue, ``outward`` back.

    ``median_ms`` is one way, and the constant where the kind is constant; ``sigma`` is the standard
    deviation of the logarithm of a lognormal. The same arguments give the same times. ValueError
    for a negative number or one that is not finite.
    """

    __slots__ = ("inward", "outward")

    def __init__(self, kind: str, median_ms: float, sigma: float, seed: int) -> None:
        """Seed both ways; ``kind`` is a value of ``LatencyKind``."""
        if not (np.isfinite(median_ms) and np.isfinite(sigma) and median_ms >= 0 and sigma >= 0):
            raise ValueError(f"a latency of {median_ms} ms with sigma {sigma}")
        inward, outward = np.random.SeedSequence(seed).spawn(2)
        shape = LatencyKind(kind)
        self.inward = Way(shape, median_ms, sigma, np.random.default_rng(inward))
        self.outward = Way(shape, median_ms, sigma, np.random.default_rng(outward))
