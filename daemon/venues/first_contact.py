"""Asks a venue the few things that a first run depends on, and sends no order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ccxt.base.errors import BaseError

from config.credentials import Credentials
from config.settings import Settings
from daemon.clock import Clock
from daemon.venues.connect import Access, build, check_hosts, load_instruments
from daemon.venues.hosts import VenueError
from daemon.venues.key_rights import KeyRefusedError, KeyRights, read_rights
from daemon.venues.tap import refusal_of

TIMEOUT_S = 15.0
NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """What the venue said; ``skew_ns`` is its clock less ours, right to half of the round trip.

    ``rights`` is None on a testnet, which has no such call, and where ``rights_problem`` says why.
    """

    round_trip_ns: int
    skew_ns: int
    symbols: tuple[str, ...]
    rights: KeyRights | None
    rights_problem: str


async def first_contact(
    settings: Settings, credentials: Credentials | None, access: Access | None, clock: Clock
) -> Contact:
    """Ask for time, markets and the key's rights; raises VenueError."""
    exchange = build(settings, credentials, access)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            check_hosts(exchange)
            began_ns = clock.now_ns()
            venue_ns = int((await exchange.fapiPublicGetTime())["serverTime"]) * NS_PER_MS
            ended_ns = clock.now_ns()
            await exchange.load_markets()
            instruments = load_instruments(exchange, settings.instruments)
            rights, problem = None, ""
            try:
                rights = (
                    None if settings.mode in ("testnet", "paper") else await read_rights(exchange)
                )
            except KeyRefusedError as error:
                problem = str(error)
    except BaseError as error:
        # not chained: the text of a ccxt error may hold a signed URL
        raise VenueError(refusal_of(error).reason) from None
    except TimeoutError:
        raise VenueError(f"no answer within {TIMEOUT_S:.0f} s") from None
    finally:
        await exchange.close()
    return Contact(
        round_trip_ns=ended_ns - began_ns,
        skew_ns=venue_ns - (began_ns + ended_ns) // 2,
        symbols=tuple(instrument.symbol for instrument in instruments),
        rights=rights,
        rights_problem=problem,
    )
