"""The setting regime_features_dim acts: 50 or 75 features from the book to the decision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from config.load import ConfigError, load_settings
from config.settings import Settings
from daemon.clock import ManualClock
from daemon.decisions import Decider
from daemon.instrument_state import InstrumentState
from daemon.model_loading import load_model
from daemon.simulated.listings import listed_instruments
from kernels.features import DEFAULT_FEATURE_NAMES, RESEARCH_FEATURE_NAMES
from strategy.bundle import UNTRAINED_BUNDLE_PATH, BundleError
from strategy.observation import OBSERVATION_EXTRA_NAMES

BAR_NS = 1_000_000_000


def settings_with(dimension: int, *more: str) -> Settings:
    """Load the defaults with this number of features."""
    return load_settings(None, None, [f"meta.regime_features_dim={dimension}", *more])


@pytest.mark.parametrize(
    ("dimension", "names", "more"),
    [
        (50, DEFAULT_FEATURE_NAMES, (f"model.bundle={UNTRAINED_BUNDLE_PATH}",)),
        (75, RESEARCH_FEATURE_NAMES, ()),
    ],
)
def test_dimension_reaches_the_models(
    dimension: int, names: tuple[str, ...], more: tuple[str, ...]
) -> None:
    """Schema, engine and observation have that many features, and the models judge them all."""
    settings = settings_with(dimension, *more)
    model, bundle = load_model(settings, ManualClock())
    decider = Decider(model, settings, 1)
    instruments = listed_instruments(("BTC/USDT:USDT",), maker_fee_bps=2.0, taker_fee_bps=5.0)
    market = InstrumentState(instruments[0], decider.feature_names, BAR_NS)
    assert decider.feature_names == names
    assert len(market.features.values_F) == dimension
    assert bundle.manifest.observation.feature_names == names
    width = dimension + len(OBSERVATION_EXTRA_NAMES)
    quiet_BF = np.zeros((1, width), np.float32)
    held_BA = np.ones((1, len(bundle.agents)), np.int64)
    moved_BF = quiet_BF.copy()
    moved_BF[0, dimension - 1] = 4.0
    moved_BF[0, dimension] = 0.9  # the regime filter's posterior stands right after the features
    quiet = model.judge.decide(quiet_BF, held_BA)
    moved = model.judge.decide(moved_BF, held_BA)
    assert quiet.healthy_BA.all()
    assert not np.allclose(quiet.preference_BA3, moved.preference_BA3)
    assert not np.allclose(quiet.regime_BK, moved.regime_BK)


def test_other_dimension_refuses_a_bundle(tmp_path: Path) -> None:
    """A bundle of 50 features does not serve a schema of 75: said at start, not guessed."""
    settings = settings_with(75, f"model.bundle={UNTRAINED_BUNDLE_PATH}")
    with pytest.raises(BundleError, match="feature"):
        load_model(settings, ManualClock())


def test_no_third_dimension() -> None:
    """Only the two schemas that exist can be set."""
    with pytest.raises(ConfigError, match="regime_features_dim"):
        settings_with(60)
