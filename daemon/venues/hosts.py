"""Which hosts a mode may talk to, and how every name leads to loopback on the simulated exchange.

Apart from ``connect``, so that the guard needs no ccxt.
"""

from __future__ import annotations

import ipaddress
import socket

from aiohttp.abc import AbstractResolver, ResolveResult

PRODUCTION_HOSTS = frozenset(
    {"fapi.binance.com", "fstream.binance.com", "ws-fapi.binance.com", "api.binance.com"}
)
"""The last one only says what the key may do; no order goes there."""

PUBLIC_HOSTS = frozenset({"fapi.binance.com", "fstream.binance.com"})
"""Of mode paper, which has no key and whose private requests never leave the process."""

DEMO_HOSTS = frozenset(
    {"demo-fapi.binance.com", "fstream.binancefuture.com", "testnet.binancefuture.com"}
)
HOSTS_BY_MODE: dict[str, frozenset[str]] = {
    "sim": PRODUCTION_HOSTS,  # names only: the resolver leads every one of them to loopback
    "paper": PUBLIC_HOSTS,
    "testnet": DEMO_HOSTS,
    "live": PRODUCTION_HOSTS,
}
SPOT_PRODUCTION_HOSTS = frozenset({"api.binance.com", "stream.binance.com", "ws-api.binance.com"})
SPOT_TESTNET_HOSTS = frozenset(
    {"testnet.binance.vision", "stream.testnet.binance.vision", "ws-api.testnet.binance.vision"}
)
SPOT_HOSTS_BY_MODE: dict[str, frozenset[str]] = {
    "sim": SPOT_PRODUCTION_HOSTS,
    "paper": SPOT_PRODUCTION_HOSTS,
    "testnet": SPOT_TESTNET_HOSTS,
    "live": SPOT_PRODUCTION_HOSTS,
}
"""Of spot, which is watched and recorded in every mode, and traded in none.

Mode paper asks production for public data, as on USD-M; no key is given to it.
"""

REST_HOST_BY_MODE: dict[str, str] = {
    "sim": "fapi.binance.com",
    "testnet": "demo-fapi.binance.com",
    "live": "fapi.binance.com",
}
"""Where signed requests of a mode go; each is in its list above."""


class VenueError(RuntimeError):
    """The venue cannot be used as configured; the message is for the operator."""


class LoopbackResolver(AbstractResolver):
    """Every host name leads to one local port; aiohttp honours the port a resolver returns."""

    def __init__(self, host: str, port: int) -> None:
        """Lead to ``host``, which must be a loopback address; VenueError otherwise."""
        if not ipaddress.ip_address(host).is_loopback:
            raise VenueError(f"the simulated exchange must be on loopback, not {host}")
        self._host = host
        self._port = port
        self.hosts_seen: set[str] = set()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Answer with the local server, whatever was asked."""
        self.hosts_seen.add(host)
        return [
            ResolveResult(
                hostname=host,
                host=self._host,
                port=self._port,
                family=socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        """Hold nothing."""
