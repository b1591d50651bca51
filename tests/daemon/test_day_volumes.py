"""How much is traded in a day reaches the gate: real ccxt, real TLS, the simulated exchange."""

from __future__ import annotations

import asyncio

import pytest

from config.settings import Settings, SimulatedSettings
from daemon.clock import SystemClock
from daemon.simulated import process
from daemon.simulated.listings import listed_instruments
from daemon.venues import day_volumes
from daemon.venues.connect import connect, load_instruments
from daemon.venues.day_volumes import DayVolumes
from kernels.events import DayVolume, Event

SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT")


async def test_every_instrument_gets_its_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    """The venue's own ticker becomes one event an instrument, in lots, stamped by our clock."""
    simulated = SimulatedSettings(market="volatile", latency_ms=0.0)
    venue = await process.start(simulated, SYMBOLS)
    try:
        settings = Settings(instruments=SYMBOLS, simulated=simulated)
        exchange = await connect(settings, None, venue.access)
        try:
            instruments = load_instruments(exchange, SYMBOLS)
            events: list[DayVolume] = []

            def put(event: Event) -> bool:
                assert isinstance(event, DayVolume)
                events.append(event)
                return True

            volumes = DayVolumes(exchange, instruments, put, SystemClock())
            monkeypatch.setattr(day_volumes, "FIRST_INTERVAL_S", 0.2)
            for symbol in SYMBOLS:  # the market begins to move when somebody looks
                await exchange.watch_trades(symbol)
            keeping = asyncio.create_task(volumes.keep())
            async with asyncio.timeout(10):
                while not all(
                    any(each.volume_lots > 0 for each in events if each.instrument == index)
                    for index in range(len(SYMBOLS))
                ):
                    await asyncio.sleep(0.02)
            keeping.cancel()
            row = await exchange.fapiPublicGetTicker24hr({"symbol": instruments[0].venue_id})
        finally:
            await exchange.close()
    finally:
        await venue.stop()
    newest = [each for each in events if each.instrument == 0][-1]
    later_lots = instruments[0].quantity_lots(row["volume"])
    assert newest.volume_lots == pytest.approx(later_lots, rel=0.9)


async def test_answer_without_a_volume_is_an_error() -> None:
    """A negative volume is no evidence: whoever runs the poller notes it and tries again."""

    class Liar:
        async def fapiPublicGetTicker24hr(  # noqa: N802 - ccxt's own name
            self, _: dict[str, str]
        ) -> dict[str, str]:
            return {"volume": "-1"}

    instruments = listed_instruments(SYMBOLS, maker_fee_bps=2.0, taker_fee_bps=5.0)
    liar = DayVolumes(Liar(), instruments, lambda _: True, SystemClock())  # type: ignore[arg-type]  # one call of it
    with pytest.raises(ValueError, match="volume -1"):
        await liar.ask(instruments[0])
