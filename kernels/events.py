"""The words: every event the engine folds, and the enums that all rooms share.

Two stamps ride on every event: ``event_ns`` is the venue's own time, ``received_ns`` ours; both are
UNIX nanoseconds and they are never mixed. Prices are integer ticks and quantities integer lots of
the instrument (``kernels.units.Instrument``); an instrument is named by its index in configuration
order.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

REGIMES: tuple[str, ...] = (
    "trending_bull",
    "trending_bear",
    "high_vol_range",
    "low_vol_range",
    "breakout",
    "reversal",
    "crisis",
)
"""The seven market regimes, in the order of every posterior vector (axis K)."""

AGENTS: tuple[str, ...] = ("d3qn", "double_dqn", "twin_d3qn", "ppo", "rainbow")
"""The five agents, in the order of every weight vector (axis A)."""


class Side(IntEnum):
    """Direction of an order, a fill or a public trade's aggressor; usable as a sign."""

    BUY = 1
    SELL = -1


class Action(IntEnum):
    """What an agent says: a target exposure of -1, 0 or +1 (value minus one)."""

    SELL = 0
    HOLD = 1
    BUY = 2


class Verdict(IntEnum):
    """Integrity of one instrument's feed; only OK allows new risk."""

    OK = 0
    WARMING = 1
    STALE = 2
    GAP = 3
    CROSSED = 4
    SKEWED = 5
    RECONNECTING = 6
    AUDIT_FAILED = 7


class OrderType(IntEnum):
    """How an order may execute. Every type carries a limit price: there are no naked markets."""

    IOC = 0
    GTC = 1
    POST_ONLY = 2


class OrderStatus(IntEnum):
    """Life of one order. UNKNOWN: sent, fate not yet proven; it counts at full size.

    PENDING_CANCEL: a cancel was asked for; the order counts until the venue proves its end.
    """

    INTENT = 0
    SENT = 1
    UNKNOWN = 2
    WORKING = 3
    PARTIALLY_FILLED = 4
    FILLED = 5
    CANCELLED = 6
    REJECTED = 7
    EXPIRED = 8
    PENDING_CANCEL = 9


TERMINAL_STATUSES: frozenset[OrderStatus] = frozenset(
    {OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.REJECTED, OrderStatus.EXPIRED}
)


class CommandName(IntEnum):
    """What an operator, a signal or the shell may ask of the engine.

    STOP cancels what works; the other two leave it as it is, or close the positions as well.
    """

    HALT = 0
    RESUME = 1
    REDUCE = 2
    STOP = 3
    CANCEL = 4
    FLATTEN = 5
    STOP_LEAVING = 6
    STOP_CLOSING = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """Best bid and ask (venue stream ``bookTicker``)."""

    instrument: int
    event_ns: int
    received_ns: int
    update_id: int
    bid_ticks: int
    bid_lots: int
    ask_ticks: int
    ask_lots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """One public print; ``aggressor`` is the taker's side."""

    instrument: int
    event_ns: int
    received_ns: int
    trade_id: int
    price_ticks: int
    quantity_lots: int
    aggressor: Side


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DepthDiff:
    """Changes of the book; ``*_levels_n2`` are int64 rows of (price_ticks, quantity_lots).

    Quantity 0 removes a level. Continuity: ``previous_update_id`` equals the last applied
    ``last_update_id`` (USD-M rule ``pu``).
    """

    instrument: int
    event_ns: int
    received_ns: int
    first_update_id: int
    last_update_id: int
    previous_update_id: int
    bid_levels_n2: NDArray[np.int64]
    ask_levels_n2: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DepthSnapshot:
    """The whole book as the venue's REST call gave it; replaces what we hold."""

    instrument: int
    event_ns: int
    received_ns: int
    last_update_id: int
    bid_levels_n2: NDArray[np.int64]
    ask_levels_n2: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkPrice:
    """The venue's valuation price, rounded to the nearest tick, and the current funding rate."""

    instrument: int
    event_ns: int
    received_ns: int
    mark_ticks: int
    funding_rate_frac: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DayVolume:
    """What was traded of an instrument in the last 24 hours, as the venue says; whole lots."""

    instrument: int
    received_ns: int
    volume_lots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedStatus:
    """The feed's own judgement of one instrument; travels to features and to the gate."""

    instrument: int
    received_ns: int
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One execution of one of our orders; ``fee_quote_e8`` in 1e-8 quote, positive is paid."""

    instrument: int
    event_ns: int
    received_ns: int
    client_order_id: str
    trade_id: int
    side: Side
    price_ticks: int
    quantity_lots: int
    fee_quote_e8: int
    is_maker: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderUpdate:
    """What is now known of one of our orders, from the user stream or from a REST answer.

    ``filled_lots`` is cumulative as the venue states it, -1 where the source does not say.
    ``code`` is the venue's own error code, 0 where there is none.
    """

    instrument: int
    event_ns: int
    received_ns: int
    client_order_id: str
    status: OrderStatus
    filled_lots: int
    code: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """The venue's own account: wallet in 1e-8 quote and the position of every instrument."""

    received_ns: int
    wallet_quote_e8: int
    position_lots: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Funding:
    """A funding payment booked by the venue; positive is received."""

    instrument: int
    event_ns: int
    received_ns: int
    amount_quote_e8: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """An operator's order to the daemon, with the reason that goes into the journal."""

    received_ns: int
    name: CommandName
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """What the shell found wrong with itself or its machine; ``code`` is a breaker trigger's."""

    received_ns: int
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsChanged:
    """New settings, whole, as the JSON text of ``config.settings``; only hot keys differ."""

    received_ns: int
    settings_json: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleOffered:
    """A verified, loaded model bundle that may begin its way in; ``path`` is where it stays.

    ``sha256`` is that of its manifest. ``skip_shadow``: an operator promotes it at once.
    """

    received_ns: int
    name: str
    sha256: str
    path: str
    skip_shadow: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleWithdrawn:
    """A bundle must not decide any longer: too slow, or an operator wants the last good one."""

    received_ns: int
    sha256: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainEnd:
    """End of one drained batch: the engine may decide now. Also the engine's only clock.

    ``judgement_ns`` is how long the models took for the judgement before this one, by the shell's
    clock, and None where none was timed: evidence of the gate, kept in the log as every input is.
    """

    received_ns: int
    drained_count: int
    judgement_ns: int | None = None


MarketEvent = Quote | Trade | DepthDiff | DepthSnapshot | MarkPrice | DayVolume | FeedStatus
AccountEvent = Fill | OrderUpdate | AccountState | Funding
BundleEvent = BundleOffered | BundleWithdrawn
Event = MarketEvent | AccountEvent | Command | Alarm | SettingsChanged | BundleEvent | DrainEnd


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderIntent:
    """What the strategy wants, unsent and unapproved.

    ``sequence`` numbers intents within a run; the client order id is a pure function of the run
    and this number. ``agent_share_A`` attributes the order to the agents that wanted it.
    """

    sequence: int
    instrument: int
    side: Side
    quantity_lots: int
    price_ticks: int
    order_type: OrderType
    reduce_only: bool
    decided_ns: int
    reason: str
    agent_share_A: tuple[float, ...] = ()
