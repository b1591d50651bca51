"""Rainbow's compiled update against torch's own, number by number, with every part on and off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from strategy.agents.rainbow import ATOM_COUNT, Rainbow
from strategy.learning import atom_steps
from strategy.learning.atom_engine import AtomEngine, dims_of
from strategy.learning.critic_steps import parameter_count
from strategy.learning.dp_world import STRONG, draw_path
from strategy.learning.flat_memory import lay_out
from strategy.learning.learner import LearnerOptions
from strategy.learning.rainbow_learner import RainbowLearner, RainbowParts, give_noise, project
from strategy.learning.transitions import MarketPath

PARTS = {
    "all": RainbowParts(),
    "not double": RainbowParts(double=False),
    "not dueling": RainbowParts(dueling=False),
    "not prioritised": RainbowParts(prioritised=False),
    "one step": RainbowParts(n_step=1),
    "not distributional": RainbowParts(distributional=False),
    "not noisy": RainbowParts(noisy=False),
}


@pytest.fixture(scope="module")
def path() -> MarketPath:
    """Return a short path of the strong world."""
    return draw_path(STRONG, 400, np.random.default_rng(11))


def both(
    path: MarketPath, options: LearnerOptions, parts: RainbowParts
) -> tuple[RainbowLearner, RainbowLearner]:
    """Return the same learner twice: compiled, and as torch makes it."""
    ours = RainbowLearner(path, options, seed=5, parts=parts)
    theirs = RainbowLearner(path, options, seed=5, parts=parts, is_compiled=False)
    assert isinstance(ours.engine, AtomEngine)
    assert theirs.engine is None
    return ours, theirs


@pytest.mark.parametrize("parts", PARTS.values(), ids=list(PARTS))
def test_an_update_equals_torchs(path: MarketPath, parts: RainbowParts) -> None:
    """Loss, errors, every parameter and every target agree after one and after 20 updates."""
    options = LearnerOptions(updates=30, batch=37, huber=0.7, net_dims=(32, 20), rate=1e-4)
    ours, theirs = both(path, options, parts)
    for updates in (1, 19):
        found, wanted = ours.train(updates), theirs.train(updates)
        assert found["loss"] == pytest.approx(wanted["loss"], rel=1e-3)
        assert found["error"] == pytest.approx(wanted["error"], rel=1e-3)
        for net, other in ((ours.net, theirs.net), (ours.target, theirs.target)):
            for one, two in zip(net.parameters(), other.parameters(), strict=True):
                # Adam divides by the gradient's own size: what is nearly 0 may turn by a stride
                torch.testing.assert_close(one, two, rtol=1e-3, atol=2e-5 * updates)


@pytest.mark.parametrize("parts", PARTS.values(), ids=list(PARTS))
def test_gradients_equal_torchs(path: MarketPath, parts: RainbowParts) -> None:
    """Every slope is that of autograd, to 1e-5 of the largest: means, sigmas, both streams."""
    options = LearnerOptions(updates=9, batch=32, huber=0.7, gradient_norm_max=1e9)
    ours, theirs = both(path, options, parts)
    place_B = ours.sampler.draw(32, np.random.default_rng(2))
    weight_B = np.random.default_rng(3).random(32).astype(np.float32)
    batch = ours.view.transitions(place_B, weight_B, ours, discount=0.99, steps=ours.steps)
    if parts.noisy:
        for network in (theirs.net, theirs.target):
            give_noise(network.train(), theirs._draw_noise())
    loss_B, error_B = theirs.losses(batch.tensors())
    torch.autograd.backward((torch.from_numpy(weight_B) * loss_B).mean())
    wanted_P = torch.cat(
        [
            (torch.zeros_like(p) if p.grad is None else p.grad).t().flatten()
            for p in theirs.net.parameters()
        ]
    ).numpy()
    _, error, found_B = ours.update(batch)
    assert error == pytest.approx(float(found_B.mean()))
    assert isinstance(ours.engine, AtomEngine)
    found_P = ours.engine.memory.gradient_CP[0]
    assert np.abs(wanted_P).max() > 1e-4
    np.testing.assert_allclose(found_P, wanted_P, atol=1e-5 * float(np.abs(wanted_P).max()))
    np.testing.assert_allclose(found_B, error_B.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_states_are_valued_as_torch_does(path: MarketPath) -> None:
    """Without noise and under noise, one row and many; another width is refused."""
    ours, theirs = both(path, LearnerOptions(updates=9, batch=16), RainbowParts())
    assert isinstance(ours.engine, AtomEngine)
    state_BF = np.random.default_rng(4).normal(size=(5, path.input_count)).astype(np.float32)
    for rows in (1, 5):
        wanted_BA = theirs.net(torch.from_numpy(state_BF[:rows])).detach().numpy()
        found_BA = ours.engine.values(state_BF[:rows])
        np.testing.assert_allclose(found_BA, wanted_BA, rtol=1e-4, atol=1e-5)
    found_BA, again_BA = (ours.noisy_values(state_BF) for _ in range(2))
    assert np.abs(found_BA - again_BA).max() > 1e-4
    np.testing.assert_allclose(theirs.noisy_values(state_BF), found_BA, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="shape"):
        ours.engine.values(state_BF[:, 1:])


def test_projection_equals_torchs() -> None:
    """The same mass on the same atoms, at the ends, between atoms and on them."""
    generator = np.random.default_rng(6)
    support_Z = np.linspace(-10.0, 10.0, ATOM_COUNT, dtype=np.float32)
    share_BZ = generator.dirichlet(np.ones(ATOM_COUNT), 6).astype(np.float32)
    reward_B = np.array([0.0, 0.3, 50.0, -50.0, 0.4, 1.0], np.float32)
    discount_B = np.array([1.0, 0.9, 0.9, 0.9, 0.0, 0.5], np.float32)
    wanted_BZ = project(
        *(torch.from_numpy(each) for each in (share_BZ, reward_B, discount_B, support_Z))
    )
    found_Z = np.empty(ATOM_COUNT, np.float32)
    for b in range(6):
        atom_steps.project(share_BZ[b], reward_B[b], discount_B[b], support_Z, found_Z)
        np.testing.assert_allclose(found_Z, wanted_BZ[b].numpy(), atol=2e-6)


def test_restoring_the_modules_changes_the_engine(path: MarketPath) -> None:
    """The engine looks at the modules' memory, and a resumed training is the same to the bit."""
    options = LearnerOptions(updates=9, batch=16)
    whole, other = (RainbowLearner(path, options, seed=seed) for seed in (5, 6))
    whole.train(2)
    kept = whole.snapshot()
    whole.train(3)
    other.restore(kept)
    other.train(3)
    for name, wanted in whole.snapshot().tensors.items():
        assert torch.equal(other.snapshot().tensors[name], wanted), name
    tensors = {**kept.tensors, "moments.mean": torch.zeros(1, 3)}
    with pytest.raises(ValueError, match="moments"):
        other.restore(replace(kept, tensors=tensors))


def test_a_vector_has_the_length_of_its_module() -> None:
    """Means and sigmas of four layers beside the body; the noise has both ends of each."""
    net = Rainbow(7, 3, (24, 20))
    dims = dims_of(net)
    assert (dims.actions, dims.atoms, dims.head) == (3, ATOM_COUNT, 64)
    plain_E = np.zeros(parameter_count(dims), np.float32)
    theta_P = lay_out([net])[0]
    noise_N = np.zeros(atom_steps.noise_count(dims), np.float32)
    atom_steps.perturb(theta_P, dims, noise_N, plain_E)
    body = sum(p.numel() for layer in (net.first, net.second) for p in layer.parameters())
    assert len(theta_P) - body == 2 * (len(plain_E) - body)
    np.testing.assert_array_equal(
        plain_E[-3 * ATOM_COUNT :], net.advantage_out.bias_mean.detach().numpy()
    )
