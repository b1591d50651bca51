"""The fused module against the composed one: same numbers, every output, every batch size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from strategy.agents.d3qn import D3qn
from strategy.fused import (
    STANDARD_CLASSES,
    ComposedEnsemble,
    FusedEnsemble,
    fuse,
    is_standard,
    judge,
)
from strategy.predictor import PerformancePredictor
from strategy.regimes import MarketRegimeClassifier

FEATURES = 9
REGIMES = 7
WIDTH = FEATURES + REGIMES + 2


def composed(
    seed: int, classes: tuple[type[nn.Module], ...] = STANDARD_CLASSES
) -> ComposedEnsemble:
    """Return an ensemble with seeded weights, all biases moved away from their small start."""
    torch.manual_seed(seed)
    ensemble = ComposedEnsemble(
        [agent_class(WIDTH + 3) for agent_class in classes],
        MarketRegimeClassifier(FEATURES, REGIMES),
        PerformancePredictor(WIDTH, REGIMES, len(classes)),
        torch.linspace(0.5, 2.0, len(classes)),
    )
    with torch.no_grad():
        for name, parameter in ensemble.named_parameters():
            if "bias" in name:
                parameter.add_(torch.randn(parameter.shape))
    return ensemble.eval()


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 5, 17])
def test_fused_equals_composed(seed: int, count: int) -> None:
    """Stacking and folding change no answer beyond rounding."""
    plain = composed(seed)
    fused = torch.jit.script(fuse(plain))
    generator = torch.Generator().manual_seed(seed)
    obs_BF = 2.0 * torch.randn(count, WIDTH, generator=generator)
    held_BA = torch.randint(0, 3, (count, 5), generator=generator)
    with torch.inference_mode():
        for found, wanted in zip(fused(obs_BF, held_BA), plain(obs_BF, held_BA), strict=True):
            assert found.shape == wanted.shape
            assert found.dtype == wanted.dtype
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=2e-5)


def test_fuse_picks_the_form() -> None:
    """The standard five fuse; any other set stays composed and still scripts."""
    assert isinstance(fuse(composed(1)), FusedEnsemble)
    other = composed(1, (D3qn, D3qn))
    assert not is_standard(list(other.agents))
    assert fuse(other) is other
    with pytest.raises(TypeError, match="cannot fuse"):
        FusedEnsemble(other)
    answer = torch.jit.script(other)(torch.zeros(2, WIDTH), torch.ones(2, 2, dtype=torch.int64))
    assert [tuple(part.shape) for part in answer] == [(2, 2, 3), (2, 2), (2, 2), (2, 7), (2, 2)]


def test_the_regimes_see_the_market_only() -> None:
    """What agents hold, or are told of the next return, does not change the regime posterior."""
    fused = fuse(composed(4))
    obs_BF = torch.randn(3, WIDTH)
    moved_BF = obs_BF.clone()
    moved_BF[:, FEATURES + REGIMES :] += 1.0
    flat_BA = torch.ones(3, 5, dtype=torch.int64)
    before, after = fused(obs_BF, flat_BA), fused(moved_BF, 2 * flat_BA)
    assert torch.equal(before[3], after[3])
    assert not torch.equal(before[0], after[0])


def test_a_silent_correction_repeats_the_filter() -> None:
    """With the net's output at zero the classifier gives back the posterior of its input."""
    regimes = MarketRegimeClassifier(FEATURES, REGIMES).eval()
    with torch.no_grad():
        regimes.out.weight.zero_()
        regimes.out.bias.zero_()
    posterior_BK = torch.softmax(torch.randn(4, REGIMES), dim=1)
    obs_BF = torch.cat((torch.randn(4, FEATURES), posterior_BK, torch.zeros(4, 2)), dim=1)
    torch.testing.assert_close(
        torch.softmax(regimes(obs_BF), dim=1), posterior_BK, atol=1e-3, rtol=0.0
    )


def test_confidence_runs_from_chance_to_certainty() -> None:
    """Equal preferences give 0, one far ahead gives 1, and the temperature softens."""
    preference = torch.tensor([[[1.0, 1.0, 1.0], [50.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    action, confidence = judge(preference, torch.tensor([1.0, 1.0, 1.0]))
    np.testing.assert_allclose(confidence[0, :2], [0.0, 1.0], atol=1e-6)
    assert action[0, 1:].tolist() == [0, 2]
    softer = judge(preference, torch.tensor([1.0, 1.0, 4.0]))[1]
    assert float(softer[0, 2]) < float(confidence[0, 2])


def test_predictions_use_the_regime_and_the_agent() -> None:
    """The predictor tells agents apart and reacts to the posterior."""
    predictor = PerformancePredictor(WIDTH, REGIMES, 5).eval()
    obs_BF = torch.randn(2, WIDTH)
    calm, crisis = torch.eye(REGIMES)[[3, 3]], torch.eye(REGIMES)[[6, 6]]
    assert predictor(obs_BF, calm).shape == (2, 5)
    assert not torch.equal(predictor(obs_BF, calm), predictor(obs_BF, crisis))
    assert len(set(predictor(obs_BF, calm)[0].tolist())) == 5
