"""One module for everything a decision needs, in two forms that give the same answer.

``ComposedEnsemble`` calls each agent's own network and works for any agents. ``FusedEnsemble`` has
the five standard agents with stacked weights: what shares the input is one matrix product, what has
the same shape is one batched product, and the dueling heads (linear after their hidden layer) are
folded into one matrix. A test holds both to the same numbers.

Both map (obs_BF, held_BA) to (preference_BA3, action_BA, confidence_BA, regime_BK, predicted_BA);
the order of the agents is that of the manifest. An agent sees the market row and its own position.
No postponed annotations here: the script compiler reads them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from strategy.agents.d3qn import D3qn
from strategy.agents.double_dqn import DoubleDqn
from strategy.agents.dueling import (
    ACTION_COUNT,
    HEAD_COUNT,
    HIDDEN_COUNT,
    DuelingNet,
    normalise,
)
from strategy.agents.ppo import TANH_COUNT, Ppo, TanhNet
from strategy.agents.rainbow import ATOM_COUNT, Rainbow
from strategy.agents.registry import STANDARD_AGENTS
from strategy.agents.twin_d3qn import TwinD3qn
from strategy.predictor import PerformancePredictor
from strategy.regimes import MarketRegimeClassifier, log_posterior

Answer = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]

STANDARD_CLASSES = tuple(STANDARD_AGENTS.values())
"""Classes of the five standard agents, in the order of ``kernels.events.AGENTS``."""

HELD_COUNT = 3
"""Own positions that an agent can have: short, flat, long."""

VALUE_NET_COUNT = 5
"""d3qn, both twins, rainbow, double DQN: the nets of the same shape, in this order."""

NET_OWNERS = (0, 2, 2, 4, 1, 3)
"""Place of the agent that each of these nets, and then PPO's actor, belongs to."""


def judge(preference_BA3: Tensor, temperature_A: Tensor) -> tuple[Tensor, Tensor]:
    """Return the preferred actions (B, A) and the confidences (B, A) in [0, 1].

    Confidence is how far the top action's softmax probability lies above chance, rescaled: 0 means
    indifferent, 1 certain. The temperature makes values of different scale comparable.
    """
    probability_BA3 = torch.softmax(preference_BA3 / temperature_A.unsqueeze(1), dim=2)
    top_BA = probability_BA3.amax(dim=2)
    return preference_BA3.argmax(dim=2), top_BA * 1.5 - 0.5


def seen_by(obs_BF: Tensor, held_B: Tensor, held_count: int = HELD_COUNT) -> Tensor:
    """Return what one agent sees (B, F + 3): the market row, then its own position, one-hot."""
    held_B3 = functional.one_hot(held_B, held_count).to(obs_BF.dtype)
    return torch.cat((obs_BF, held_B3), dim=1)


class ComposedEnsemble(nn.Module):
    """Ask every agent through its own network."""

    def __init__(
        self,
        agents: Sequence[nn.Module],
        regimes: MarketRegimeClassifier,
        predictor: PerformancePredictor,
        temperature_A: Tensor,
    ) -> None:
        """Take the agents in the order of axis A and one confidence temperature for each."""
        super().__init__()
        self.agents = nn.ModuleList(agents)
        self.regimes = regimes
        self.predictor = predictor
        self.temperature_A: Tensor
        self.register_buffer("temperature_A", temperature_A)

    @property
    @torch.jit.unused
    def agent_count(self) -> int:
        """Length of axis A."""
        return len(self.agents)

    def forward(self, obs_BF: Tensor, held_BA: Tensor) -> Answer:
        """Map market rows (B, F) and own positions (B, A) to the five arrays of a judgement."""
        preferences: list[Tensor] = []
        for place, agent in enumerate(self.agents):
            preferences.append(agent(seen_by(obs_BF, held_BA[:, place])))
        preference_BA3 = torch.stack(preferences, dim=1)
        action_BA, confidence_BA = judge(preference_BA3, self.temperature_A)
        regime_BK = torch.softmax(self.regimes(obs_BF), dim=1)
        predicted_BA: Tensor = self.predictor(obs_BF, regime_BK)
        return preference_BA3, action_BA, confidence_BA, regime_BK, predicted_BA


class FusedEnsemble(nn.Module):
    """Ask the five standard agents in a handful of stacked products."""

    def __init__(self, composed: ComposedEnsemble) -> None:
        """Copy the weights of a composed ensemble of exactly the standard agents.

        Raises TypeError for any other agents.
        """
        super().__init__()
        agents = tuple(composed.agents)
        if not is_standard(agents):
            raise TypeError(f"cannot fuse {[type(agent).__name__ for agent in agents]}")
        d3qn, double_dqn, twin, ppo, rainbow = agents
        assert isinstance(d3qn, D3qn)
        assert isinstance(double_dqn, DoubleDqn)
        assert isinstance(twin, TwinD3qn)
        assert isinstance(ppo, Ppo)
        assert isinstance(rainbow, Rainbow)
        duelings = (d3qn.critic, twin.critic_a, twin.critic_b)
        values = (*duelings, rainbow, double_dqn)
        regimes, predictor = composed.regimes, composed.predictor
        weight_FH, bias_H = _first_layer(values, ppo, regimes, predictor)
        self.widths = [VALUE_NET_COUNT * HIDDEN_COUNT, TANH_COUNT, HIDDEN_COUNT, HIDDEN_COUNT]
        hold = self.register_buffer
        hold("first_weight_FH", weight_FH)
        hold("first_bias_H", bias_H)
        hold("second_weight_VHH", torch.stack([net.second.weight.t() for net in values]))
        hold("second_bias_V1H", torch.stack([net.second.bias for net in values]).unsqueeze(1))
        heads = [_head_hidden(net) for net in (*duelings, rainbow)]
        hold("head_weight_VHH", torch.stack([weight for weight, _ in heads]))
        hold("head_bias_V1H", torch.stack([bias for _, bias in heads]).unsqueeze(1))
        folded = [_fold_dueling(net) for net in duelings]
        hold("dueling_weight_VH3", torch.stack([weight for weight, _ in folded]))
        hold("dueling_bias_V13", torch.stack([bias for _, bias in folded]).unsqueeze(1))
        atom_weight_HO, atom_bias_O = _fold_rainbow(rainbow)
        hold("atom_weight_HO", atom_weight_HO)
        hold("atom_bias_O", atom_bias_O)
        hold("support_Z", rainbow.support_Z)
        for name, layer in (
            ("double", double_dqn.out),
            ("actor_second", ppo.actor.second),
            ("actor", ppo.actor.out),
            ("regime_second", regimes.second),
            ("regime", regimes.out),
            ("predictor_second", predictor.second),
            ("predictor", predictor.out),
        ):
            hold(f"{name}_weight_HO", layer.weight.t().contiguous())
            hold(f"{name}_bias_O", layer.bias)
        hold("posterior_weight_KH", predictor.from_regime.weight.t().contiguous())
        hold("code_AH", predictor.from_code(predictor.code_AC))
        hold("temperature_A", composed.temperature_A)
        hold("trust_1", regimes.trust)
        self.posterior_first = regimes.feature_count
        _freeze(self)

    widths: list[int]
    posterior_first: int
    first_weight_FH: Tensor
    first_bias_H: Tensor
    second_weight_VHH: Tensor
    second_bias_V1H: Tensor
    head_weight_VHH: Tensor
    head_bias_V1H: Tensor
    dueling_weight_VH3: Tensor
    dueling_bias_V13: Tensor
    atom_weight_HO: Tensor
    atom_bias_O: Tensor
    support_Z: Tensor
    double_weight_HO: Tensor
    double_bias_O: Tensor
    actor_second_weight_HO: Tensor
    actor_second_bias_O: Tensor
    actor_weight_HO: Tensor
    actor_bias_O: Tensor
    regime_second_weight_HO: Tensor
    regime_second_bias_O: Tensor
    regime_weight_HO: Tensor
    regime_bias_O: Tensor
    predictor_second_weight_HO: Tensor
    predictor_second_bias_O: Tensor
    predictor_weight_HO: Tensor
    predictor_bias_O: Tensor
    posterior_weight_KH: Tensor
    code_AH: Tensor
    temperature_A: Tensor
    trust_1: Tensor

    def forward(self, obs_BF: Tensor, held_BA: Tensor) -> Answer:
        """Map market rows (B, F) and own positions (B, A) to the five arrays of a judgement."""
        rows = obs_BF.size(0)
        regime_count = self.regime_bias_O.size(0)
        held_BP = functional.one_hot(held_BA, 3).to(obs_BF.dtype).flatten(1)
        seen_BF = torch.cat((obs_BF, held_BP), dim=1)
        first_BH = torch.addmm(self.first_bias_H, seen_BF, self.first_weight_FH)
        value_BH, actor_BH, regime_BH, market_BH = torch.split_with_sizes(
            first_BH, self.widths, dim=1
        )
        value_VBH = value_BH.view(rows, self.second_weight_VHH.size(0), -1).transpose(0, 1)
        value_VBH = torch.relu(normalise(value_VBH))
        value_VBH = torch.baddbmm(self.second_bias_V1H, value_VBH, self.second_weight_VHH)
        value_VBH = torch.relu(normalise(value_VBH))
        double_B3 = torch.addmm(self.double_bias_O, value_VBH[4], self.double_weight_HO)
        head_VBH = torch.baddbmm(self.head_bias_V1H, value_VBH[:4], self.head_weight_VHH)
        head_VBH = torch.relu(head_VBH)
        dueling_VB3 = torch.baddbmm(self.dueling_bias_V13, head_VBH[:3], self.dueling_weight_VH3)
        atoms_BO = torch.addmm(self.atom_bias_O, head_VBH[3], self.atom_weight_HO)
        rainbow_B3 = torch.softmax(atoms_BO.view(rows, 3, -1), dim=2) @ self.support_Z
        actor_BH = torch.addmm(
            self.actor_second_bias_O, torch.tanh(actor_BH), self.actor_second_weight_HO
        )
        actor_B3 = torch.addmm(self.actor_bias_O, torch.tanh(actor_BH), self.actor_weight_HO)
        twin_B3 = torch.minimum(dueling_VB3[1], dueling_VB3[2])
        preference_BA3 = torch.stack(
            [dueling_VB3[0], double_B3, twin_B3, actor_B3, rainbow_B3], dim=1
        )
        action_BA, confidence_BA = judge(preference_BA3, self.temperature_A)
        regime_BH = torch.addmm(
            self.regime_second_bias_O, torch.relu(regime_BH), self.regime_second_weight_HO
        )
        prior_BK = obs_BF[:, self.posterior_first : self.posterior_first + regime_count]
        logits_BK = torch.addmm(self.regime_bias_O, torch.relu(regime_BH), self.regime_weight_HO)
        logits_BK = logits_BK + self.trust_1 * log_posterior(prior_BK)
        regime_BK = torch.softmax(logits_BK, dim=1)
        market_BH = torch.addmm(market_BH, regime_BK, self.posterior_weight_KH)
        hidden_BAH = torch.relu(market_BH.unsqueeze(1) + self.code_AH)
        hidden_RH = torch.addmm(  # R: rows of every agent, so that one product serves them all
            self.predictor_second_bias_O,
            hidden_BAH.flatten(0, 1),
            self.predictor_second_weight_HO,
        )
        predicted_R1 = torch.addmm(
            self.predictor_bias_O, torch.relu(hidden_RH), self.predictor_weight_HO
        )
        predicted_BA = predicted_R1.view(rows, -1)
        return preference_BA3, action_BA, confidence_BA, regime_BK, predicted_BA


def is_standard(agents: Sequence[nn.Module]) -> bool:
    """Say whether these are exactly the standard agents in their order, so that they can fuse."""
    if tuple(type(agent) for agent in agents) != STANDARD_CLASSES:
        return False
    return _hidden_widths(agents) == [HIDDEN_COUNT] * 10 + [TANH_COUNT] * 2


def _hidden_widths(agents: Sequence[nn.Module]) -> list[int]:
    """Return the widths of both hidden layers of every net, those of PPO's actor last."""
    d3qn, double_dqn, twin, ppo, rainbow = agents
    assert isinstance(d3qn, D3qn)
    assert isinstance(double_dqn, DoubleDqn)
    assert isinstance(twin, TwinD3qn)
    assert isinstance(ppo, Ppo)
    assert isinstance(ppo.actor, TanhNet)
    assert isinstance(rainbow, Rainbow)
    values = (d3qn.critic, twin.critic_a, twin.critic_b, double_dqn, rainbow)
    return [
        width
        for net in (*values, ppo.actor)
        for width in (net.first.out_features, net.second.out_features)
    ]


def fuse(ensemble: nn.Module) -> nn.Module:
    """Return the fastest equivalent module: fused for the standard agents, else as it is."""
    if not isinstance(ensemble, ComposedEnsemble) or not is_standard(list(ensemble.agents)):
        return _freeze(ensemble)
    with torch.no_grad():
        return _freeze(FusedEnsemble(ensemble))


def _freeze(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module.eval()


def _first_layer(
    values: Sequence[DuelingNet | Rainbow | DoubleDqn],
    ppo: Ppo,
    regimes: MarketRegimeClassifier,
    predictor: PerformancePredictor,
) -> tuple[Tensor, Tensor]:
    """Stack every layer that reads the market row: (F + 3 A, H), (H).

    The rows after the market's are the own positions of all agents, three each; a network has zeros
    there but for those of its own agent. Regime net and predictor see no position.
    """
    observation_count = predictor.from_observation.in_features
    layers = [
        *[net.first for net in values],
        ppo.actor.first,
        regimes.first,
        predictor.from_observation,
    ]
    assert [layer.out_features for layer in layers] == (
        [HIDDEN_COUNT] * VALUE_NET_COUNT + [TANH_COUNT, HIDDEN_COUNT, HIDDEN_COUNT]
    )
    seen_count = observation_count + HELD_COUNT * len(STANDARD_CLASSES)
    weights: list[Tensor] = []
    for layer, owner in zip(layers, (*NET_OWNERS, -1, -1), strict=True):
        whole_HF = layer.weight.new_zeros(layer.out_features, seen_count)
        market_count = min(observation_count, layer.in_features)
        whole_HF[:, :market_count] = layer.weight[:, :market_count]
        if owner >= 0:
            own = observation_count + HELD_COUNT * owner
            whole_HF[:, own : own + HELD_COUNT] = layer.weight[:, observation_count:]
        weights.append(whole_HF)
    return torch.cat(weights).t().contiguous(), torch.cat([layer.bias for layer in layers])


def _head_hidden(net: DuelingNet | Rainbow) -> tuple[Tensor, Tensor]:
    """Stack value and advantage hidden layers side by side: (H, 2 * head), (2 * head)."""
    weights: tuple[Tensor, Tensor]
    biases: tuple[Tensor, Tensor]
    if isinstance(net, Rainbow):
        weights = (net.value_hidden.weight_mean, net.advantage_hidden.weight_mean)
        biases = (net.value_hidden.bias_mean, net.advantage_hidden.bias_mean)
    else:
        weights = (net.value_hidden.weight, net.advantage_hidden.weight)
        biases = (net.value_hidden.bias, net.advantage_hidden.bias)
    return torch.cat(weights).t().contiguous(), torch.cat(biases)


def _fold_dueling(net: DuelingNet) -> tuple[Tensor, Tensor]:
    """Fold V + A - mean A into one matrix over both head hiddens: (2 * head, 3), (3)."""
    advantage_3H = net.advantage_out.weight - net.advantage_out.weight.mean(dim=0)
    value_3H = net.value_out.weight.expand(ACTION_COUNT, HEAD_COUNT)
    bias_3 = net.value_out.bias + net.advantage_out.bias - net.advantage_out.bias.mean()
    return torch.cat((value_3H, advantage_3H), dim=1).t().contiguous(), bias_3


def _fold_rainbow(net: Rainbow) -> tuple[Tensor, Tensor]:
    """Fold the same for every atom: (2 * head, 3 * 51), (3 * 51); noise is left out."""
    advantage_3ZH = net.advantage_out.weight_mean.view(ACTION_COUNT, ATOM_COUNT, HEAD_COUNT)
    advantage_3ZH = advantage_3ZH - advantage_3ZH.mean(dim=0)
    value_3ZH = net.value_out.weight_mean.expand(ACTION_COUNT, ATOM_COUNT, HEAD_COUNT)
    weight_OH = torch.cat((value_3ZH, advantage_3ZH), dim=2).reshape(-1, 2 * HEAD_COUNT)
    bias_3Z = net.advantage_out.bias_mean.view(ACTION_COUNT, ATOM_COUNT)
    bias_3Z = bias_3Z - bias_3Z.mean(dim=0) + net.value_out.bias_mean
    return weight_OH.t().contiguous(), bias_3Z.reshape(-1)
