"""Recordings of spot: told from futures by their records, replayed under spot's names."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from config.settings import SimulatedSettings
from daemon.simulated.capture_source import CaptureError
from daemon.simulated.dialects import is_api_request, unrouted_streams
from daemon.simulated.process import ExchangeError, start
from daemon.simulated.sources import make_source
from daemon.simulated.spot_capture import is_spot_capture
from daemon.simulated.spot_listings import spot_instruments
from daemon.simulated.spot_streams import SpotDepthWindow
from daemon.simulated.streams import Route
from kernels.events import DepthDiff
from tests.fakes.exchange_client import production_client
from tests.fakes.recording import NAMES, recording_lines, spot_recording_lines, write_recording

PAIR = "BTC/USDT"
CAPTURES = Path(__file__).resolve().parents[4] / "shared" / "data" / "captures"


def test_records_tell_the_dialect(tmp_path: Path) -> None:
    """The same stream names, and yet the records differ."""
    assert is_spot_capture(write_recording(tmp_path / "a.gz", spot_recording_lines(200)))
    assert not is_spot_capture(write_recording(tmp_path / "b.gz", recording_lines(200)))
    with pytest.raises(CaptureError, match=r"bad\.gz line 1: "):
        is_spot_capture(write_recording(tmp_path / "bad.gz", [b"no capture\n"]))


def test_source_lists_the_pairs_of_a_spot_capture(tmp_path: Path) -> None:
    """Contracts are left out, streams get spot's prefix; naming no pair is refused."""
    path = write_recording(tmp_path / "spot.gz", spot_recording_lines(300))
    source = make_source(SimulatedSettings(capture=str(path)), (*NAMES, PAIR, "ETH/USDT"))
    assert [(item.symbol, item.index) for item in source.instruments] == [(PAIR, 0)]
    streams = {frame.stream for frame in source.frames()}
    prefix = "spot/btcusdt@"
    assert streams == {"", f"{prefix}trade", f"{prefix}bookTicker", f"{prefix}depth@100ms"}
    with pytest.raises(CaptureError, match="spot streams of BTCUSDT; name a pair"):
        make_source(SimulatedSettings(capture=str(path)), NAMES)


def test_synthetic_market_serves_both_dialects() -> None:
    """Contracts are numbered first, in whatever order they are named."""
    source = make_source(SimulatedSettings(), (PAIR, NAMES[0]))
    assert [item.symbol for item in source.instruments] == [NAMES[0], PAIR]
    frames: Iterator[str] = (frame.stream for frame in source.frames())
    seen = {next(frames) for _ in range(2_000)}
    assert {"btcusdt@trade", "spot/btcusdt@trade", "spot/btcusdt@bookTicker"} <= seen


async def replayed(path: Path, speed: float) -> tuple[int, float]:
    """Follow a replay with ccxt; return how many books it saw and the last best bid."""
    exchange = await start(SimulatedSettings(capture=str(path), speed=speed), (PAIR,))
    try:
        options = {"fetchMarkets": {"types": ["spot"]}}
        async with production_client(exchange.access, options, "binance") as (client, _):
            await client.load_markets()
            count, bid = 0, 0.0
            async with asyncio.timeout(30):
                while count < 20:
                    book = await client.watch_order_book(PAIR)
                    assert book["bids"][0][0] < book["asks"][0][0]
                    count, bid = count + 1, book["bids"][0][0]
            return count, bid
    finally:
        await exchange.stop()


async def test_ccxt_follows_a_replayed_spot_capture(tmp_path: Path) -> None:
    """ccxt's check of U == previous u + 1 holds over a recording."""
    path = write_recording(tmp_path / "spot.gz", spot_recording_lines(3_000))
    count, bid = await replayed(path, 4.0)
    assert (count, bid > 1_000) == (20, True)


async def test_real_recording_is_followed() -> None:
    """The same over the recorded market of 8 August 2024, where it is at hand."""
    path = CAPTURES / "binance_spot_btcusdt_20240808.gz"
    if not path.exists():
        pytest.skip(f"no recording at {path}")
    count, bid = await replayed(path, 10.0)
    assert count == 20
    assert 50_000 < bid < 70_000


async def test_futures_names_alone_are_refused_in_one_line(tmp_path: Path) -> None:
    """The child says what the file holds before it serves anything."""
    path = write_recording(tmp_path / "spot.gz", spot_recording_lines(300))
    with pytest.raises(ExchangeError, match="spot streams of BTCUSDT") as caught:
        await start(SimulatedSettings(capture=str(path)), NAMES)
    assert caught.value.is_refused


@pytest.mark.parametrize(
    ("host", "has_spot", "route"),
    [
        ("fstream.binance.com", True, Route.PUBLIC),
        ("fstream.binancefuture.com", True, Route.PUBLIC),
        ("stream.binance.com:9443", False, Route.SPOT),
        ("demo-stream.binance.com", False, Route.SPOT),
        ("stream.testnet.binance.vision", False, Route.SPOT),
        ("127.0.0.1:8000", True, Route.SPOT),
        ("127.0.0.1:8000", False, Route.PUBLIC),
    ],
)
def test_unrouted_streams_follow_the_host(host: str, has_spot: bool, route: Route) -> None:
    """The same path means another market at another host."""
    head = f"GET /ws/1 HTTP/1.1\r\nUpgrade: websocket\r\nHOST: {host}\r\n\r\n".encode()
    assert unrouted_streams(head, has_spot=has_spot) is route
    assert not is_api_request(head)
    assert is_api_request(head.replace(b"/ws/1", b"/ws-api/v3?timeUnit=x"))


def test_depth_windows_join_without_a_gap() -> None:
    """U is one after the previous u although the market's own ids jump."""
    item = spot_instruments((PAIR,), first_index=0, maker_fee_bps=0.0, taker_fee_bps=0.0)[0]
    window = SpotDepthWindow(item, 100)
    last_id, rendered = 10, []
    for step in range(40):
        level = np.array([[100 + step, 1]], dtype=np.int64)
        closed = window.close(step * 30, 1)
        if closed is not None:
            rendered.append(closed)
        diff = DepthDiff(
            instrument=0,
            event_ns=0,
            received_ns=0,
            first_update_id=last_id + 3,
            last_update_id=last_id + 7,
            previous_update_id=last_id,
            bid_levels_n2=level,
            ask_levels_n2=level[:0],
        )
        last_id += 7
        window.add(diff, step * 30)
    assert len(rendered) > 5
    assert set(rendered[0]) == {"e", "E", "s", "U", "u", "b", "a"}
    for before, after in pairwise(rendered):
        assert after["U"] == int(str(before["u"])) + 1
