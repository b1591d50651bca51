"""Which hosts a mode may talk to, and the grids it reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from config.credentials import Credentials
from config.settings import LiveSettings, Settings
from daemon.venues.connect import (
    DEMO_HOSTS,
    PRODUCTION_HOSTS,
    LoopbackResolver,
    VenueError,
    build,
    check_hosts,
    connect,
    load_instruments,
)
from daemon.venues.tap import ForbiddenHostError
from tests.fakes.scripted_venue import EXCHANGE_INFORMATION, answer, refuse, serve

KEYS = Credentials(api_key="k" * 10, api_secret="s" * 10)
TESTNET = Settings(mode="testnet", venue="binanceusdm")
LIVE = Settings(mode="live", venue="binanceusdm", live=LiveSettings(armed=True))


@pytest.mark.parametrize(("settings", "hosts"), [(TESTNET, DEMO_HOSTS), (LIVE, PRODUCTION_HOSTS)])
async def test_each_mode_has_its_own_hosts(settings: Settings, hosts: frozenset[str]) -> None:
    """Every address that a mode uses is on its list, and no address of the other mode is."""
    exchange = build(settings, KEYS, None)
    try:
        check_hosts(exchange)
        assert exchange.allowed_hosts == hosts
        for host in (PRODUCTION_HOSTS | DEMO_HOSTS) - hosts:
            with pytest.raises(ForbiddenHostError):
                await exchange.fetch(f"https://{host}/fapi/v1/ping")
            with pytest.raises(ForbiddenHostError):
                await exchange.open_stream(f"wss://{host}/public/ws/0", lambda text: True)
    finally:
        await exchange.close()


@pytest.mark.parametrize(
    ("section", "address"),
    [
        ("fapiPrivate", "https://fapi.binance.com/fapi/v1"),
        ("fapiPrivateV3", "https://fapi.binance.com/fapi/v3"),
        ("ws", {"linear": "wss://fstream.binance.com/ws"}),
        ("fapiPrivate", "https://demo-fapi.binance.com.evil.example/fapi/v1"),
    ],
)
async def test_one_production_address_stops_testnet(section: str, address: Any) -> None:
    """A single wrong address among the right ones is found before anything is sent."""
    exchange = build(TESTNET, KEYS, None)
    try:
        exchange.urls["api"][section] = address
        with pytest.raises(ForbiddenHostError):
            check_hosts(exchange)
    finally:
        await exchange.close()


def test_the_simulated_exchange_is_on_loopback_only() -> None:
    """An access that points elsewhere is refused."""
    with pytest.raises(VenueError, match="loopback"):
        LoopbackResolver("93.184.216.34", 443)


async def test_modes_and_access_belong_together(tmp_path: Path) -> None:
    """sim needs an exchange to talk to, the other modes must not be given one."""
    with pytest.raises(VenueError, match="belong together"):
        build(Settings(), None, None)
    async with serve(tmp_path) as venue:
        with pytest.raises(VenueError, match="belong together"):
            build(TESTNET, KEYS, venue)


async def test_sim_reads_grids_and_sends_nothing_elsewhere(tmp_path: Path) -> None:
    """Production names, loopback server: the grids come from its exchange information."""
    async with serve(tmp_path) as venue:
        exchange = await connect(Settings(), None, venue)
        try:
            btc, eth = load_instruments(exchange, ("BTC/USDT:USDT", "ETH/USDT:USDT"))
            assert (btc.tick_size_e8, eth.tick_size_e8) == (10_000_000, 1_000_000)
            assert (btc.lot_size_e8, btc.lots_min, btc.lots_max) == (100_000, 1, 1_000_000)
            assert btc.notional_min_quote_e8 == 100 * 10**8
            assert (btc.venue_id, eth.index) == ("BTCUSDT", 1)
            with pytest.raises(VenueError, match="DOGE"):
                load_instruments(exchange, ("DOGE/USDT:USDT",))
            resolver = exchange.session.connector._resolver
            assert resolver.hosts_seen == {"fapi.binance.com"}
        finally:
            await exchange.close()


async def test_a_venue_without_grids_is_refused(tmp_path: Path) -> None:
    """A market whose filters are missing cannot be traded."""
    row = {**EXCHANGE_INFORMATION["symbols"][0], "filters": []}
    async with serve(tmp_path) as venue:
        venue.handlers["GET /fapi/v1/exchangeInfo"] = answer(
            EXCHANGE_INFORMATION | {"symbols": [row]}
        )
        exchange = await connect(Settings(), None, venue)
        try:
            with pytest.raises(VenueError, match="grid"):
                load_instruments(exchange, ("BTC/USDT:USDT",))
        finally:
            await exchange.close()


async def test_an_unusable_venue_is_one_clear_error(tmp_path: Path) -> None:
    """A venue that refuses, or is not there, is a VenueError and leaves nothing open."""
    async with serve(tmp_path) as venue:
        venue.handlers["GET /fapi/v1/exchangeInfo"] = refuse(-1001, 500)
        with pytest.raises(VenueError, match="sim"):
            await connect(Settings(), None, venue)
        nowhere = replace(venue, port=1)
    with pytest.raises(VenueError, match="sim"):
        await connect(Settings(), None, nowhere)
