"""What the live page shows of the past: one sample a second and the newest fills, both bounded.

Columns rather than rows, because that is what a chart wants and a third of the bytes. They are
laid out at the start: as objects an hour of samples made a healthy daemon grow by 2 MB.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.engine import Engine
from kernels.events import REGIMES, Fill
from kernels.units import E8, Instrument

FILLS_MAX = 2_000
REPEATS_AMONG = 64
"""A fill may be reported again, by stream and by query; later repeats than this are unheard of."""
NS_PER_MS = 1_000_000
UNKNOWN = -1
"""Stands for no regime yet; an unknown price is NaN. Both go out as null."""

Words = dict[str, Any]


class History:
    """The newest samples and fills of one run."""

    def __init__(
        self, instruments: Sequence[Instrument], agents: Sequence[str], samples_max: int
    ) -> None:
        """Hold nothing yet."""
        self._instruments = tuple(instruments)
        self._agents = tuple(agents)
        self._sample_count = 0
        self._at_ms_S = np.zeros(samples_max, np.int64)
        self._mid_SI = np.full((samples_max, len(self._instruments)), np.nan)
        self._regime_SI = np.full((samples_max, len(self._instruments)), UNKNOWN, np.int8)
        self._weights_SN = np.zeros((samples_max, len(self._agents)))
        self._account_S2 = np.zeros((samples_max, 2))
        self._fills: deque[tuple[int, Words]] = deque(maxlen=FILLS_MAX)
        self._trades: deque[tuple[int, int]] = deque(maxlen=REPEATS_AMONG)
        self._fill_count = 0

    def add(self, engine: Engine, now_ns: int) -> None:
        """Take a sample of the engine."""
        newest: dict[int, int] = {}
        for decided in reversed(engine.history):
            newest.setdefault(decided.instrument, decided.regime)
            if len(newest) == len(self._instruments):
                break
        at = self._sample_count % len(self._at_ms_S)
        for market in engine.markets:
            place = market.instrument.index
            mid_quote = market.mid_ticks * market.instrument.tick_size
            self._mid_SI[at, place] = mid_quote or np.nan
            self._regime_SI[at, place] = newest.get(place, UNKNOWN)
        self._weights_SN[at] = engine.weights_N[: len(self._agents)]
        ledger = engine.desk.ledger
        self._account_S2[at] = ledger.equity_quote_e8 / E8, ledger.drawdown_frac
        self._at_ms_S[at] = now_ns // NS_PER_MS
        self._sample_count += 1

    def add_fill(self, fill: Fill) -> None:
        """Remember an execution of ours, once, however often it is reported."""
        if (fill.instrument, fill.trade_id) in self._trades:
            return
        self._trades.append((fill.instrument, fill.trade_id))
        instrument = self._instruments[fill.instrument]
        self._fill_count += 1
        words = {
            "t_ms": fill.received_ns // NS_PER_MS,
            "symbol": instrument.symbol,
            "side": fill.side.name,
            "price": fill.price_ticks * instrument.tick_size,
            "quantity": fill.quantity_lots * instrument.lot_size,
            "order": fill.client_order_id,
        }
        self._fills.append((self._fill_count, words))

    @property
    def fill_count(self) -> int:
        """Fills ever seen, also those that were forgotten."""
        return self._fill_count

    def newest_ms(self) -> int:
        """Return the time of the newest sample, 0 without one."""
        if not self._sample_count:
            return 0
        return int(self._at_ms_S[(self._sample_count - 1) % len(self._at_ms_S)])

    def words(self, *, after_ms: int = 0, after_fill: int = 0) -> Words:
        """Give the samples later than a time, and the fills beyond a count, in columns."""
        rows = self._rows_after(after_ms)
        mid_SI, regime_SI = self._mid_SI[rows], self._regime_SI[rows]
        weights_SN, account_S2 = self._weights_SN[rows].round(4), self._account_S2[rows]
        return {
            "t_ms": self._at_ms_S[rows].tolist(),
            "mid": {
                each.symbol: [None if mid != mid else mid for mid in mid_SI[:, place].tolist()]
                for place, each in enumerate(self._instruments)
            },
            "regime": {
                each.symbol: [None if k == UNKNOWN else k for k in regime_SI[:, place].tolist()]
                for place, each in enumerate(self._instruments)
            },
            "weights": {
                agent: weights_SN[:, place].tolist() for place, agent in enumerate(self._agents)
            },
            "equity": account_S2[:, 0].tolist(),
            "drawdown": account_S2[:, 1].tolist(),
            "fills": [words for number, words in self._fills if number > after_fill],
        }

    def _rows_after(self, after_ms: int) -> NDArray[np.int64]:
        """Return the places of the samples after a time, oldest first."""
        size = len(self._at_ms_S)
        held = min(self._sample_count, size)
        rows = np.arange(self._sample_count - held, self._sample_count) % size
        return rows[self._at_ms_S[rows] > after_ms]

    def names(self) -> Words:
        """Give the names that columns and numbers stand for."""
        return {
            "instruments": [instrument.symbol for instrument in self._instruments],
            "agents": list(self._agents),
            "regimes": list(REGIMES),
        }
