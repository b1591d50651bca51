"""The shipped bundle and the command that builds it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kernels.events import AGENTS, REGIMES
from kernels.features import DEFAULT_FEATURE_NAMES, RESEARCH_FEATURE_NAMES
from strategy.agents.registry import build_agent
from strategy.archive import write_bundle
from strategy.bundle import DEFAULT_BUNDLE_PATH, load
from strategy.calibration import (
    calibrate_agents,
    calibrate_predictor,
    silence_regimes,
    top_shares,
)
from strategy.export import SCHEMAS, demonstration_recipe, main, untrained_ensemble
from strategy.observation import CLIP, Normalisation
from strategy.predictor import PerformancePredictor
from strategy.regimes import MarketRegimeClassifier
from strategy.runtime import Runtime
from strategy.sampling import (
    drawn_positions,
    fit_normalisation,
    observe_sample,
    sample_features,
)
from tests.fakes.small_bundle import drawn_observations


@pytest.fixture(scope="module")
def other_sample() -> NDArray[np.float64]:
    """Return features from markets that the shipped bundles were not calibrated on."""
    return sample_features(RESEARCH_FEATURE_NAMES, bars=480, bar_interval_ms=1000, seed=99)


@pytest.mark.parametrize(("name", "schema"), [("untrained", "default"), ("research", "research")])
def test_the_untrained_bundles_load_and_use_every_path(
    name: str, schema: str, other_sample: NDArray[np.float64]
) -> None:
    """On unseen markets each agent still takes each action, and several regimes occur."""
    names = SCHEMAS[schema]
    bundle = load(DEFAULT_BUNDLE_PATH.with_name(name), names, now_ns=1)
    obs_BF = observe_sample(bundle.normalisation, other_sample[:, : len(names)], seed=99)
    judgement = Runtime(bundle).decide(obs_BF, drawn_positions(len(obs_BF), len(AGENTS), 99))
    assert judgement.healthy_BA.all()
    for agent in range(len(AGENTS)):
        shares = np.bincount(judgement.action_BA[:, agent], minlength=3) / len(obs_BF)
        assert shares.min() >= 0.08, (AGENTS[agent], shares)
    regimes = np.bincount(judgement.regime_BK.argmax(axis=1), minlength=len(REGIMES))
    assert (regimes > 0).sum() >= 5
    assert judgement.predicted_BA.std(axis=0).min() > 0.01


def test_the_default_schema_opens_the_research_schema() -> None:
    """The sample above may be cut to the default features, because they come first."""
    assert RESEARCH_FEATURE_NAMES[: len(DEFAULT_FEATURE_NAMES)] == DEFAULT_FEATURE_NAMES


def test_the_command_writes_a_bundle_that_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It prints the hash of what it wrote, twice the same for one seed, another for the next."""
    assert main(["--out", str(tmp_path / "a"), "--seed", "5", "--bars", "240"]) == 0
    first = load(tmp_path / "a", DEFAULT_FEATURE_NAMES, now_ns=1)
    assert first.sha256 in capsys.readouterr().out
    assert first.manifest.seed == 5
    (tmp_path / "b").mkdir()
    assert main(["--out", str(tmp_path / "b" / "a"), "--seed", "5", "--bars", "240"]) == 0
    assert load(tmp_path / "b" / "a", DEFAULT_FEATURE_NAMES, now_ns=1).sha256 == first.sha256
    assert main(["--out", str(tmp_path / "a"), "--seed", "6", "--bars", "240"]) == 0
    assert load(tmp_path / "a", DEFAULT_FEATURE_NAMES, now_ns=1).sha256 != first.sha256


def test_the_command_refuses_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown agent, or a directory that is no bundle, ends with 1 and a reason."""
    assert main(["--out", str(tmp_path / "c"), "--bars", "24", "--agents", "oracle"]) == 1
    assert "unknown agent 'oracle'" in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    assert main(["--out", str(tmp_path / "mine"), "--bars", "240"]) == 1
    assert "is no bundle" in capsys.readouterr().err


def test_a_bundle_of_other_agents(tmp_path: Path) -> None:
    """Any known agents in any order make a bundle, through the composed form."""
    names = ("ppo", "d3qn")
    recipe = demonstration_recipe(seed=2, agents=names, bars=240, name="pair")
    write_bundle(tmp_path / "pair", recipe)
    bundle = load(tmp_path / "pair", DEFAULT_FEATURE_NAMES, now_ns=1)
    assert bundle.agents == names
    judgement = Runtime(bundle).decide(recipe.obs_BF[:3], recipe.held_BA[:3])
    assert judgement.action_BA.shape == (3, 2)


def test_the_sample_is_a_function_of_its_seed(other_sample: NDArray[np.float64]) -> None:
    """Same arguments, same bits; finite; hours and funding vary."""
    names = RESEARCH_FEATURE_NAMES
    again = sample_features(names, bars=480, bar_interval_ms=1000, seed=99)
    np.testing.assert_array_equal(again, other_sample)
    assert np.isfinite(other_sample).all()
    assert other_sample.shape == (480, len(names))
    for name in ("time_of_day_sin", "funding_rate_bps"):
        assert other_sample[:, names.index(name)].std() > 0.1


def test_normalisation_of_a_sample(other_sample: NDArray[np.float64]) -> None:
    """Most inputs lie within three scales of the mean; constants keep their scale of one."""
    normalisation = fit_normalisation(other_sample)
    centred = (other_sample - normalisation.mean_F) / normalisation.scale_F
    assert (np.abs(centred) < 3.0).mean() > 0.95
    flat = np.column_stack([np.full(50, 7.0), np.arange(50.0)])
    fitted = fit_normalisation(flat)
    assert fitted.scale_F[0] == 1.0
    assert fitted.mean_F[0] == 7.0
    obs_BF = observe_sample(normalisation, other_sample, seed=1)
    assert float(np.abs(obs_BF).max()) <= CLIP


def test_a_sample_that_is_not_finite_is_refused() -> None:
    """A NaN would otherwise be frozen into the model."""
    with pytest.raises(ValueError, match="not finite"):
        fit_normalisation(np.array([[1.0], [np.nan]]))


@pytest.mark.parametrize("name", AGENTS)
def test_calibration_balances_the_actions(name: str) -> None:
    """Every action is on top about a third of the time, where it was not before."""
    torch.manual_seed(11)
    obs_BF = torch.from_numpy(drawn_observations(12, 600, seed=11))
    agent = build_agent(name, 12).eval()
    temperature = calibrate_agents([agent], [obs_BF])
    with torch.inference_mode():
        np.testing.assert_allclose(top_shares(agent(obs_BF)), 1 / 3, atol=0.03)
    assert float(temperature[0]) > 0.0


def test_calibration_spreads_predictions_and_silences_regimes() -> None:
    """Predictions have mean 0 and deviation 0.3; the classifier repeats the filter's posterior."""
    torch.manual_seed(12)
    obs_BF = torch.from_numpy(drawn_observations(18, 600, seed=12))
    regimes = MarketRegimeClassifier(9, len(REGIMES)).eval()
    predictor = PerformancePredictor(18, len(REGIMES), 5).eval()
    obs_BF[:, 9:16] = torch.softmax(torch.randn(600, 7), dim=1)
    silence_regimes(regimes)
    with torch.inference_mode():
        regime_BK = torch.softmax(regimes(obs_BF), dim=1)
    torch.testing.assert_close(regime_BK, obs_BF[:, 9:16], atol=1e-3, rtol=1e-2)
    calibrate_predictor(predictor, obs_BF, regime_BK)
    with torch.inference_mode():
        predicted = predictor(obs_BF, regime_BK)
    assert float(predicted.mean()) == pytest.approx(0.0, abs=1e-3)
    assert float(predicted.std()) == pytest.approx(0.3, rel=1e-2)


def test_building_leaves_torchs_own_seed_alone() -> None:
    """A caller's random numbers do not depend on whether a bundle was built."""
    normalisation = Normalisation(mean_F=np.zeros(4), scale_F=np.ones(4))
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    obs_BF = drawn_observations(normalisation.observation_count, 100, seed=1)
    untrained_ensemble(("ppo",), normalisation, obs_BF, drawn_positions(100, 1, 1), seed=9)
    assert torch.equal(torch.rand(3), wanted)
