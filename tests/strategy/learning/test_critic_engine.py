"""The compiled update of critics against torch's own, number by number."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from strategy.agents.ppo import TanhNet
from strategy.learning.critic_engine import dims_of
from strategy.learning.critic_steps import parameter_count
from strategy.learning.d3qn_learner import D3qnLearner
from strategy.learning.double_dqn_learner import DoubleDqnLearner
from strategy.learning.dp_world import STRONG, draw_path
from strategy.learning.flat_memory import lay_out
from strategy.learning.learner import LearnerOptions
from strategy.learning.matrix_steps import add_product, add_turned_product, turn
from strategy.learning.transitions import MarketPath
from strategy.learning.twin_d3qn_learner import TwinD3qnLearner
from strategy.learning.value_learner import ValueLearner

KINDS = (D3qnLearner, DoubleDqnLearner, TwinD3qnLearner)


@pytest.fixture(scope="module")
def path() -> MarketPath:
    """Return a short path of the strong world."""
    return draw_path(STRONG, 400, np.random.default_rng(11))


def both(
    kind: type[ValueLearner], path: MarketPath, options: LearnerOptions
) -> tuple[ValueLearner, ValueLearner]:
    """Return the same learner twice: compiled, and as torch makes it."""
    made = kind(path, options, seed=5), kind(path, options, seed=5, is_compiled=False)
    assert made[0].engine is not None
    assert made[1].engine is None
    return made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [64, 13])
def test_an_update_equals_torchs(kind: type[ValueLearner], path: MarketPath, batch: int) -> None:
    """Loss, every error, every parameter and every target agree after one and after 30 updates."""
    options = LearnerOptions(
        updates=40, batch=batch, huber=0.7, gradient_norm_max=0.3, net_dims=(32, 20)
    )
    ours, theirs = both(kind, path, options)
    for updates in (1, 29):
        found, wanted = ours.train(updates), theirs.train(updates)
        assert found["loss"] == pytest.approx(wanted["loss"], rel=1e-3)
        assert found["error"] == pytest.approx(wanted["error"], rel=1e-3)
        for net, other in ((ours.net, theirs.net), (ours.target, theirs.target)):
            for one, two in zip(net.parameters(), other.parameters(), strict=True):
                # Adam divides by the gradient's own size: what is nearly 0 may turn by a stride
                torch.testing.assert_close(one, two, rtol=1e-3, atol=2e-4 * updates)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_torchs(kind: type[ValueLearner], path: MarketPath) -> None:
    """Every slope is that of autograd, to 1e-6 of the largest: weights, biases, both heads."""
    ours, theirs = both(kind, path, LearnerOptions(updates=9, batch=32, gradient_norm_max=1e9))
    place_B = ours.sampler.draw(32, np.random.default_rng(2))
    weight_B = np.random.default_rng(3).random(32).astype(np.float32)
    batch = ours.view.transitions(place_B, weight_B, ours, discount=0.99, steps=1)
    loss_B, error_B = theirs.losses(batch.tensors())
    torch.autograd.backward((torch.from_numpy(weight_B) * loss_B).mean())
    wanted_P = torch.cat(
        [p.grad.t().flatten() for p in theirs.net.parameters() if p.grad is not None]
    ).numpy()
    _, error, found_B = ours.update(batch)
    assert error == pytest.approx(float(found_B.mean()))
    assert ours.engine is not None
    found_P = ours.engine.memory.gradient_CP.reshape(-1)
    assert len(found_P) == len(wanted_P)
    np.testing.assert_allclose(found_P, wanted_P, atol=1e-6 * float(np.abs(wanted_P).max()))
    np.testing.assert_allclose(found_B, error_B.detach().numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_one_state_is_answered_as_torch_does(kind: type[ValueLearner], path: MarketPath) -> None:
    """A single row takes a way of its own; a state of another width is refused."""
    learner = kind(path, LearnerOptions(updates=9, batch=16, net_dims=(32, 20)), seed=5)
    learner.train(3)
    assert learner.engine is not None
    state_F = np.linspace(-1.0, 2.0, path.input_count, dtype=np.float32)
    wanted_1A = learner.net(torch.from_numpy(state_F)[None, :]).detach().numpy()
    found_1A = learner.engine.values(state_F[None, :])
    np.testing.assert_allclose(found_1A, wanted_1A, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="shape"):
        learner.engine.values(state_F[None, 1:])
    with pytest.raises(ValueError, match="side by side"):
        learner.engine.values(np.zeros((2, 2 * len(state_F)), np.float32)[:, ::2])


def test_modules_look_at_the_engines_memory(path: MarketPath) -> None:
    """An update changes what the module answers; restoring the module changes the engine."""
    learner = D3qnLearner(path, LearnerOptions(updates=9, batch=32), seed=5)
    assert learner.engine is not None
    input_BF = torch.zeros(1, path.input_count)
    before = learner.net(input_BF).clone()
    kept = learner.snapshot()
    learner.train(2)
    assert not torch.equal(learner.net(input_BF), before)
    learner.restore(kept)
    assert torch.equal(learner.net(input_BF), before)
    flat_P = torch.cat([p.detach().t().flatten() for p in learner.net.parameters()]).numpy()
    np.testing.assert_array_equal(learner.engine.memory.theta_CP[0], flat_P)


@pytest.mark.parametrize(
    ("rows", "inner", "columns"), [(8, 8, 5), (7, 9, 16), (1, 3, 1), (4, 1, 2)]
)
def test_products_of_any_size(rows: int, inner: int, columns: int) -> None:
    """Blocks of four and what is left over of them, added to what stands there."""
    generator = np.random.default_rng(rows)
    left, right, start = (
        generator.normal(size=shape).astype(np.float32)
        for shape in ((rows, inner), (inner, columns), (rows, columns))
    )
    for multiply, first in ((add_product, left), (add_turned_product, left.T.copy())):
        found = start.copy()
        multiply(first, right, found)
        np.testing.assert_allclose(found, start + left @ right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(32, 16), (50, 35), (3, 40), (16, 3), (1, 1)])
def test_turning_of_any_size(shape: tuple[int, int]) -> None:
    """Whole squares and what is left over of them."""
    given = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    found = np.zeros(shape[::-1], np.float32)
    turn(given, found)
    np.testing.assert_array_equal(found, given.T)


def test_a_vector_has_the_length_of_its_module(path: MarketPath) -> None:
    """What is laid out is every parameter; other networks have no compiled steps."""
    for kind in KINDS:
        learner = kind(path, LearnerOptions(updates=9), seed=5)
        for critic in learner.critics(learner.net):
            assert parameter_count(dims_of(critic)) == lay_out([critic]).size
    with pytest.raises(TypeError, match="TanhNet"):
        dims_of(TanhNet(3, 1))
    assert isinstance(learner.net, nn.Module)
