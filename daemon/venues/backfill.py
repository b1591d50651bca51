"""Trades that a stream left out, fetched by REST and put back in their place.

While some are missing the later ones wait, so that ids reach the engine in order, none missing and
none twice. What cannot be had within a limit of time is given up, counted and said: silence for
ever would be worse than a known hole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
from ccxt.base.errors import BaseError

from daemon.clock import Clock
from daemon.venues.integrity import HELD_TRADES_MAX, InstrumentTrack
from daemon.venues.normalize import EmptyTrade
from daemon.venues.supervision import Backoff
from daemon.venues.tap import Tap, refusal_of
from daemon.venues.wire import TradeAnswer
from kernels.events import Side, Trade

NS_PER_MS = 1_000_000

NEWEST_TRADES = 1_000
"""Most trades that the call for the newest gives; it needs no key."""

PAGE_TRADES = 500
"""Trades of one page by id; the venue asks for a key and twenty units of weight."""

PAGES_MAX = 20
"""Pages read for one hole: 10,000 trades."""

GIVE_UP_NS = 5_000_000_000
"""A hole that is older than this stays one."""

_UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError)


@dataclass(slots=True)
class _Found:
    """Trades by id, and the last id up to which, from the first missing on, the venue has told.

    ``oldest_id`` is the first of the newest trades; when it lies beyond ``told_until`` + 1, what is
    between them cannot be had any more.
    """

    told_until: int
    oldest_id: int
    trades: dict[int, Trade] = field(default_factory=dict)

    @property
    def is_cut(self) -> bool:
        """Whether some of the missing trades are out of reach."""
        return self.oldest_id > self.told_until + 1


class TradeBackfill:
    """Fills the holes of one venue's trade streams."""

    def __init__(
        self,
        exchange: Tap,
        clock: Clock,
        *,
        make_backoff: Callable[[], Backoff],
        emit: Callable[[InstrumentTrack, Trade], None],
        say: Callable[..., None],
    ) -> None:
        """Hand every trade to ``emit`` in the order of ids; ``say`` takes an event and fields."""
        self._exchange = exchange
        self._clock = clock
        self._make_backoff = make_backoff
        self._emit = emit
        self._say = say

    async def fill(self, track: InstrumentTrack) -> None:
        """Fetch what is missing before the trades kept back, then let those pass.

        With nothing kept back everything up to the newest trade is fetched: the stream was away.
        """
        backoff = self._make_backoff()
        give_up_ns = self._clock.monotonic_ns() + GIVE_UP_NS
        is_asked = False
        recovered_count = 0
        while not self._release(track) or not is_asked:
            held = track.held_trades or []
            found = await self._fetch(track, held[0].trade_id if held else None)
            if found is not None:
                is_asked = True
                recovered_count += self._take(track, found)
                if held and _first_id(held) <= track.last_trade_id + 1:
                    continue
                if found.is_cut:
                    self._give_up(track, found.oldest_id)
                    is_asked = False
                    continue
                if not held:
                    continue
            if self._clock.monotonic_ns() >= give_up_ns or len(held) >= HELD_TRADES_MAX:
                is_asked = True
                if found is not None:
                    self._disbelieve(track, found.told_until)
                self._give_up(track, None)
                continue
            await asyncio.sleep(backoff.next_s())
        track.held_trades = None
        if recovered_count:
            track.recovered_trade_count += recovered_count
            symbol = track.instrument.symbol
            self._say("feed_trades_recovered", instrument=symbol, recovered=recovered_count)

    def _release(self, track: InstrumentTrack) -> bool:
        """Let kept trades pass as far as the numbering goes on; True when none is kept any more."""
        held = track.held_trades or []
        held.sort(key=_identity)
        passed_count = 0
        for each in held:
            step = track.on_trade_id(each.trade_id)
            if step > 0:
                break
            passed_count += 1
            if step == 0 and isinstance(each, Trade):
                self._emit(track, each)
        track.held_trades = held[passed_count:]
        return not track.held_trades

    def _take(self, track: InstrumentTrack, found: _Found) -> int:
        """Pass on what was found in the order of ids; return how many trades that were."""
        held = track.held_trades
        bound_id = _first_id(held) if held else found.told_until + 1
        passed_count = 0
        for trade_id in range(track.last_trade_id + 1, min(found.told_until + 1, bound_id)):
            track.last_trade_id = trade_id  # an id without a trade was used up without a print
            trade = found.trades.get(trade_id)
            if trade is not None:
                self._emit(track, trade)
                passed_count += 1
        return passed_count

    def _disbelieve(self, track: InstrumentTrack, newest_id: int) -> None:
        """Drop trades whose ids the venue itself has not reached by now: they were misread."""
        held = track.held_trades or []
        track.held_trades = [each for each in held if each.trade_id <= newest_id]
        for each in held:
            if each.trade_id > newest_id:
                reason = f"trade id {each.trade_id} is beyond the venue's newest {newest_id}"
                symbol = track.instrument.symbol
                self._say("feed_frame_refused", kind="trade", instrument=symbol, reason=reason)

    def _give_up(self, track: InstrumentTrack, oldest_id: int | None) -> None:
        """Leave the hole before the oldest trade that can still be had."""
        firsts = [_first_id(track.held_trades)] if track.held_trades else []
        if oldest_id is not None:
            firsts.append(oldest_id)
        lost_count = min(firsts, default=0) - track.last_trade_id - 1
        if lost_count <= 0:
            return
        track.lost_trade_count += lost_count
        track.last_trade_id += lost_count
        self._say("feed_trades_lost", instrument=track.instrument.symbol, lost=lost_count)

    async def _fetch(self, track: InstrumentTrack, before_id: int | None) -> _Found | None:
        """Ask for the trades after the last one passed on; None when the venue does not answer."""
        first_id = track.last_trade_id + 1
        venue_id, rules = track.instrument.venue_id, self._exchange.rules
        try:
            newest = self._read(await rules.newest_trades(venue_id, NEWEST_TRADES), track)
            if not newest:
                return _Found(first_id - 1, first_id)
            oldest_id = min(newest)
            found = _Found(first_id - 1, oldest_id)
            if oldest_id > first_id and self._exchange.apiKey:
                until_id = oldest_id if before_id is None else min(oldest_id, before_id)
                await self._fetch_pages(track, found, until_id)
            if not found.is_cut:
                found.trades |= newest
                found.told_until = max(found.told_until, max(newest))
            return found
        except BaseError as error:
            reason = refusal_of(error).reason
        except _UNREADABLE as error:
            reason = str(error)[:200]
        symbol = track.instrument.symbol
        self._say("feed_frame_refused", kind="trades", instrument=symbol, reason=reason)
        return None

    async def _fetch_pages(self, track: InstrumentTrack, found: _Found, until_id: int) -> None:
        """Read pages by id up to, not including, ``until_id``."""
        for _ in range(PAGES_MAX):
            if found.told_until + 1 >= until_id:
                return
            answer = await self._exchange.rules.trades_from(
                track.instrument.venue_id, found.told_until + 1, PAGE_TRADES
            )
            page = self._read(answer, track)
            if not page or max(page) <= found.told_until:
                return
            found.trades |= page
            found.told_until = max(page)

    def _read(self, answer: object, track: InstrumentTrack) -> dict[int, Trade]:
        """Read a REST answer as ccxt parsed it; ValueError and its like when it holds no trades."""
        rows = msgspec.convert(answer, list[TradeAnswer], strict=False)
        now_ns = self._clock.now_ns()
        instrument = track.instrument
        trades = {}
        for row in rows:
            price_ticks = instrument.price_ticks(row.price)
            quantity_lots = instrument.quantity_lots(row.qty)
            if price_ticks > 0 and quantity_lots > 0:
                trades[row.id] = Trade(
                    instrument=instrument.index,
                    event_ns=row.time * NS_PER_MS,
                    received_ns=now_ns,
                    trade_id=row.id,
                    price_ticks=price_ticks,
                    quantity_lots=quantity_lots,
                    aggressor=Side.SELL if row.isBuyerMaker else Side.BUY,
                )
        return trades


def _first_id(held: Sequence[Trade | EmptyTrade]) -> int:
    return min(each.trade_id for each in held)


def _identity(trade: Trade | EmptyTrade) -> int:
    return trade.trade_id
