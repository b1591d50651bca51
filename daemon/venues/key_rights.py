"""What the API key may do, read from the venue before anything is traded with it.

A key that can withdraw turns a leak of one file into a loss of everything, so it is refused. Where
the rights cannot be read, mode live refuses as well: not proven is not good enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ccxt.base.errors import BaseError

from config.settings import Settings
from daemon.venues.hosts import VenueError
from daemon.venues.tap import TapBinanceUsdm, refusal_of

TIMEOUT_S = 10.0

MOVING_MONEY = ("enableWithdrawals", "enableInternalTransfer", "permitsUniversalTransfer")
"""Rights, in the venue's words, that carry money out of the account."""

REFUSED = MOVING_MONEY[:1]
"""Rights with which no run starts; the others only move money between accounts of one owner."""

NEEDED = "enableFutures"


class KeyRefusedError(VenueError):
    """The key must not, or cannot, be used; the message says what to change at the venue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRights:
    """What a key may do: ``moves`` are rights that move money, ``is_bound`` to IP addresses."""

    can_trade: bool
    moves: tuple[str, ...]
    is_bound: bool

    @property
    def refusal(self) -> str:
        """Why the key is refused, empty when it is not."""
        forbidden = [right for right in self.moves if right in REFUSED]
        if forbidden:
            return f"the API key has {', '.join(forbidden)}: take that right away at the venue"
        if not self.can_trade:
            return f"the API key lacks {NEEDED}: give it that right at the venue"
        return ""

    @property
    def worries(self) -> tuple[str, ...]:
        """What would better be otherwise, in words for the operator."""
        found = [f"the API key has {right}" for right in self.moves if right not in REFUSED]
        if not self.is_bound:
            found.append("the API key works from any address: bind it to yours")
        return tuple(found)


def parse_rights(answer: Any) -> KeyRights:
    """Read the venue's answer; KeyRefusedError when a right is missing or no truth value."""
    if not isinstance(answer, Mapping):
        raise KeyRefusedError("the venue's answer about the API key is no object")

    def said(right: str) -> bool:
        value = answer.get(right)
        if not isinstance(value, bool):
            raise KeyRefusedError(f"the venue does not say whether the API key has {right}")
        return value

    return KeyRights(
        can_trade=said(NEEDED),
        moves=tuple(right for right in MOVING_MONEY if said(right)),
        is_bound=said("ipRestrict"),
    )


async def read_rights(exchange: TapBinanceUsdm) -> KeyRights:
    """Ask the venue; KeyRefusedError when it does not answer in time or in a known form."""
    try:
        exchange.guard(str(exchange.urls["api"]["sapi"]))
        async with asyncio.timeout(TIMEOUT_S):
            return parse_rights(await exchange.sapiGetAccountApiRestrictions())
    except BaseError as error:
        # not chained: the text of a ccxt error may hold a signed URL
        reason = refusal_of(error).reason
        raise KeyRefusedError(f"the API key's rights cannot be read: {reason}") from None
    except TimeoutError:
        raise KeyRefusedError("the API key's rights cannot be read: no answer") from None


async def check_key(exchange: TapBinanceUsdm, settings: Settings) -> KeyRights | None:
    """Return the rights of the key in use; None on a testnet, which has no such call, and on paper.

    Raises KeyRefusedError for a key that no run may use.
    """
    if settings.mode in ("testnet", "paper"):
        return None
    rights = await read_rights(exchange)
    if rights.refusal:
        raise KeyRefusedError(rights.refusal)
    return rights
