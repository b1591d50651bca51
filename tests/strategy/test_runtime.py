"""One judgement per call: right numbers, own memory, and failures that are seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from config.settings import MetaLearningSettings
from kernels.events import AGENTS, REGIMES
from strategy.agents.d3qn import D3qn
from strategy.agents.double_dqn import DoubleDqn
from strategy.agents.ppo import Ppo
from strategy.answers import UNHEALTHY_ACTION
from strategy.archive import write_bundle
from strategy.bundle import DEFAULT_BUNDLE_PATH, Bundle, load
from strategy.ensemble import combine, weigh
from strategy.fused import ComposedEnsemble
from strategy.manifest import parse_manifest
from strategy.observation import EXTRA_COUNT, HELD_COUNT
from strategy.predictor import PerformancePredictor
from strategy.regimes import MarketRegimeClassifier
from strategy.runtime import Judgement, Runtime
from strategy.sampling import drawn_positions
from tests.fakes.small_bundle import FEATURE_NAMES, drawn_observations, small_recipe

WIDTH = len(FEATURE_NAMES) + EXTRA_COUNT


def held(rows: int, agents: int = len(AGENTS)) -> NDArray[np.int64]:
    """Return seeded own positions."""
    return drawn_positions(rows, agents, seed=rows)


@pytest.fixture(scope="module")
def bundle(pristine_bundle: Path) -> Bundle:
    """Load the small bundle once."""
    return load(pristine_bundle, FEATURE_NAMES, now_ns=10)


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_the_judgement_is_the_modules_answer(bundle: Bundle, rows: int) -> None:
    """Preallocated input and frozen script change nothing."""
    obs_BF = drawn_observations(WIDTH, rows, seed=rows)
    with torch.inference_mode():
        wanted = small_recipe().ensemble(torch.from_numpy(obs_BF), torch.from_numpy(held(rows)))
    found = Runtime(bundle).decide(obs_BF, held(len(obs_BF)))
    np.testing.assert_allclose(found.preference_BA3, wanted[0], atol=2e-5)
    np.testing.assert_array_equal(found.action_BA, wanted[1])
    np.testing.assert_allclose(found.confidence_BA, wanted[2], atol=2e-5)
    np.testing.assert_allclose(found.regime_BK, wanted[3], atol=2e-5)
    np.testing.assert_allclose(found.predicted_BA, wanted[4], atol=2e-5)
    np.testing.assert_allclose(found.regime_BK.sum(axis=1), 1.0, atol=1e-6)
    assert found.healthy_BA.all()
    assert found.regime_healthy_B.all()
    assert found.error == ""


def test_batches_and_single_rows_agree(bundle: Bundle) -> None:
    """Who shares a call does not matter."""
    runtime = Runtime(bundle)
    runtime.warm_up(3)
    obs_BF = drawn_observations(WIDTH, 3, seed=9)
    together = runtime.decide(obs_BF, held(len(obs_BF)))
    for row in range(3):
        alone = runtime.decide(obs_BF[row : row + 1], held(3)[row : row + 1])
        np.testing.assert_allclose(alone.preference_BA3[0], together.preference_BA3[row], atol=1e-5)
        np.testing.assert_array_equal(alone.action_BA[0], together.action_BA[row])


def test_equal_inputs_give_equal_bits(bundle: Bundle) -> None:
    """A repeated decision is bit-identical, also through a second runtime."""
    obs_BF = drawn_observations(WIDTH, 2, seed=4)
    first = Runtime(bundle).decide(obs_BF, held(len(obs_BF)))
    runtime = Runtime(bundle)
    runtime.warm_up()
    second = runtime.decide(obs_BF, held(len(obs_BF)))
    for name in ("preference_BA3", "action_BA", "confidence_BA", "regime_BK", "predicted_BA"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_a_judgement_keeps_its_numbers(bundle: Bundle) -> None:
    """The next decision overwrites nothing of the last one, and the caller keeps its input."""
    runtime = Runtime(bundle)
    obs_BF = drawn_observations(WIDTH, 1, seed=5)
    kept_BF = obs_BF.copy()
    first = runtime.decide(obs_BF, held(len(obs_BF)))
    kept = first.preference_BA3.copy()
    runtime.decide(-obs_BF, held(1))
    np.testing.assert_array_equal(first.preference_BA3, kept)
    np.testing.assert_array_equal(obs_BF, kept_BF)


@pytest.mark.parametrize(
    "obs_BF",
    [
        np.zeros((1, WIDTH + 1), np.float32),
        np.zeros((1, WIDTH), np.float64),
        np.zeros(WIDTH, np.float32),
    ],
)
def test_another_shape_or_type_is_the_callers_fault(
    bundle: Bundle, obs_BF: NDArray[np.float32]
) -> None:
    """It raises instead of guessing."""
    with pytest.raises(ValueError, match="wanted float32"):
        Runtime(bundle).decide(obs_BF, held(len(obs_BF)))


@pytest.mark.parametrize(
    "held_BA", [np.ones((1, 4), np.int64), np.ones((1, 5), np.int32), np.ones(5, np.int64)]
)
def test_positions_of_another_shape_are_refused(bundle: Bundle, held_BA: NDArray[np.int64]) -> None:
    """One position for each agent of each row, or nothing."""
    with pytest.raises(ValueError, match="wanted int64"):
        Runtime(bundle).decide(np.zeros((1, WIDTH), np.float32), held_BA)


def test_an_agent_sees_its_own_position_only(bundle: Bundle) -> None:
    """Moving one agent's position changes its preferences and nobody else's."""
    runtime = Runtime(bundle)
    obs_BF = drawn_observations(WIDTH, 1, seed=8)
    flat_BA = np.ones((1, len(AGENTS)), np.int64)
    before = runtime.decide(obs_BF, flat_BA).preference_BA3
    for agent in range(len(AGENTS)):
        moved_BA = flat_BA.copy()
        moved_BA[0, agent] = 2
        after = runtime.decide(obs_BF, moved_BA).preference_BA3
        changed = np.abs(after - before).max(axis=2)[0] > 1e-5
        assert changed.tolist() == [other == agent for other in range(len(AGENTS))]


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_an_input_that_is_not_finite_takes_everyone_out(bundle: Bundle, poison: float) -> None:
    """No agent votes on that row, no regime is trusted, and the other row is untouched."""
    obs_BF = drawn_observations(WIDTH, 2, seed=6)
    obs_BF[0, 2] = poison
    judgement = Runtime(bundle).decide(obs_BF, held(len(obs_BF)))
    assert not judgement.healthy_BA[0].any()
    assert (judgement.action_BA[0] == UNHEALTHY_ACTION).all()
    assert not judgement.regime_healthy_B[0]
    assert judgement.healthy_BA[1].all()
    assert judgement.regime_healthy_B[1]
    meta = MetaLearningSettings()
    assert weigh(judgement.predicted_BA[0], judgement.healthy_BA[0], meta) is None
    assert weigh(judgement.predicted_BA[1], judgement.healthy_BA[1], meta) is not None


class Touchy(nn.Module):
    """Divides by the first input: not finite where that is zero; raises where it is five."""

    def __init__(self, observation_count: int) -> None:
        """Take the width of a row."""
        super().__init__()
        self.width = observation_count

    def forward(self, obs_BF: Tensor) -> Tensor:
        """Prefer by the inverse of the first input."""
        if bool((obs_BF[:, 0] == 5.0).any()):
            raise ValueError("five is too much")
        return torch.stack((obs_BF[:, 1], obs_BF[:, 2], 1.0 / obs_BF[:, 0]), dim=1)


@pytest.fixture(scope="module")
def touchy(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """Return a runtime whose fourth agent can fail."""
    torch.manual_seed(8)
    classes = (D3qn, DoubleDqn, Ppo, Touchy)
    ensemble = ComposedEnsemble(
        [agent_class(WIDTH + HELD_COUNT) for agent_class in classes],
        MarketRegimeClassifier(len(FEATURE_NAMES), len(REGIMES)),
        PerformancePredictor(WIDTH, len(REGIMES), len(classes)),
        torch.ones(len(classes)),
    ).eval()
    path = tmp_path_factory.mktemp("touchy") / "touchy"
    obs_BF = drawn_observations(WIDTH, 200, seed=1)
    obs_BF[:, 0] = np.sign(obs_BF[:, 0])
    names = ("d3qn", "double_dqn", "ppo", "touchy")
    recipe = small_recipe(ensemble=ensemble, agent_names=names, obs_BF=obs_BF, held_BA=held(200, 4))
    write_bundle(path, recipe)
    return Runtime(load(path, FEATURE_NAMES, now_ns=10))


def test_one_sick_agent_loses_its_weight_alone(touchy: Runtime) -> None:
    """It is named unhealthy, has no vote and no weight; the others decide."""
    obs_BF = drawn_observations(WIDTH, 1, seed=2)
    obs_BF[0, 0] = 0.0
    judgement = touchy.decide(obs_BF, held(len(obs_BF), 4))
    assert judgement.healthy_BA[0].tolist() == [True, True, True, False]
    assert judgement.action_BA[0, 3] == UNHEALTHY_ACTION
    weights = weigh(judgement.predicted_BA[0], judgement.healthy_BA[0], MetaLearningSettings())
    assert weights is not None
    assert weights[3] == 0.0
    target = combine(judgement.action_BA[0], weights, judgement.confidence_BA[0])
    assert -1.0 <= target.exposure <= 1.0


def test_a_module_that_raises_is_reported_and_nobody_votes(touchy: Runtime) -> None:
    """The judgement says why, and the ensemble abstains; the next decision works again."""
    obs_BF = drawn_observations(WIDTH, 2, seed=3)
    obs_BF[1, 0] = 5.0
    judgement = touchy.decide(obs_BF, held(len(obs_BF), 4))
    assert "five is too much" in judgement.error
    assert not judgement.healthy_BA.any()
    assert (judgement.action_BA == UNHEALTHY_ACTION).all()
    assert np.isnan(judgement.regime_BK).all()
    assert weigh(judgement.predicted_BA[0], judgement.healthy_BA[0], MetaLearningSettings()) is None
    assert touchy.decide(obs_BF[:1], held(1, 4)).error == ""


def test_threads_are_what_the_settings_say(bundle: Bundle) -> None:
    """One by default; the knob acts."""
    Runtime(bundle, threads=2)
    assert torch.get_num_threads() == 2
    Runtime(bundle)
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("default", "trained on 60000 bars of the synthetic market trending, seed 1"),
        ("untrained", "untrained: for demonstration"),
        ("research", "untrained: for demonstration"),
    ],
)
def test_the_shipped_bundles_are_small_and_say_what_they_are(name: str, status: str) -> None:
    """At most 4 MB, the five agents, the seven regimes, and what they were taught, if anything."""
    path = DEFAULT_BUNDLE_PATH.with_name(name)
    manifest = parse_manifest((path / "manifest.json").read_bytes())
    assert sum(file.stat().st_size for file in path.iterdir()) <= 4_000_000
    assert manifest.status == status
    assert manifest.agents == AGENTS
    assert manifest.regimes == REGIMES
    assert manifest.expires_ns is None


def test_judgements_are_values() -> None:
    """A judgement cannot be changed after the fact."""
    assert Judgement.__dataclass_params__.frozen  # type: ignore[attr-defined]  # typeshed omits it
