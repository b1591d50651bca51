"""How long an order is on its way in paper mode: drawn round trips, or those measured on this run.

What the market tells us is as old as its way to us. So an order meets the book that we RECEIVE one
whole round trip after sending it, way there and way back of the news, and its answer is then here
at once: half the way each would let an order meet a book that is younger than the venue's.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from kernels.latencies import OrderLatency

MEASURED_KEPT = 512
MEASURED_MIN = 5
"""With fewer measured round trips the drawn ones count."""


class RoundTrips:
    """Gives each request the time at which it meets the book; nothing overtakes.

    ``median_ms`` and ``sigma`` shape the drawn round trips: a lognormal, constant where sigma is 0.
    """

    def __init__(self, *, uses_measured: bool, median_ms: float, sigma: float, seed: int) -> None:
        """Seed the draws; ``uses_measured`` prefers what ``add`` was told."""
        self.measured_ns: deque[int] = deque(maxlen=MEASURED_KEPT)
        self._uses_measured = uses_measured
        self._drawn = OrderLatency("lognormal", median_ms, sigma, seed).inward
        self._generator = np.random.default_rng(seed)
        self._last_ns = 0

    def add(self, round_trip_ns: int) -> None:
        """Take one measured round trip to the venue."""
        self.measured_ns.append(round_trip_ns)

    def arrival_ns(self, sent_ns: int) -> int:
        """Return when what is sent now meets the book, on the clock of ``sent_ns``."""
        if self._uses_measured and len(self.measured_ns) >= MEASURED_MIN:
            trip_ns = self.measured_ns[int(self._generator.integers(len(self.measured_ns)))]
        else:
            trip_ns = self._drawn.draw_ns()
        self._last_ns = max(sent_ns + trip_ns, self._last_ns)
        return self._last_ns
