"""PPO's compiled step against torch's own, number by number."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from strategy.learning.dp_world import STRONG, draw_path
from strategy.learning.flat_memory import lay_out
from strategy.learning.learner import LearnerOptions
from strategy.learning.policy_engine import PolicyEngine, dims_of
from strategy.learning.policy_steps import BLOCK_ROWS, network_count
from strategy.learning.ppo_learner import PpoLearner, PpoOptions, Walks, ppo_loss
from strategy.learning.transitions import MarketPath

ROWS = 3 * BLOCK_ROWS + 7
OPTIONS = LearnerOptions(updates=30, net_dims=(24, 20))
PPO = PpoOptions(walkers=16, horizon=32, epochs=2, minibatch=128, entropy=0.05, rate=3e-4)


@pytest.fixture(scope="module")
def path() -> MarketPath:
    """Return a short path of the strong world."""
    return draw_path(STRONG, 400, np.random.default_rng(11))


@pytest.fixture
def pair(path: MarketPath) -> tuple[PpoLearner, PpoLearner]:
    """Return the same learner twice: compiled, and as torch makes it."""
    ours = PpoLearner(path, OPTIONS, seed=5, ppo=PPO)
    theirs = PpoLearner(path, OPTIONS, seed=5, ppo=PPO, is_compiled=False)
    assert isinstance(ours.engine, PolicyEngine)
    assert theirs.engine is None
    return ours, theirs


def moved_walks(learner: PpoLearner) -> Walks:
    """Return walks of a policy that has moved since, far enough for every branch of the loss."""
    generator = torch.Generator().manual_seed(9)
    count = ROWS + 60
    input_NF = torch.randn(count, learner.net.actor.first.in_features, generator=generator)
    log_share_NA, value_N = (each.clone() for each in learner.answer(input_NF))
    action_N = torch.randint(0, 3, (count,), generator=generator)
    before_N = log_share_NA.gather(1, action_N.unsqueeze(1)).squeeze(1)
    return Walks(
        input_NF=input_NF,
        action_N=action_N,
        log_share_N=before_N + 0.3 * torch.randn(count, generator=generator),
        value_N=value_N + 0.4 * torch.randn(count, generator=generator),
        advantage_N=torch.randn(count, generator=generator) + 0.5,
        return_N=torch.randn(count, generator=generator),
    )


def test_gradients_equal_torchs(pair: tuple[PpoLearner, PpoLearner]) -> None:
    """Every slope is that of autograd, to 1e-5 of the largest; so is what was measured."""
    ours, theirs = pair
    walks = moved_walks(theirs)
    place_M = torch.randperm(ROWS + 60)[:ROWS]
    loss, shift, clipped = ppo_loss(theirs.net, walks, place_M, PPO)
    torch.autograd.backward(loss)
    wanted_P = torch.cat(
        [p.grad.t().flatten() for p in theirs.net.parameters() if p.grad is not None]
    ).numpy()
    found = ours.step(walks, place_M)
    assert ours.engine is not None
    assert 0.1 < clipped < 0.9
    np.testing.assert_allclose(found, (float(loss.detach()), shift, clipped), rtol=1e-4)
    found_P = ours.engine.memory.gradient_CP[0]
    np.testing.assert_allclose(found_P, wanted_P, atol=1e-5 * float(np.abs(wanted_P).max()))


def test_steps_equal_torchs(pair: tuple[PpoLearner, PpoLearner]) -> None:
    """Parameters agree after one step and after twenty, at a rate that falls."""
    ours, theirs = pair
    walks = moved_walks(theirs)
    for begin in range(20):
        for learner in pair:
            learner.updates_done = begin
            learner.step(walks, torch.arange(begin, begin + 40))
        for one, two in zip(ours.net.parameters(), theirs.net.parameters(), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5 * (begin + 1))


def test_an_iteration_equals_torchs(pair: tuple[PpoLearner, PpoLearner]) -> None:
    """Walking, advantages and all passes together measure the same."""
    found, wanted = (learner.train(1) for learner in pair)
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=1e-2, abs=1e-4), name


def test_states_are_answered_as_torch_does(pair: tuple[PpoLearner, PpoLearner]) -> None:
    """Logs of shares and values of one row and many; another width is refused."""
    ours, theirs = pair
    state_BF = torch.randn(5, theirs.net.actor.first.in_features)
    for rows in (1, 5):
        for found, wanted in zip(
            ours.answer(state_BF[:rows]), theirs.answer(state_BF[:rows]), strict=True
        ):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="shape"):
        ours.answer(state_BF[:, 1:].contiguous())


def test_a_vector_has_the_length_of_its_module(pair: tuple[PpoLearner, PpoLearner]) -> None:
    """What is laid out is every parameter, the actor's first."""
    dims = dims_of(pair[0].net)
    assert lay_out([pair[0].net]).size == network_count(dims, 3) + network_count(dims, 1)
