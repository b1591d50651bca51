"""The only door: nothing but ``Gate.review`` can make an ``Approved``, and only that is sent.

The gate is deterministic: its state (message budget, recent approvals, highest sequence) changes by
its own calls only, time arrives as an argument. It judges the worst case: the position with every
working order of one side filled, orders of unknown fate and earlier approvals of the same review
included.

Two kinds of intent:

- New risk must pass every check; any input that is missing denies it.
- A proven reduction is ``reduce_only`` and no larger than the position less all that already works
  on the closing side. It passes in REDUCE_ONLY and FLATTEN, in CANCEL when it cannot rest, never
  in HALTED; it needs a last known price and a price inside the collar of it, and may use the
  reserve of the message budget. Feed quality, ages, notional and loss limits do not hold it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from typing import NoReturn

from config.settings import RiskLimits
from kernels.events import OrderIntent
from kernels.ledger import Ledger
from kernels.units import Instrument
from risk.breaker import NS_PER_MS, BreakerState
from risk.checks import CHECKS
from risk.reasons import Denial, DenialCode
from risk.scene import DuplicateKey, Scene, is_complete, whole_lots, worst_of
from risk.throttle import Throttle
from risk.views import MarketView, WorkingView

__all__ = ["Approved", "Denied", "Gate", "GateState", "MarketView", "WorkingView"]

_TOKEN = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """An intent that the gate let through; only the gate can construct one.

    Copying, replacing and pickling are closed as well, so that an approval cannot be reused for
    another intent, process or time. TypeError for every attempt.
    """

    intent: OrderIntent
    approved_ns: int
    token: InitVar[object] = None

    def __post_init__(self, token: object) -> None:
        """Refuse every maker but the gate."""
        if token is not _TOKEN:
            raise TypeError("Approved is made by the gate only")

    def __init_subclass__(cls) -> NoReturn:
        """Refuse subclasses: they could drop the check of the maker."""
        raise TypeError("Approved cannot be subclassed")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse copy and pickle."""
        raise TypeError("Approved cannot be copied or pickled")

    def __setstate__(self, state: object) -> NoReturn:
        """Refuse to be filled from a pickle or a copy."""
        raise TypeError("Approved cannot be restored")


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """An intent that we refuse to send; ```detail`` names the unit of both numbers."""

    intent: OrderIntent
    code: DenialCode
    limit: float
    observed: float
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GateState:
    """All that the gate remembers, as a value: save it, restore it, replay is exact.

    ``approved`` pairs what the duplicate check compares with the newest approval, UNIX ns.
    """

    throttle: Throttle
    approved: tuple[tuple[DuplicateKey, int], ...]
    last_sequence: int


class Gate:
    """Judge intents against the limits; deterministic, for one thread."""

    __slots__ = (
        "_approved",
        "_instruments",
        "_last_sequence",
        "_limits",
        "_throttle",
        "_tick_lot_quote_e8",
    )

    def __init__(self, instruments: tuple[Instrument, ...], limits: RiskLimits) -> None:
        """Start with a full message budget and no memory."""
        self._instruments = instruments
        self._tick_lot_quote_e8 = tuple(each.tick_lot_quote_e8 for each in instruments)
        self._limits = limits
        self._approved: dict[DuplicateKey, int] = {}
        self._last_sequence = -1
        self._throttle = Throttle.full(
            rate_per_s=limits.messages_per_s_max,
            burst=limits.messages_burst_max,
            reserve=limits.messages_reserve,
        )

    def review(
        self,
        intents: Sequence[OrderIntent],
        *,
        ledger: Ledger | None,
        market: MarketView | None,
        working: WorkingView | None,
        breaker: BreakerState | None,
        now_ns: int,
    ) -> tuple[Approved | Denied, ...]:
        """Answer every intent, in order; an approval counts as working for those behind it.

        Put reductions first. None for an input that is not known: everything is denied then.
        """
        scene = self._scene(ledger, market, working, breaker, now_ns)
        if isinstance(scene, str):
            absent = Denial(
                code=DenialCode.INPUT_MISSING, limit=0.0, observed=0.0, detail=f"lacks {scene}"
            )
            return tuple(_denied(intent, absent) for intent in intents)
        answers = tuple(self._judge(intent, scene) for intent in intents)
        self._throttle = scene.throttle
        self._last_sequence = scene.last_sequence
        return answers

    def allow_cancel(self, now_ns: int) -> bool:
        """Take one message for a cancel, from the reserve if need be; False when none is left."""
        refilled = self._throttle.refill(now_ns)
        spent = refilled.take(may_use_reserve=True)
        self._throttle = refilled if spent is None else spent
        return spent is not None

    def set_limits(self, limits: RiskLimits) -> None:
        """Judge by other limits from now on; what was spent stays spent."""
        self._limits = limits
        self._throttle = self._throttle.limited(
            rate_per_s=limits.messages_per_s_max,
            burst=limits.messages_burst_max,
            reserve=limits.messages_reserve,
        )

    @property
    def state(self) -> GateState:
        """Give all that the gate remembers."""
        return GateState(
            throttle=self._throttle,
            approved=tuple(self._approved.items()),
            last_sequence=self._last_sequence,
        )

    def restore(self, state: GateState) -> None:
        """Take over what a gate with the same limits remembered."""
        self._throttle = state.throttle
        self._approved = dict(state.approved)
        self._last_sequence = state.last_sequence

    def _judge(self, intent: OrderIntent, scene: Scene) -> Approved | Denied:
        for check in CHECKS:
            denial = check(intent, scene)
            if denial is not None:
                return _denied(intent, denial)
        scene.count_as_working(intent)
        return Approved(intent=intent, approved_ns=scene.now_ns, token=_TOKEN)

    def _scene(
        self,
        ledger: Ledger | None,
        market: MarketView | None,
        working: WorkingView | None,
        breaker: BreakerState | None,
        now_ns: int,
    ) -> Scene | str:
        """Gather what the checks need, or name the input that is absent or inconsistent."""
        count = len(self._instruments)
        if ledger is None or len((account := ledger.read()).position_lots) != count:
            return "the account"
        if market is None or not is_complete(market, count):
            return "the market of every instrument"
        if working is None or len(working.has_unknown) != count:
            return "the working orders of every instrument"
        buy_lots = whole_lots(working.buy_lots, working.reduce_buy_lots, count)
        sell_lots = whole_lots(working.sell_lots, working.reduce_sell_lots, count)
        if buy_lots is None or sell_lots is None:
            return "consistent working orders"
        if not isinstance(breaker, BreakerState):
            return "the state of the breaker"
        self._forget(now_ns - self._limits.duplicate_window_ms * NS_PER_MS)
        return Scene(
            instruments=self._instruments,
            limits=self._limits,
            tick_lot_quote_e8=self._tick_lot_quote_e8,
            account=account,
            market=market,
            breaker=breaker,
            now_ns=now_ns,
            buy_lots=buy_lots,
            sell_lots=sell_lots,
            worst_lots=worst_of(account.position_lots, buy_lots, sell_lots),
            has_unknown=working.has_unknown,
            approved_ns_by_key=self._approved,
            last_sequence=self._last_sequence,
            throttle=self._throttle.refill(now_ns),
            prices_by_instrument=[None] * count,
        )

    def _forget(self, oldest_ns: int) -> None:
        """Drop approvals that left the duplicate window; the oldest come first."""
        while self._approved:
            key = next(iter(self._approved))
            if self._approved[key] > oldest_ns:
                return
            del self._approved[key]


def _denied(intent: OrderIntent, denial: Denial) -> Denied:
    return Denied(
        intent=intent,
        code=denial.code,
        limit=denial.limit,
        observed=denial.observed,
        detail=denial.detail,
    )
