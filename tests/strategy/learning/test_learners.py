"""Every learner's arithmetic against hand-computed values, and its resume bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kernels.events import AGENTS
from strategy.agents.dueling import DuelingNet
from strategy.agents.ppo import Ppo
from strategy.agents.rainbow import NoisyLinear, Rainbow
from strategy.agents.twin_d3qn import TwinD3qn
from strategy.learning.dp_world import STRONG, draw_path
from strategy.learning.learner import Learner, LearnerOptions
from strategy.learning.learners import STANDARD_LEARNERS, make_learner
from strategy.learning.policies import action_table, walk
from strategy.learning.ppo_learner import (
    PpoLearner,
    PpoOptions,
    estimate_advantages,
    ppo_loss,
)
from strategy.learning.rainbow_learner import (
    RainbowLearner,
    RainbowParts,
    project,
    reward_scale,
)
from strategy.learning.transitions import MarketPath, PathView, TensorBatch
from strategy.learning.twin_d3qn_learner import clipped_target
from strategy.learning.value_learner import double_target

SMALL = LearnerOptions(updates=20, batch=16)
SMALL_PPO = PpoOptions(walkers=16, horizon=8, minibatch=64)


@pytest.fixture(scope="module")
def path() -> MarketPath:
    """Return a short path of the strong world."""
    return draw_path(STRONG, 400, np.random.default_rng(11))


class Table(nn.Module):
    """A network that answers with fixed values."""

    def __init__(self, value_B3: list[list[float]]) -> None:
        """Take the answer."""
        super().__init__()
        self.value_B3 = torch.tensor(value_B3)

    def forward(self, input_BF: Tensor) -> Tensor:
        """Return it, whatever is asked."""
        return self.value_B3


def batch_of(reward: list[float], discount: list[float]) -> TensorBatch:
    """Return a batch whose inputs do not matter."""
    count = len(reward)
    return TensorBatch(
        input_BF=torch.zeros(count, 4),
        action_B=torch.zeros(count, dtype=torch.int64),
        reward_B=torch.tensor(reward),
        next_BF=torch.zeros(count, 4),
        discount_B=torch.tensor(discount),
        weight_B=torch.ones(count),
    )


def test_double_targets_choose_online_and_value_by_the_target() -> None:
    """r + g * Q_target(argmax Q_online); without double the target chooses too; an end counts 0."""
    online, target = Table([[1.0, 5.0, 2.0]] * 2), Table([[7.0, 3.0, 4.0]] * 2)
    batch = batch_of([1.0, 1.0], [0.5, 0.0])
    assert double_target(batch, online, target).tolist() == [2.5, 1.0]
    assert double_target(batch, online, target, is_double=False).tolist() == [4.5, 1.0]


def test_twin_targets_are_the_smaller_of_both() -> None:
    """The pessimist's action, at the smaller of both target values."""
    online, target = TwinD3qn(4), TwinD3qn(4)
    for twin, first, second in (
        (online, [9.0, 2.0, 0.0], [1.0, 3.0, 0.0]),
        (target, [0.0, 6.0, 0.0], [0.0, 4.0, 9.0]),
    ):
        twin.add_module("critic_a", Table([first]))
        twin.add_module("critic_b", Table([second]))
    assert clipped_target(batch_of([1.0], [0.5]), online, target).tolist() == [3.0]


def test_dueling_values_have_the_mean_of_their_value_stream() -> None:
    """The mean over actions is V, so A has no mean of its own."""
    net = DuelingNet(4)
    input_BF = torch.randn(5, 4)
    value_B3 = net(input_BF)
    moved = net.advantage_out.bias.detach().clone()
    with torch.no_grad():
        net.advantage_out.bias.add_(3.0)
    torch.testing.assert_close(net(input_BF), value_B3)
    assert not torch.equal(net.advantage_out.bias, moved)


def test_returns_over_steps_follow_the_policy(path: MarketPath) -> None:
    """Three steps equal a walk written out by hand; the place says bar, position and action."""
    view, policy = PathView(path), Always(2)
    place = np.array([(7 * 3 + 1) * 3 + 0])
    batch = view.transitions(place, np.ones(1, np.float32), policy, discount=0.9, steps=3)
    cost = path.cost_T
    wanted = float(-path.return_T[7] - cost[7])
    wanted += float(0.9 * (path.return_T[8] - 2 * cost[8]))
    wanted += float(0.81 * path.return_T[9])
    assert float(batch.reward_B[0]) == pytest.approx(wanted, rel=1e-5)
    assert float(batch.discount_B[0]) == pytest.approx(0.729)
    assert batch.input_BF[0, -3:].tolist() == [0.0, 1.0, 0.0]
    assert batch.next_BF[0, -3:].tolist() == [0.0, 0.0, 1.0]
    np.testing.assert_array_equal(batch.next_BF[0, :-3], path.rows_TF[10])


class Always:
    """A policy of one action."""

    def __init__(self, action: int) -> None:
        """Take the action."""
        self.action = action

    def greedy(self, input_BF: Tensor) -> Tensor:
        """Return it for every row."""
        return torch.full((len(input_BF),), self.action)


def test_projection_equals_brute_force() -> None:
    """Every atom's mass lands on its neighbours by nearness; the ends take what lies beyond."""
    support_Z = torch.linspace(-2.0, 2.0, 9)
    share_BZ = torch.softmax(torch.randn(6, 9), dim=1)
    reward_B = torch.tensor([0.0, 0.3, 5.0, -5.0, 0.5, 1.0])
    discount_B = torch.tensor([1.0, 0.9, 0.9, 0.9, 0.0, 0.5])
    found = project(share_BZ, reward_B, discount_B, support_Z)
    wanted = torch.zeros_like(found)
    for b in range(6):
        for z in range(9):
            value = min(max(float(reward_B[b] + discount_B[b] * support_Z[z]), -2.0), 2.0)
            place = (value + 2.0) / 0.5
            below = min(int(place), 7)
            wanted[b, below] += share_BZ[b, z] * (1.0 - (place - below))
            wanted[b, below + 1] += share_BZ[b, z] * (place - below)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0.0)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(6))


def test_noise_is_factorised_and_off_at_evaluation() -> None:
    """Sigmas times the product of the noise at both ends; evaluation uses the means."""
    layer = NoisyLinear(5, 3)
    layer.take_noise(torch.arange(5.0), -torch.ones(3))
    hidden = torch.randn(2, 5)
    noisy = layer.train()(hidden)
    weight = layer.weight_mean - layer.weight_sigma * torch.arange(5.0)
    torch.testing.assert_close(noisy, hidden @ weight.t() + layer.bias_mean - layer.bias_sigma)
    plain = layer.eval()(hidden)
    torch.testing.assert_close(plain, hidden @ layer.weight_mean.t() + layer.bias_mean)


def test_noise_is_drawn_afresh(path: MarketPath) -> None:
    """f(x) = sgn(x) sqrt|x| of normal numbers, others every time, the same for a seed."""
    learner, again = (RainbowLearner(path, SMALL, seed=3) for _ in range(2))
    first_N, second_N = learner._draw_noise(), learner._draw_noise()
    assert not np.array_equal(first_N, second_N)
    np.testing.assert_array_equal(again._draw_noise(), first_N)
    drawn_N = np.sign(first_N) * first_N**2
    assert abs(float(drawn_N.mean())) < 0.15
    assert 0.85 < float(drawn_N.std()) < 1.15


@pytest.mark.parametrize(
    "parts",
    [
        RainbowParts(double=False),
        RainbowParts(dueling=False),
        RainbowParts(prioritised=False),
        RainbowParts(n_step=1),
        RainbowParts(distributional=False),
        RainbowParts(noisy=False),
    ],
)
def test_every_part_of_rainbow_can_be_switched_off(path: MarketPath, parts: RainbowParts) -> None:
    """Training goes on without it, and to other weights than with all of them."""
    whole, lacking = (
        RainbowLearner(path, SMALL, seed=3, parts=chosen) for chosen in (RainbowParts(), parts)
    )
    for learner in (whole, lacking):
        measured = learner.train(12)
        assert np.isfinite(list(measured.values())).all()
    pairs = zip(whole.net.parameters(), lacking.net.parameters(), strict=True)
    assert any(not torch.equal(one, other) for one, other in pairs)
    assert whole.sampler.__class__ is not lacking.sampler.__class__ or parts.prioritised


def test_without_dueling_one_stream_is_all() -> None:
    """The value stream then changes nothing."""
    net = Rainbow(4, is_dueling=False).eval()
    input_BF = torch.randn(3, 4)
    before = net(input_BF)
    with torch.no_grad():
        net.value_out.weight_mean.add_(1.0)
    torch.testing.assert_close(net(input_BF), before)


def test_returns_fit_the_atoms(path: MarketPath) -> None:
    """Four deviations of a discounted sum of independent returns reach the last atom."""
    scale = reward_scale(path, 0.99)
    spread = float(path.return_T.std()) / np.sqrt(1.0 - 0.99**2)
    assert scale * 4.0 * spread == pytest.approx(10.0)
    assert reward_scale(replace(path, return_T=np.zeros(400)), 0.99) == 1.0


def test_advantages_equal_the_double_sum() -> None:
    """GAE by recursion against its definition; an end stops the sum, a cut does not."""
    generator = torch.Generator().manual_seed(2)
    reward, value = torch.randn(6, 3, generator=generator), torch.randn(6, 3, generator=generator)
    end, discount, trace = torch.randn(3, generator=generator), 0.9, 0.8
    ends = torch.zeros(6, 3)
    ends[2, 1] = 1.0
    found = estimate_advantages(reward, value, end, ends, discount, trace)
    following = torch.cat((value[1:], end[None]))
    surprise = reward + discount * following * (1.0 - ends) - value
    for w in range(3):
        for t in range(6):
            wanted, factor = 0.0, 1.0
            for later in range(t, 6):
                wanted += factor * float(surprise[later, w])
                if ends[later, w]:
                    break
                factor *= discount * trace
            assert float(found[t, w]) == pytest.approx(wanted, abs=1e-5)


def test_the_first_step_of_ppo_has_not_moved_yet(path: MarketPath) -> None:
    """Before any step the ratio is 1: no shift, nothing clipped; afterwards both can be seen."""
    learner = PpoLearner(path, SMALL, seed=5, ppo=SMALL_PPO)
    walks = learner.walk()
    everything = torch.arange(len(walks.action_N))
    _, shift, clipped = ppo_loss(learner.net, walks, everything, learner.ppo)
    assert shift == pytest.approx(0.0, abs=1e-6)
    assert clipped == 0.0
    for _ in range(40):
        learner.step(walks, everything)
    assert ppo_loss(learner.net, walks, everything, learner.ppo)[1] > 1e-5


def test_ppo_begins_as_published() -> None:
    """Orthogonal layers, an actor that is nearly indifferent, biases of zero."""
    learner = PpoLearner(
        draw_path(STRONG, 100, np.random.default_rng(1)), SMALL, seed=1, ppo=SMALL_PPO
    )
    net = learner.net
    assert isinstance(net, Ppo)
    product = net.actor.second.weight @ net.actor.second.weight.t()
    torch.testing.assert_close(product, 2.0 * torch.eye(64), atol=1e-4, rtol=0.0)
    with torch.no_grad():
        share = torch.softmax(net(torch.randn(50, net.actor.first.in_features)), dim=1)
    assert float((share - 1 / 3).abs().max()) < 0.05
    assert not net.actor.out.bias.any()


@pytest.mark.parametrize("name", AGENTS)
def test_a_resumed_training_is_the_same_to_the_bit(path: MarketPath, name: str) -> None:
    """Half, saved, restored into a fresh learner and finished equals trained in one go."""
    options = LearnerOptions(updates=6, batch=16)
    whole = make_small(name, path, options)
    whole.train(6)
    first = make_small(name, path, options)
    first.train(3)
    second = make_small(name, path, options, seed=99)
    second.restore(first.snapshot())
    second.train(3)
    assert second.updates_done == 6
    for key, wanted in whole.snapshot().tensors.items():
        assert torch.equal(second.snapshot().tensors[key], wanted), key
    assert second.snapshot().facts == whole.snapshot().facts


@pytest.mark.parametrize("name", AGENTS)
def test_a_snapshot_of_another_learner_is_refused(path: MarketPath, name: str) -> None:
    """By its name, before anything is taken over."""
    learner = make_small(name, path, SMALL)
    snapshot = learner.snapshot()
    with pytest.raises(ValueError, match="snapshot of 'other'"):
        learner.restore(replace(snapshot, facts={**snapshot.facts, "name": "other"}))


@pytest.mark.parametrize("name", AGENTS)
def test_equal_seeds_give_equal_agents(path: MarketPath, name: str) -> None:
    """A learner is a function of its arguments, and leaves torch's own seed alone."""
    torch.manual_seed(1)
    wanted = torch.rand(2)
    torch.manual_seed(1)
    one, two, other = (make_small(name, path, SMALL, seed=seed) for seed in (4, 4, 5))
    for learner in (one, two, other):
        learner.train(2)
    first, second, third = (list(learner.net.parameters()) for learner in (one, two, other))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first, third, strict=True))
    assert torch.equal(torch.rand(2), wanted)


def make_small(name: str, path: MarketPath, options: LearnerOptions, seed: int = 4) -> Learner:
    """Return a learner of a size for tests."""
    if name == "ppo":
        return PpoLearner(path, options, seed=seed, ppo=SMALL_PPO)
    return STANDARD_LEARNERS[name](path, options, seed=seed)


def test_options_that_teach_nothing_are_refused() -> None:
    """Each is named; a share that does not divide is, too."""
    with pytest.raises(ValueError, match="updates"):
        LearnerOptions(updates=0)
    with pytest.raises(ValueError, match="rate"):
        LearnerOptions(rate=0.0)
    with pytest.raises(ValueError, match="discount"):
        LearnerOptions(discount=1.5)
    with pytest.raises(ValueError, match="weight_decay"):
        LearnerOptions(weight_decay=-1.0)
    with pytest.raises(ValueError, match="does not divide"):
        PpoOptions(minibatch=1_000)
    with pytest.raises(KeyError, match="no learner 'oracle'"):
        make_learner("oracle", draw_path(STRONG, 50, np.random.default_rng(1)), seed=1)


def test_the_rate_falls_as_a_cosine() -> None:
    """From the rate to its end, half way at half time."""
    options = LearnerOptions(rate=1e-3, rate_end=1e-5)
    assert options.rate_at(0.0) == pytest.approx(1e-3)
    assert options.rate_at(0.5) == pytest.approx(0.5 * (1e-3 + 1e-5))
    assert options.rate_at(1.0) == options.rate_at(2.0) == pytest.approx(1e-5)


def test_a_table_asks_for_every_position(path: MarketPath) -> None:
    """The table holds the greedy action for each own position, and a walk goes along it."""
    learner = make_learner("double_dqn", path, SMALL, seed=6)
    table_TP = action_table(learner.net, path.rows_TF)
    for held in range(3):
        bar_B = np.arange(len(path.rows_TF))
        input_BF = PathView(path).inputs(bar_B, np.full_like(bar_B, held))
        assert learner.greedy(torch.from_numpy(input_BF)).tolist() == table_TP[:, held].tolist()
    position_T = walk(table_TP)
    assert position_T[0] == table_TP[0, 1]
    assert position_T[1] == table_TP[1, position_T[0]]


def test_paths_that_do_not_match_are_refused(path: MarketPath) -> None:
    """Another length, another type, or a number that is none."""
    with pytest.raises(ValueError, match="differ in length"):
        replace(path, return_T=path.return_T[1:])
    with pytest.raises(ValueError, match="float32"):
        replace(path, rows_TF=path.rows_TF.astype(np.float64))
    with pytest.raises(ValueError, match="not finite"):
        replace(path, cost_T=np.full(400, np.nan))
    with pytest.raises(IndexError, match="beyond the path"):
        PathView(path).inputs(np.array([400]), np.array([1]))
