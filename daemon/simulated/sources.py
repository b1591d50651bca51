"""Which market an exchange serves: a recording, bars, or a synthetic world."""

from __future__ import annotations

from pathlib import Path

from config.settings import SimulatedSettings
from daemon.simulated.bars_source import BarsSource
from daemon.simulated.capture_source import CaptureSource, capture_venue_ids
from daemon.simulated.listings import find_listing, listed_instruments
from daemon.simulated.market_source import MarketSource
from daemon.simulated.synthetic_source import SyntheticSource


def make_source(settings: SimulatedSettings, names: tuple[str, ...]) -> MarketSource:
    """Open the market of these settings; ValueError or CaptureError say what is wrong with it.

    A capture lists those of the named instruments that it holds, and must hold one. Files of bars
    belong to the first of the named instruments, one each in order; the others are not listed.
    """
    path = Path(settings.capture)
    if settings.capture:
        held = capture_venue_ids(path)
        names = tuple(name for name in names if find_listing(name).venue_id in held) or names
    elif settings.bars:
        names = names[: len(settings.bars)]
    instruments = listed_instruments(
        names, maker_fee_bps=settings.maker_fee_bps, taker_fee_bps=settings.taker_fee_bps
    )
    if settings.capture:
        return CaptureSource(path, instruments)
    if settings.bars:
        return BarsSource(
            [Path(name) for name in settings.bars],
            instruments,
            settings.seed,
            settings.bars_from,
            settings.bars_volume,
        )
    return SyntheticSource(instruments, settings.market, settings.seed)
