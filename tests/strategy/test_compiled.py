"""The compiled form of the ensemble: the script's answers, or it is not taken."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels.events import AGENTS
from strategy.answers import UNHEALTHY_ACTION
from strategy.bundle import UNTRAINED_BUNDLE_PATH, Bundle, load
from strategy.compiled import CompiledEnsemble
from strategy.compiled_kernel import exponential, hyperbolic_tangent
from strategy.observation import FLAT
from strategy.runtime import Runtime
from strategy.sampling import drawn_positions
from tests.fakes.small_bundle import FEATURE_NAMES, drawn_observations

SAME_MAX = 1e-5


@pytest.fixture(scope="module")
def bundle(pristine_bundle: Path) -> Bundle:
    """Load the small bundle once."""
    return load(pristine_bundle, FEATURE_NAMES, now_ns=10)


@pytest.mark.parametrize("rows", [1, 3, 500])
def test_answers_are_the_scripts(bundle: Bundle, rows: int) -> None:
    """Every number within 1e-5, and the same action where the agent is not torn."""
    obs_BF = drawn_observations(bundle.observation_count, rows, seed=rows)
    held_BA = drawn_positions(rows, len(AGENTS), seed=rows)
    wanted = Runtime(bundle).decide(obs_BF, held_BA)
    found = Runtime(bundle, form="compiled").decide(obs_BF, held_BA)
    for name in ("preference_BA3", "confidence_BA", "regime_BK", "predicted_BA"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), atol=SAME_MAX)
    top = np.sort(wanted.preference_BA3, axis=2)
    is_clear = top[:, :, 2] - top[:, :, 1] > SAME_MAX
    assert is_clear.mean() > 0.99
    assert (found.action_BA == wanted.action_BA)[is_clear].all()


def test_the_shipped_bundle_has_a_compiled_form() -> None:
    """Fifty features, five agents: compiled, and said so."""
    from kernels.features import DEFAULT_FEATURE_NAMES

    runtime = Runtime(load(UNTRAINED_BUNDLE_PATH, DEFAULT_FEATURE_NAMES, now_ns=1), form="auto")
    assert runtime.form == "compiled"
    assert runtime.refusal == ""


def test_auto_keeps_the_faster_form(bundle: Bundle) -> None:
    """A stopwatch that only runs while the script works makes the compiled form win, and back."""
    ticks = iter(range(10**9))
    runtime = Runtime(bundle, form="auto")
    runtime.warm_up(1, lambda: next(ticks) ** 2)  # the later a call, the longer it seems to take
    assert runtime.form == "torchscript"
    still = Runtime(bundle, form="auto")
    still.warm_up(1, lambda: 0)
    assert still.form == "compiled"


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_numbers_that_are_none_are_seen(bundle: Bundle, poison: float) -> None:
    """A poisoned row has no healthy agent and no regime; the row beside it is whole."""
    obs_BF = drawn_observations(bundle.observation_count, 2, seed=5)
    obs_BF[0, 3] = poison
    judgement = Runtime(bundle, form="compiled").decide(obs_BF, np.ones((2, 5), np.int64))
    assert not judgement.healthy_BA[0].any()
    assert (judgement.action_BA[0] == UNHEALTHY_ACTION).all()
    assert not judgement.regime_healthy_B[0]
    assert judgement.healthy_BA[1].all()


def test_equal_inputs_give_equal_bits(bundle: Bundle) -> None:
    """Through another runtime and in another batch as well."""
    obs_BF = drawn_observations(bundle.observation_count, 4, seed=6)
    held_BA = drawn_positions(4, len(AGENTS), seed=6)
    together = Runtime(bundle, form="compiled").decide(obs_BF, held_BA)
    alone = Runtime(bundle, form="compiled").decide(obs_BF[2:3], held_BA[2:3])
    for name in ("preference_BA3", "confidence_BA", "regime_BK", "predicted_BA"):
        np.testing.assert_array_equal(getattr(together, name)[2], getattr(alone, name)[0])


def one_by_one(
    ensemble: CompiledEnsemble, obs_TF: NDArray[np.float32], held_A: NDArray[np.int64]
) -> list[NDArray[np.float32 | np.int64]]:
    """Judge row after row, each with what the agents wanted at the one before."""
    steps = []
    for obs_F in obs_TF:
        preference, action, confidence, regime, predicted = ensemble.judge(
            obs_F[None], held_A[None]
        )
        steps.append((preference, action, confidence, regime, predicted))
        known = np.isfinite(preference[0].sum(axis=1) + confidence[0] + predicted[0])
        held_A = np.where(known, action[0], FLAT)
    return [np.concatenate(parts) for parts in zip(*steps, strict=True)]


@pytest.mark.parametrize("rows", [1, 2, 31, 32, 33, 300])
def test_a_walk_gives_the_bits_of_single_rows(bundle: Bundle, rows: int) -> None:
    """Blocks, agents that change their mind and rows that are no numbers change nothing."""
    ensemble = CompiledEnsemble(bundle.weights)
    obs_TF = drawn_observations(bundle.observation_count, rows, seed=rows)
    obs_TF[rows // 2, 3] = np.nan
    held_A = drawn_positions(1, len(AGENTS), seed=rows)[0]
    wanted = one_by_one(ensemble, obs_TF, held_A)
    found = ensemble.walk(obs_TF, held_A)
    if rows == 300:
        assert (np.diff(found[1], axis=0) != 0).mean() > 0.01
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_agents_that_see_each_other_are_walked_row_by_row(bundle: Bundle) -> None:
    """A network with a weight on another's position is not taken apart; the bits are the same."""
    weights = {name: array.copy() for name, array in bundle.weights.items()}
    hidden = weights["second_weight_VHH"].shape[1]
    weights["first_weight_FH"][-4, :hidden] = 0.7  # d3qn's network reads PPO's position
    ensemble = CompiledEnsemble(weights)
    assert not ensemble.is_separable
    assert CompiledEnsemble(bundle.weights).is_separable
    obs_TF, held_A = drawn_observations(bundle.observation_count, 40, seed=8), np.ones(5, np.int64)
    for one, other in zip(
        ensemble.walk(obs_TF, held_A), one_by_one(ensemble, obs_TF, held_A), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_weights_that_answer_otherwise_are_refused(bundle: Bundle) -> None:
    """One weight moved: the script decides, and the runtime says why."""
    weights = {name: array.copy() for name, array in bundle.weights.items()}
    weights["double_bias_O"][1] += 0.01
    runtime = Runtime(replace(bundle, weights=weights), form="compiled")
    assert runtime.form == "torchscript"
    assert "differ" in runtime.refusal


def test_other_agents_stay_script(bundle: Bundle) -> None:
    """Weights under other names have no compiled form."""
    weights = dict(bundle.weights)
    weights["agents.0.weight"] = weights.pop("double_bias_O")
    with pytest.raises(ValueError, match="not the weights of a fused ensemble"):
        CompiledEnsemble(weights)
    runtime = Runtime(replace(bundle, weights=weights), form="auto")
    assert runtime.form == "torchscript"
    assert "fused" in runtime.refusal


def test_positions_that_are_none_are_refused(bundle: Bundle) -> None:
    """A position is an address in the kernel: it is checked before it is used."""
    obs_BF = drawn_observations(bundle.observation_count, 1, seed=7)
    for wrong in (-1, 3):
        held_BA = np.full((1, len(AGENTS)), wrong, np.int64)
        with pytest.raises(ValueError, match="wanted 0, 1 or 2"):
            Runtime(bundle, form="compiled").decide(obs_BF, held_BA)


@given(st.floats(-120.0, 120.0, width=32))
@settings(max_examples=500, deadline=None)
def test_exponential_and_tanh_are_near(x: float) -> None:
    """Within a few units in the last place of the exact value, held to the stated range."""
    held = min(max(x, -87.0), 88.0)
    assert float(exponential(np.float32(x))) == pytest.approx(math.exp(held), rel=4e-7)
    exact = float(torch.tanh(torch.tensor(x, dtype=torch.float64)))
    assert float(hyperbolic_tangent(np.float32(x))) == pytest.approx(exact, abs=3e-7)


def test_nan_stays_nan() -> None:
    """Neither function hides what is no number."""
    assert math.isnan(exponential(np.float32(math.nan)))
    assert math.isnan(hyperbolic_tangent(np.float32(math.nan)))
