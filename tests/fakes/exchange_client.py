"""The unmodified ccxt client, led to the exchange on loopback by resolver and throw-away CA."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import ccxt.pro
from aiohttp.abc import AbstractResolver, ResolveResult

from daemon.simulated.process import SimulatedAccess


class LoopbackResolver(AbstractResolver):
    """Leads every host name to one local port and remembers the names."""

    def __init__(self, port: int) -> None:
        """Lead to ``port`` on 127.0.0.1."""
        self.port = port
        self.hosts_seen: set[str] = set()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Answer with loopback, whatever is asked."""
        self.hosts_seen.add(host)
        return [
            ResolveResult(
                hostname=host,
                host="127.0.0.1",
                port=self.port,
                family=socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        """Nothing is held."""


@asynccontextmanager
async def loopback_session(
    access: SimulatedAccess,
) -> AsyncIterator[tuple[aiohttp.ClientSession, LoopbackResolver]]:
    """Open an HTTP session that reaches only the exchange and trusts only its CA."""
    resolver = LoopbackResolver(access.port)
    trust = ssl.create_default_context(cafile=access.ca_pem_path)
    connector = aiohttp.TCPConnector(resolver=resolver, ssl=trust)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session, resolver


@asynccontextmanager
async def production_client(
    access: SimulatedAccess, options: dict[str, Any] | None = None, kind: str = "binanceusdm"
) -> AsyncIterator[tuple[Any, LoopbackResolver]]:
    """Open a ccxt.pro client exactly as it would be for production, keys included.

    ``kind`` is ``binanceusdm``, or ``binance`` for spot.
    """
    async with loopback_session(access) as (session, resolver):
        client = getattr(ccxt.pro, kind)(
            {
                "apiKey": access.api_key,
                "secret": access.api_secret,
                "session": session,
                "enableRateLimit": False,
                "options": options or {},
            }
        )
        try:
            yield client, resolver
        finally:
            await client.close()
