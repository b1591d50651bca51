"""What the guard does when it acts: cancel, close, prove it by query, and never give up early.

Every pass cancels what is open, closes what is held, then asks the venue. Only two clean answers in
a row end it, so that an order still on its way is found as well. Failures are waited out as the
venue asks (Retry-After), else with growing pauses. Closing orders are reduce-only IOC limits that
reach further with every pass; at the widest they alternate with market orders and resting limits,
because a venue in trouble may refuse any one kind.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from config.safety import GuardSettings
from daemon.clock import Clock
from daemon.identity import GUARD_ORDER_ID_PREFIX
from daemon.note import Note
from daemon.venues.emergency import EmergencyError, Top
from daemon.venues.supervision import Backoff
from kernels.events import Side
from kernels.units import BPS_PER_UNIT, Instrument

PAUSE_MS_MIN, PAUSE_MS_MAX = 100, 2_000
CONFIRM_S = 0.5
"""Between the two clean answers."""
CLOSE_PAUSE_S = 0.1
GROWTH = 2.0
NS_PER_S = 1_000_000_000


class Venue(Protocol):
    """What a rescue asks of the venue: ``EmergencyClient``, or a scripted one in tests."""

    async def cancel_all(self, instrument: Instrument) -> None:
        """Cancel every open order of an instrument."""

    async def open_order_count(self, instrument: Instrument) -> int:
        """Count the open orders of an instrument."""

    async def position_lots(self, instruments: Sequence[Instrument]) -> tuple[int, ...]:
        """Read every position."""

    async def top(self, instrument: Instrument) -> Top:
        """Read the best prices."""

    async def close_position(
        self,
        instrument: Instrument,
        *,
        side: Side,
        quantity_lots: int,
        price_ticks: int,
        time_in_force: str,
        client_order_id: str,
    ) -> None:
        """Send one reduce-only order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescued:
    """How a rescue ended; counts are the venue's last word, -1 where it never gave one."""

    is_clean: bool
    open_order_count: int
    position_lots: tuple[int, ...]
    pass_count: int
    took_s: float
    reason: str = ""


class Rescue:
    """One rescue of one account."""

    def __init__(
        self,
        venue: Venue,
        instruments: Sequence[Instrument],
        settings: GuardSettings,
        *,
        note: Callable[[Note], None],
        clock: Clock,
        generator: np.random.Generator,
    ) -> None:
        """Prepare; nothing is asked before ``run``."""
        self._venue = venue
        self._instruments = tuple(instruments)
        self._settings = settings
        self._note = note
        self._clock = clock
        self._backoff = Backoff(PAUSE_MS_MIN, PAUSE_MS_MAX, generator)
        self._tag = clock.now_ns() // 1_000_000
        self._order_count = 0
        self._close_counts = [0] * len(self._instruments)
        self._failures: list[EmergencyError] = []

    async def run(self, *, is_flatten: bool, silent_s_max: float) -> Rescued:
        """Act until the venue shows nothing left; give up only where it was silent for so long.

        ``silent_s_max`` counts from the last answer of any kind; infinity never gives up.
        """
        began_ns = heard_ns = self._clock.monotonic_ns()
        open_count, position_lots = -1, (0,) * len(self._instruments)
        pass_count = clean_count = 0
        while clean_count < 2:
            pass_count += 1
            self._failures = []
            if clean_count == 0:
                await self._each(self._venue.cancel_all)
            open_count = sum(await self._each(self._venue.open_order_count))
            if is_flatten:
                found = await self._try(self._venue.position_lots(self._instruments))
                position_lots = found if found is not None else position_lots
                await self._close(position_lots)
            is_clean = not (self._failures or open_count or any(position_lots))
            clean_count = clean_count + 1 if is_clean else 0
            now_ns = self._clock.monotonic_ns()
            if not self._failures or any(failure.status for failure in self._failures):
                heard_ns = now_ns
            elif now_ns - heard_ns > silent_s_max * NS_PER_S:
                reason = f"the venue does not answer: {self._failures[0]}"
                return self._end(False, open_count, position_lots, pass_count, began_ns, reason)
            if clean_count < 2:
                await asyncio.sleep(self._pause_s(clean_count))
        return self._end(True, open_count, position_lots, pass_count, began_ns, "")

    def _pause_s(self, clean_count: int) -> float:
        if clean_count:
            return CONFIRM_S
        if not self._failures:
            self._backoff.reset()
            return CLOSE_PAUSE_S
        first = self._failures[0]
        wanted_s = max(failure.retry_after_s for failure in self._failures)
        pause_s = wanted_s or self._backoff.next_s()
        self._say(
            "guard_retrying",
            failures=len(self._failures),
            reason=str(first),
            pause_ms=round(pause_s * 1000),
        )
        return pause_s

    async def _close(self, position_lots: tuple[int, ...]) -> None:
        held = [
            (instrument, lots)
            for instrument, lots in zip(self._instruments, position_lots, strict=True)
            if lots
        ]
        await asyncio.gather(*(self._try(self._close_one(*each)) for each in held))

    async def _close_one(self, instrument: Instrument, lots: int) -> bool:
        top = await self._venue.top(instrument)
        side = Side.SELL if lots > 0 else Side.BUY
        place = self._instruments.index(instrument)
        attempt = self._close_counts[place]
        self._close_counts[place] += 1
        price_ticks, time_in_force = self.closing_terms(top, side, attempt)
        self._order_count += 1
        quantity_lots = min(abs(lots), instrument.lots_max)
        self._say(
            "guard_closing",
            instrument=instrument.symbol,
            side=side.name,
            quantity=instrument.quantity_text(quantity_lots),
            price=instrument.price_text(price_ticks) if price_ticks else "market",
            attempt=attempt + 1,
        )
        await self._venue.close_position(
            instrument,
            side=side,
            quantity_lots=quantity_lots,
            price_ticks=price_ticks,
            time_in_force=time_in_force,
            client_order_id=f"{GUARD_ORDER_ID_PREFIX}{self._tag}-{self._order_count}",
        )
        return True

    def closing_terms(self, top: Top, side: Side, attempt: int) -> tuple[int, str]:
        """Return price in ticks, 0 for a market order, and time in force of the n-th attempt."""
        settings = self._settings
        width_bps = settings.flatten_bps_first * GROWTH ** min(attempt, 60)
        beyond = attempt - _widest_attempt(settings)
        reference = top.ask_ticks if side is Side.BUY else top.bid_ticks
        reference = reference or top.mark_ticks
        if (beyond > 0 and beyond % 3 == 1) or not reference:
            return 0, "IOC"
        width_frac = min(width_bps, settings.flatten_bps_max) / BPS_PER_UNIT
        if side is Side.BUY:
            price_ticks = math.ceil(reference * (1.0 + width_frac))
        else:
            price_ticks = max(math.floor(reference * (1.0 - width_frac)), 1)
        return price_ticks, "GTC" if beyond > 0 and beyond % 3 == 2 else "IOC"

    async def _each(self, ask: Callable[[Instrument], Awaitable[Any]]) -> list[Any]:
        """Ask for every instrument at once; failures are kept and leave a 1, which is not clean."""
        found = await asyncio.gather(*(self._try(ask(each)) for each in self._instruments))
        return [1 if answer is None else answer for answer in found]

    async def _try(self, asking: Awaitable[Any]) -> Any:
        try:
            answer = await asking
        except EmergencyError as error:
            self._failures.append(error)
            return None
        return True if answer is None else answer

    def _end(
        self,
        is_clean: bool,
        open_count: int,
        position_lots: tuple[int, ...],
        pass_count: int,
        began_ns: int,
        reason: str,
    ) -> Rescued:
        return Rescued(
            is_clean=is_clean,
            open_order_count=open_count,
            position_lots=position_lots,
            pass_count=pass_count,
            took_s=round((self._clock.monotonic_ns() - began_ns) / NS_PER_S, 3),
            reason=reason,
        )

    def _say(self, event: str, **fields: object) -> None:
        self._note(Note(event=event, event_ns=self._clock.now_ns(), fields=fields))


def _widest_attempt(settings: GuardSettings) -> int:
    """Return the first attempt that reaches as far as any may."""
    return math.ceil(math.log(settings.flatten_bps_max / settings.flatten_bps_first, GROWTH))
