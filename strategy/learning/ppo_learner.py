"""PPO (Schulman et al. 2017) with the published details that apply (Huang et al. 2022).

Many walkers go along the path from drawn bars, each with its own position. Details: orthogonal
initialisation (sqrt 2, 0.01 for the actor's output, 1 for the critic's), Adam epsilon 1e-5, a
falling rate, GAE, advantages normalised in each minibatch, clipped ratio, clipped value loss,
entropy bonus, gradient norm 0.5; a walk that is cut off is bootstrapped: nothing ends there. On the
CPU every step is compiled (``policy_engine``); ``ppo_loss`` says the same in torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from strategy.agents.ppo import TANH_DIMS, Ppo, TanhNet
from strategy.learning.flat_memory import Stride
from strategy.learning.learner import (
    LearnerOptions,
    Snapshot,
    generator_facts,
    optimiser_tensors,
    prefixed,
    seeded,
    take_optimiser,
    take_prefixed,
)
from strategy.learning.policy_engine import PolicyEngine
from strategy.learning.policy_steps import Walked, Weighing
from strategy.learning.replay_ring import Source, spaces_of, view_of
from strategy.learning.transitions import POSITIONS, MarketPath, PathView

FIRST_LAYERS_GAIN = math.sqrt(2.0)
ACTOR_GAIN, CRITIC_GAIN = 0.01, 1.0
ADAM_EPSILON = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class PpoOptions:
    """One iteration: ``walkers`` x ``horizon`` steps, then ``epochs`` passes in minibatches.

    An ``entropy`` of 0.02 holds the policy back from learning one path by heart: on the path of the
    strong world that was hardest it reached 0.959 of the optimum, with 0.002 0.934, with 0.03 0.945
    (100 iterations; after 200 with 0.002 0.920). On weak worlds it was not tried: there two seeds
    with 0.002, 0.01 and 0.03 differed by 0.01 at most.
    """

    walkers: int = 512
    horizon: int = 64
    epochs: int = 4
    minibatch: int = 4_096
    trace: float = 0.9
    clip: float = 0.2
    entropy: float = 0.02
    value: float = 0.5
    gradient_norm_max: float = 0.5
    rate: float = 1e-3

    def __post_init__(self) -> None:
        """Refuse minibatches that do not divide an iteration."""
        if (self.walkers * self.horizon) % self.minibatch:
            raise ValueError(f"minibatch {self.minibatch} does not divide an iteration")


DEFAULT_PPO = PpoOptions()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Walks:
    """What the walkers did, steps by walkers flattened (N): inputs, actions, and what was said."""

    input_NF: Tensor
    action_N: Tensor
    log_share_N: Tensor
    value_N: Tensor
    advantage_N: Tensor
    return_N: Tensor


class PpoLearner:
    """Learn a policy by clipped steps; one update is one iteration, on a market path a walk too."""

    name: ClassVar[str] = "ppo"

    def __init__(
        self,
        source: Source,
        options: LearnerOptions,
        *,
        seed: int,
        device: str = "cpu",
        ppo: PpoOptions = DEFAULT_PPO,
        is_compiled: bool = True,
    ) -> None:
        """Build actor and critic from the seed; torch's own seed is left alone.

        Without ``is_compiled``, and on other devices than the CPU, torch makes every step.
        """
        if isinstance(source, MarketPath) and len(source.rows_TF) <= ppo.horizon + 1:
            raise ValueError(f"a path of {len(source.rows_TF)} bars is too short")
        self.options, self.ppo = options, ppo
        self.device = torch.device(device)
        self.view = view_of(source)
        self.generator = seeded(seed)
        self.chance = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            spaces = spaces_of(source)
            net_dims = options.net_dims or TANH_DIMS
            self.net = Ppo(spaces.input_count, spaces.action_count, net_dims)
            initialise(self.net)
        self.optimiser = torch.optim.Adam(
            self.net.parameters(), lr=ppo.rate, eps=ADAM_EPSILON, fused=True
        )
        self.updates_done = 0
        is_compiled = is_compiled and self.device.type == "cpu"
        self.engine = PolicyEngine(self.net) if is_compiled else None

    def greedy(self, input_BF: Tensor) -> Tensor:
        """Return the likeliest actions (B)."""
        with torch.no_grad():
            return torch.as_tensor(self.net(input_BF)).argmax(dim=1)

    def train(self, updates: int) -> dict[str, float]:
        """Do so many iterations more; returns the means of what was measured."""
        sums: dict[str, float] = {}
        for _ in range(updates):
            for name, value in self.iterate().items():
                sums[name] = sums.get(name, 0.0) + value
        return {name: value / updates for name, value in sums.items()}

    def iterate(self) -> dict[str, float]:
        """Walk the market path, then learn from the walks."""
        return self.learn(self.walk())

    def learn(self, walks: Walks) -> dict[str, float]:
        """Learn from steps of the present policy in a few passes, at a falling rate."""
        count = len(walks.action_N)
        lost, shift, clipped, steps = 0.0, 0.0, 0.0, 0
        for _ in range(self.ppo.epochs):
            order_N = torch.randperm(count, generator=self.chance)
            for begin in range(0, count, self.ppo.minibatch):
                place_M = order_N[begin : begin + self.ppo.minibatch]
                loss, moved, cut = self.step(walks, place_M)
                lost, shift, clipped, steps = lost + loss, shift + moved, clipped + cut, steps + 1
        self.updates_done += 1
        return {
            "reward": float(walks.return_N.mean()),
            "loss": lost / steps,
            "shift": shift / steps,
            "clip_frac": clipped / steps,
        }

    @torch.no_grad()
    def walk(self) -> Walks:
        """Let every walker go ``horizon`` bars from a drawn bar and position.

        TypeError without a market path: other environments hand their steps to ``learn``.
        """
        ppo, view = self.ppo, self.view
        if not isinstance(view, PathView):
            raise TypeError("only a market path can be walked from any bar and position")
        last = len(view) - ppo.horizon - 1
        bar_W = self.generator.integers(0, last, ppo.walkers)
        held_W = self.generator.integers(0, POSITIONS, ppo.walkers)
        inputs, actions, logs, values, rewards = [], [], [], [], []
        for _ in range(ppo.horizon):
            input_WF = torch.from_numpy(view.inputs(bar_W, held_W))
            log_share_W3, value_W = self.answer(input_WF)
            action_W = torch.multinomial(log_share_W3.exp(), 1, generator=self.chance).squeeze(1)
            inputs.append(input_WF)
            actions.append(action_W)
            logs.append(log_share_W3.gather(1, action_W.unsqueeze(1)).squeeze(1))
            values.append(value_W)
            rewards.append(torch.from_numpy(view.reward(bar_W, held_W, action_W.numpy())))
            bar_W, held_W = bar_W + 1, action_W.numpy()
        _, end_W = self.answer(torch.from_numpy(view.inputs(bar_W, held_W)))
        value_TW, reward_TW = torch.stack(values), torch.stack(rewards)
        ends_TW = torch.zeros_like(reward_TW)
        advantage_TW = estimate_advantages(
            reward_TW, value_TW, end_W, ends_TW, self.options.discount, ppo.trace
        )
        return Walks(
            input_NF=torch.cat(inputs),
            action_N=torch.cat(actions),
            log_share_N=torch.cat(logs),
            value_N=value_TW.flatten(),
            advantage_N=advantage_TW.flatten(),
            return_N=(advantage_TW + value_TW).flatten(),
        )

    @torch.no_grad()
    def answer(self, input_BF: Tensor) -> tuple[Tensor, Tensor]:
        """Return logs of the actions' shares (B, A) and values (B) of states."""
        if self.engine is not None:
            log_share_BA, value_B = self.engine.answer(input_BF.numpy())
            return torch.from_numpy(log_share_BA), torch.from_numpy(value_B)
        return torch.log_softmax(self.net(input_BF), dim=1), self.net.critic(input_BF).squeeze(1)

    def step(self, walks: Walks, place_M: Tensor) -> tuple[float, float, float]:
        """Learn from one minibatch; returns loss, approximate KL shift and the clipped share."""
        ppo = self.ppo
        rate = ppo.rate * max(1.0 - self.updates_done / self.options.updates, 0.0)
        if self.engine is not None:
            weighing = Weighing(clip=ppo.clip, value=ppo.value, entropy=ppo.entropy)
            stride = Stride(
                rate=rate, gradient_norm_max=ppo.gradient_norm_max, epsilon=ADAM_EPSILON
            )
            return self.engine.update(walked_of(walks), place_M.numpy(), stride, weighing)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss, shift, clipped = ppo_loss(self.net, walks, place_M, self.ppo)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch ships it without annotations
        nn.utils.clip_grad_norm_(self.net.parameters(), self.ppo.gradient_norm_max)
        self.optimiser.step()
        return float(loss.detach()), shift, clipped

    def snapshot(self) -> Snapshot:
        """Return everything that the next iteration depends on."""
        facts: dict[str, Any] = {
            "name": self.name,
            "updates_done": self.updates_done,
            "generator": generator_facts(self.generator),
        }
        moments = (
            optimiser_tensors(self.optimiser)
            if self.engine is None
            else self.engine.memory.tensors()
        )
        tensors = {**prefixed("net", self.net), **moments, "chance": self.chance.get_state()}
        return Snapshot(tensors=tensors, facts=facts)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on where a snapshot was taken; ValueError when it is of another learner."""
        if snapshot.facts.get("name") != self.name:
            raise ValueError(f"snapshot of {snapshot.facts.get('name')!r}, this is {self.name!r}")
        take_prefixed("net", self.net, snapshot.tensors)
        if self.engine is not None:
            self.engine.memory.take(dict(snapshot.tensors))
        else:
            take_optimiser(self.optimiser, snapshot.tensors)
        self.chance.set_state(snapshot.tensors["chance"])
        self.updates_done = int(snapshot.facts["updates_done"])
        self.generator.bit_generator.state = snapshot.facts["generator"]


def walked_of(walks: Walks) -> Walked:
    """Return walks as compiled steps read them."""
    return Walked(
        input_NF=walks.input_NF.numpy(),
        action_N=walks.action_N.numpy(),
        log_share_N=walks.log_share_N.numpy(),
        value_N=walks.value_N.numpy(),
        advantage_N=walks.advantage_N.numpy(),
        return_N=walks.return_N.numpy(),
    )


def estimate_advantages(
    reward_TW: Tensor,
    value_TW: Tensor,
    end_W: Tensor,
    ends_TW: Tensor,
    discount: float,
    trace: float,
) -> Tensor:
    """Return generalised advantages (T, W) (Schulman et al. 2015).

    ``ends_TW`` is 1 where an episode ended with that step (nothing follows); ``end_W`` is the value
    after the last step, from which a walk that was cut off goes on.
    """
    advantage_TW = torch.zeros_like(reward_TW)
    following_W, carried_W = end_W, torch.zeros_like(end_W)
    for t in range(len(reward_TW) - 1, -1, -1):
        goes_on_W = 1.0 - ends_TW[t]
        surprise_W = reward_TW[t] + discount * following_W * goes_on_W - value_TW[t]
        carried_W = surprise_W + discount * trace * goes_on_W * carried_W
        advantage_TW[t] = carried_W
        following_W = value_TW[t]
    return advantage_TW


def ppo_loss(
    net: Ppo, walks: Walks, place_M: Tensor, ppo: PpoOptions
) -> tuple[Tensor, float, float]:
    """Return the loss of one minibatch, the approximate KL shift and the clipped share."""
    input_MF, action_M = walks.input_NF[place_M], walks.action_N[place_M]
    log_share_M3 = torch.log_softmax(net(input_MF), dim=1)
    log_share_M = log_share_M3.gather(1, action_M.unsqueeze(1)).squeeze(1)
    log_ratio_M = log_share_M - walks.log_share_N[place_M]
    ratio_M = log_ratio_M.exp()
    advantage_M = walks.advantage_N[place_M]
    advantage_M = (advantage_M - advantage_M.mean()) / (advantage_M.std() + 1e-8)
    held_M = ratio_M.clamp(1.0 - ppo.clip, 1.0 + ppo.clip)
    policy = -torch.minimum(ratio_M * advantage_M, held_M * advantage_M).mean()
    value_M: Tensor = net.critic(input_MF).squeeze(1)
    before_M, wanted_M = walks.value_N[place_M], walks.return_N[place_M]
    near_M = before_M + (value_M - before_M).clamp(-ppo.clip, ppo.clip)
    value = 0.5 * torch.maximum((value_M - wanted_M) ** 2, (near_M - wanted_M) ** 2).mean()
    entropy = -(log_share_M3.exp() * log_share_M3).sum(dim=1).mean()
    loss = policy + ppo.value * value - ppo.entropy * entropy
    with torch.no_grad():
        shift = float(((ratio_M - 1.0) - log_ratio_M).mean())
        clipped = float(((ratio_M - 1.0).abs() > ppo.clip).float().mean())
    return loss, shift, clipped


def initialise(net: Ppo) -> None:
    """Draw orthogonal weights and set biases to zero."""
    for part, gain in ((net.actor, ACTOR_GAIN), (net.critic, CRITIC_GAIN)):
        assert isinstance(part, TanhNet)
        for layer in (part.first, part.second):
            nn.init.orthogonal_(layer.weight, FIRST_LAYERS_GAIN)
        nn.init.orthogonal_(part.out.weight, gain)
        for layer in (part.first, part.second, part.out):
            nn.init.zeros_(layer.bias)
