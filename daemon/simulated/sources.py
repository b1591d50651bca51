"""Which market an exchange serves: a recording, bars, or a synthetic world."""

from __future__ import annotations

from pathlib import Path

from config.settings import SimulatedSettings
from daemon.simulated.bars_source import BarsSource
from daemon.simulated.capture_source import CaptureSource, capture_venue_ids
from daemon.simulated.dialects import split_names
from daemon.simulated.listings import find_listing, listed_instruments
from daemon.simulated.market_source import MarketSource
from daemon.simulated.spot_capture import SpotCaptureSource, held_pairs, is_spot_capture
from daemon.simulated.spot_listings import spot_instruments
from daemon.simulated.synthetic_source import SyntheticSource
from kernels.units import Instrument


def make_source(settings: SimulatedSettings, names: tuple[str, ...]) -> MarketSource:
    """Open the market of these settings; ValueError or CaptureError say what is wrong with it.

    A capture lists those of the named instruments that it holds, and must hold one; whether it is
    one of futures or of spot is told by its records. Files of bars
    belong to the first of the named instruments, one each in order; the others are not listed.
    """
    path = Path(settings.capture)
    contracts, pairs = split_names(names)
    if settings.capture:
        if is_spot_capture(path):
            return SpotCaptureSource(path, _pairs(settings, held_pairs(path, pairs), 0))
        held = capture_venue_ids(path)
        contracts = (
            tuple(name for name in contracts if find_listing(name).venue_id in held) or contracts
        )
        pairs = ()
    elif settings.bars:
        contracts, pairs = contracts[: len(settings.bars)], ()
    instruments = listed_instruments(
        contracts, maker_fee_bps=settings.maker_fee_bps, taker_fee_bps=settings.taker_fee_bps
    ) + _pairs(settings, pairs, len(contracts))
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


def _pairs(
    settings: SimulatedSettings, names: tuple[str, ...], first_index: int
) -> tuple[Instrument, ...]:
    return spot_instruments(
        names,
        first_index=first_index,
        maker_fee_bps=settings.spot_fee_bps,
        taker_fee_bps=settings.spot_fee_bps,
    )
