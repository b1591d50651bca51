"""A recording made of the simulated exchange replays as the market it was."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from config.settings import Settings, SimulatedSettings
from daemon import cli
from daemon.clock import SystemClock
from daemon.effects import Note
from daemon.simulated import process
from daemon.simulated.capture_source import CaptureSource
from daemon.simulated.listings import listed_instruments
from daemon.simulated.spot_capture import is_spot_capture
from daemon.venues.connect_spot import connect_feed
from daemon.venues.recorder import Recorder
from tests.fakes.mutation_runs import false_alarms
from tests.fakes.recording import btc, spot_btc
from tests.fakes.virtual_venue import read_recording

SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT")


async def _record(path: Path, symbols: tuple[str, ...], line_count: int) -> dict[str, int]:
    """Record that many lines; return the exchange's own count of frames sent."""
    simulated = SimulatedSettings(market="volatile", seed=5)
    venue = await process.start(simulated, symbols)
    notes: list[Note] = []
    try:
        settings = Settings(instruments=symbols, simulated=simulated)
        exchange, instruments = await connect_feed(settings, venue.access)
        recorder = Recorder(
            exchange,
            instruments,
            path,
            SystemClock(),
            notes.append,
            settings=settings.feed,
            generator=np.random.default_rng(1),
        )
        recorder.start()
        async with asyncio.timeout(20):
            while sum(recorder.line_counts.values()) < line_count:
                await asyncio.sleep(0.02)
        assert not path.exists()
        await recorder.close()
        await exchange.close()
    finally:
        await venue.stop()
    assert recorder.gap_count == recorder.refused_count == 0
    assert recorder.line_counts["snapshot"] == len(symbols)
    assert [note.event for note in notes] == ["feed_connected"]
    sent: dict[str, int] = venue.report()["frames_sent"]
    return {name: count for name, count in sent.items() if "@" in name}


async def test_a_recording_holds_every_frame_and_replays(tmp_path: Path) -> None:
    """Two instruments: the exchange's own reader takes the file, ids are unbroken, books open."""
    path = tmp_path / "own.gz"
    sent = await _record(path, SYMBOLS, 1_000)
    lines = gzip.decompress(path.read_bytes()).splitlines()
    assert all(len(line.partition(b" ")[0]) == 19 for line in lines)
    streams = Counter(json.loads(line[20:]).get("stream", "snapshot") for line in lines)
    for name, count in sent.items():
        assert count - 200 <= streams[name] <= count  # frames under way when it was closed
    source = CaptureSource(path, listed_instruments(SYMBOLS, maker_fee_bps=2.0, taker_fee_bps=5.0))
    assert len(list(source.frames())) == len(lines)


async def test_a_recording_of_ours_raises_no_alarm(tmp_path: Path) -> None:
    """Sent through a feed again, what was recorded proves itself from snapshot to end."""
    path = tmp_path / "own.gz"
    await _record(path, SYMBOLS[:1], 500)
    lines = gzip.decompress(path.read_bytes()).splitlines()
    recording = read_recording(lines, btc())
    alarms, replayed = await asyncio.to_thread(false_alarms, recording)
    assert not alarms
    assert replayed.witness.decision_count > 0
    assert not replayed.witness.wrong_decisions


async def test_a_recording_of_spot_raises_no_alarm(tmp_path: Path) -> None:
    """Pairs are recorded in spot's dialect, told as such, and prove themselves when sent again."""
    path = tmp_path / "spot.gz"
    await _record(path, ("BTC/USDT",), 500)
    assert is_spot_capture(path)
    lines = gzip.decompress(path.read_bytes()).splitlines()
    recording = read_recording(lines, spot_btc())
    alarms, replayed = await asyncio.to_thread(false_alarms, recording)
    assert not alarms
    assert replayed.witness.decision_count > 0
    assert not replayed.witness.wrong_decisions


def test_the_command_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An existing file is left alone, in one line and with the exit code of a refused input."""
    path = tmp_path / "mine.gz"
    path.write_bytes(b"precious")
    assert cli.main(["record", "--out", str(path), "--for", "1s"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert path.read_bytes() == b"precious"


def test_the_commands_refuse_what_they_cannot_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No raw streams over the generic path, no orders either, no exchange that does not exist."""
    venue = ["--venue", "ccxt:kraken"]
    assert cli.main(["record", "--out", str(tmp_path / "x.gz"), *venue]) == 2
    assert "no raw streams" in capsys.readouterr().err
    assert cli.main(["run", "--set", "venue=ccxt:kraken", "--set", "mode=testnet"]) == 78
    assert "no verified order support" in capsys.readouterr().err
    assert cli.main(["watch", "--venue", "ccxt:mtgox", "--for", "1s"]) == 1
    assert "ccxt.pro has no exchange 'mtgox'" in capsys.readouterr().err


def test_watch_tells_what_the_feed_is_worth(capfd: pytest.CaptureFixture[str]) -> None:
    """On the built-in exchange every instrument is OK at the end, and the counts are there."""
    assert cli.main(["watch", "--for", "4s", "--json"]) == 0
    told = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert told["verdicts"] == dict.fromkeys(SYMBOLS, "OK")
    assert told["counters"]["lost_count"] == 0
    assert told["events"]["Trade"] > 0
