"""The settings choose the market: a capture before bars, bars before a synthetic world."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.settings import SimulatedSettings
from daemon.simulated.bars_source import BarsSource
from daemon.simulated.capture_source import CaptureError, CaptureSource
from daemon.simulated.sources import make_source
from daemon.simulated.synthetic_source import SyntheticSource
from tests.daemon.simulated.test_bars_source import write_bars
from tests.fakes.recording import recording_lines, write_recording

NAMES = ("BTC/USDT:USDT", "ETH/USDT:USDT")


def test_a_synthetic_world_lists_every_name() -> None:
    """Without files the named world is served for all instruments."""
    source = make_source(SimulatedSettings(market="martingale"), NAMES)
    assert isinstance(source, SyntheticSource)
    assert [instrument.symbol for instrument in source.instruments] == list(NAMES)


def test_bars_list_as_many_names_as_there_are_files(tmp_path: Path) -> None:
    """One file serves the first instrument only, cut where the settings say."""
    path = write_bars(tmp_path / "a.parquet", 30_000.0)
    settings = SimulatedSettings(bars=(str(path),), bars_from="2022-05-12T00:12")
    source = make_source(settings, NAMES)
    assert isinstance(source, BarsSource)
    assert [instrument.symbol for instrument in source.instruments] == [NAMES[0]]
    assert source.duration_ns == 8 * 60 * 10**9


def test_a_capture_goes_before_bars_and_lists_what_it_holds(tmp_path: Path) -> None:
    """With both, the recording is served."""
    capture = write_recording(tmp_path / "capture.gz", recording_lines(50))
    settings = SimulatedSettings(capture=str(capture), bars=("none.parquet",))
    source = make_source(settings, NAMES)
    assert isinstance(source, CaptureSource)
    assert [instrument.symbol for instrument in source.instruments] == [NAMES[0]]


def test_bad_files_are_refused_before_anything_is_served() -> None:
    """A file that is missing, of either kind, raises what the exchange's process reports."""
    with pytest.raises(ValueError, match=r"none\.parquet: no such file"):
        make_source(SimulatedSettings(bars=("none.parquet",)), NAMES)
    with pytest.raises(CaptureError, match="no such file"):
        make_source(SimulatedSettings(capture="none.gz"), NAMES)
