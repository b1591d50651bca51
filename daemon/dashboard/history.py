"""What the live page shows of the past: one sample a second and the newest fills, both bounded.

Columns rather than rows, because that is what a chart wants and a third of the bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from daemon.engine import Engine
from kernels.events import REGIMES, Fill
from kernels.units import E8, Instrument

FILLS_MAX = 2_000
REPEATS_AMONG = 64
"""A fill may be reported again, by stream and by query; later repeats than this are unheard of."""
NS_PER_MS = 1_000_000

Words = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One moment: middle price (None while unknown) and regime by instrument, weights, account."""

    at_ms: int
    mid_quote: tuple[float | None, ...]
    regime: tuple[int | None, ...]
    weights_N: tuple[float, ...]
    equity_quote: float
    drawdown_frac: float


class History:
    """The newest samples and fills of one run."""

    def __init__(
        self, instruments: Sequence[Instrument], agents: Sequence[str], samples_max: int
    ) -> None:
        """Hold nothing yet."""
        self._instruments = tuple(instruments)
        self._agents = tuple(agents)
        self._samples: deque[Sample] = deque(maxlen=samples_max)
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
        mids = (m.mid_ticks * m.instrument.tick_size for m in engine.markets)
        self._samples.append(
            Sample(
                at_ms=now_ns // NS_PER_MS,
                mid_quote=tuple(mid or None for mid in mids),
                regime=tuple(newest.get(each.index) for each in self._instruments),
                weights_N=tuple(map(float, engine.weights_N)),
                equity_quote=engine.desk.ledger.equity_quote_e8 / E8,
                drawdown_frac=engine.desk.ledger.drawdown_frac,
            )
        )

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
        return self._samples[-1].at_ms if self._samples else 0

    def words(self, *, after_ms: int = 0, after_fill: int = 0) -> Words:
        """Give the samples later than a time, and the fills beyond a count, in columns."""
        samples = list(_later(self._samples, after_ms))
        return {
            "t_ms": [one.at_ms for one in samples],
            "mid": {
                instrument.symbol: [one.mid_quote[index] for one in samples]
                for index, instrument in enumerate(self._instruments)
            },
            "regime": {
                instrument.symbol: [one.regime[index] for one in samples]
                for index, instrument in enumerate(self._instruments)
            },
            "weights": {
                agent: [round(one.weights_N[index], 4) for one in samples]
                for index, agent in enumerate(self._agents)
            },
            "equity": [one.equity_quote for one in samples],
            "drawdown": [one.drawdown_frac for one in samples],
            "fills": [words for number, words in self._fills if number > after_fill],
        }

    def names(self) -> Words:
        """Give the names that columns and numbers stand for."""
        return {
            "instruments": [instrument.symbol for instrument in self._instruments],
            "agents": list(self._agents),
            "regimes": list(REGIMES),
        }


def _later(samples: Sequence[Sample], after_ms: int) -> Iterator[Sample]:
    """Yield, oldest first, what came after a time; the newest few are found at once."""
    found: list[Sample] = []
    for one in reversed(samples):
        if one.at_ms <= after_ms:
            break
        found.append(one)
    return reversed(found)
