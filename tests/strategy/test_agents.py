"""The agents' arithmetic against hand-written formulas, and that each one can be scripted."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kernels.events import AGENTS
from strategy.agents.d3qn import D3qn
from strategy.agents.dueling import DuelingNet
from strategy.agents.ppo import Ppo
from strategy.agents.rainbow import ATOM_COUNT, RETURN_MAX, NoisyLinear, Rainbow
from strategy.agents.registry import STANDARD_AGENTS, build_agent
from strategy.agents.twin_d3qn import TwinD3qn

WIDTH = 11


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Give every test the same weights."""
    torch.manual_seed(5)


def rows(count: int) -> torch.Tensor:
    """Return seeded observations."""
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(count))


def test_the_standard_agents_are_the_specified_five() -> None:
    """Axis A of every vector and the registry agree on names and order."""
    assert tuple(STANDARD_AGENTS) == AGENTS


@pytest.mark.parametrize("name", AGENTS)
def test_script_answers_like_the_module(name: str) -> None:
    """Scripting changes no preference, for one row and for many."""
    agent = build_agent(name, WIDTH).eval()
    scripted = torch.jit.script(agent)
    with torch.inference_mode():
        for count in (1, 2, 9):
            plain_B3 = agent(rows(count))
            assert plain_B3.shape == (count, 3)
            torch.testing.assert_close(scripted(rows(count)), plain_B3)


@pytest.mark.parametrize("name", AGENTS)
def test_preferences_depend_on_the_observation(name: str) -> None:
    """No agent answers a constant."""
    with torch.inference_mode():
        preference_B3 = build_agent(name, WIDTH).eval()(rows(16))
    assert float(preference_B3.std(dim=0).min()) > 1e-6


def test_dueling_identity() -> None:
    """The mean of the dueling action values is the value head, and advantages keep their gaps."""
    net = DuelingNet(WIDTH).eval()
    obs_BF = rows(8)
    hidden = obs_BF
    for layer in (net.first, net.second):
        hidden = layer(hidden)
        centred = hidden - hidden.mean(dim=1, keepdim=True)
        hidden = torch.relu(centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt())
    value = net.value_out(torch.relu(net.value_hidden(hidden)))
    advantage = net.advantage_out(torch.relu(net.advantage_hidden(hidden)))
    action_values = net(obs_BF)
    torch.testing.assert_close(action_values.mean(dim=1, keepdim=True), value)
    torch.testing.assert_close(
        action_values[:, 2] - action_values[:, 0], advantage[:, 2] - advantage[:, 0]
    )


def test_twin_is_the_smaller_critic_action_by_action() -> None:
    """Each action's value is the minimum of both critics, and the critics differ."""
    twin = TwinD3qn(WIDTH).eval()
    a, b = twin.critic_a(rows(32)), twin.critic_b(rows(32))
    assert torch.equal(twin(rows(32)), torch.where(a < b, a, b))
    assert bool((a < b).any())
    assert bool((b < a).any())


def test_rainbow_is_the_mean_of_its_distribution() -> None:
    """Expected returns follow from the atom probabilities, and stay within the support."""
    rainbow = Rainbow(WIDTH).eval()
    probability = torch.softmax(rainbow.atom_logits(rows(6)), dim=2)
    expected = torch.zeros(6, 3)
    for atom in range(ATOM_COUNT):
        expected += probability[:, :, atom] * (
            -RETURN_MAX + 2 * RETURN_MAX * atom / (ATOM_COUNT - 1)
        )
    torch.testing.assert_close(rainbow(rows(6)), expected, rtol=1e-4, atol=1e-5)


def test_rainbow_atoms_follow_the_dueling_identity() -> None:
    """Averaged over actions, the atom logits are the value head's."""
    rainbow = Rainbow(WIDTH).eval()
    logits = rainbow.atom_logits(rows(4))
    assert logits.shape == (4, 3, ATOM_COUNT)
    spread = logits - logits.mean(dim=1, keepdim=True)
    torch.testing.assert_close(spread.sum(dim=1), torch.zeros(4, ATOM_COUNT), rtol=0, atol=1e-5)


def test_noise_acts_in_training_only() -> None:
    """Evaluation uses the mean weights whatever noise was drawn; training uses the noise."""
    layer = NoisyLinear(4, 3)
    x = torch.ones(2, 4)
    quiet = layer.eval()(x)
    layer.take_noise(torch.randn(4), torch.randn(3))
    assert torch.equal(layer.eval()(x), quiet)
    first = layer.train()(x)
    assert not torch.equal(first, quiet)
    layer.take_noise(torch.randn(4), torch.randn(3))
    assert not torch.equal(layer(x), first)


def test_noise_is_factorised() -> None:
    """The noisy part of the weight is sigma times the outer product of the noise at both ends."""
    layer = NoisyLinear(3, 2).train()
    f_in, f_out = torch.randn(3), torch.randn(2)
    layer.take_noise(f_in, f_out)
    weight = layer.weight_mean + layer.weight_sigma * f_out[:, None] * f_in[None, :]
    bias = layer.bias_mean + layer.bias_sigma * f_out
    x = torch.randn(5, 3)
    torch.testing.assert_close(layer(x), x @ weight.t() + bias)


def test_the_actor_decides_alone() -> None:
    """A change of PPO's critic changes no preference."""
    ppo = Ppo(WIDTH).eval()
    before = ppo(rows(3))
    nn.init.constant_(ppo.critic.out.bias, 9.0)
    assert torch.equal(ppo(rows(3)), before)


def test_an_unknown_agent_is_refused_by_name() -> None:
    """The error names the agent and what is known."""
    with pytest.raises(KeyError, match=r"unknown agent 'dqn'.*d3qn"):
        build_agent("dqn", WIDTH)


def test_rows_do_not_influence_each_other() -> None:
    """An observation's preferences are the same alone and in a batch."""
    agent = D3qn(WIDTH).eval()
    batch = rows(7)
    alone = torch.cat([agent(batch[i : i + 1]) for i in range(7)])
    torch.testing.assert_close(agent(batch), alone)
