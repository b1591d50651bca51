"""What the value agents share: an online and a target network, one optimiser, one update.

How an agent's target is made is its own affair: see the page of each. "Double" (van Hasselt et al.
2016): the online network chooses the next action, the target network says what it is worth. On the
CPU every update is compiled (``critic_engine``, for Rainbow ``atom_engine``); ``losses`` says the
same in torch, for other devices and for the test that holds both together.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from strategy.agents.dueling import VALUE_DIMS
from strategy.learning.atom_engine import AtomEngine
from strategy.learning.critic_engine import CriticEngine
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
from strategy.learning.replay_ring import Source, sampler_of, spaces_of, view_of
from strategy.learning.samplers import Sampler
from strategy.learning.transitions import Batch, TensorBatch

Engine = CriticEngine | AtomEngine


class ValueLearner(ABC):
    """Learn action values by bootstrapped targets, on a market path or from a replay."""

    name: ClassVar[str]
    steps: int = 1

    def __init__(
        self,
        source: Source,
        options: LearnerOptions,
        *,
        seed: int,
        device: str = "cpu",
        is_compiled: bool = True,
    ) -> None:
        """Build both networks from the seed; torch's own seed is left alone.

        Without ``is_compiled``, and on other devices than the CPU, torch makes every update.
        """
        self.options = options
        self.device = torch.device(device)
        self.view = view_of(source)
        self.net_dims = options.net_dims or VALUE_DIMS
        self.generator = seeded(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            spaces = spaces_of(source)
            self.net = self.build(spaces.input_count, spaces.action_count).to(self.device)
        self.target = copy.deepcopy(self.net)
        self.target.requires_grad_(False)
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=options.rate, weight_decay=options.weight_decay, fused=True
        )
        self.sampler: Sampler = self.make_sampler()
        self.updates_done = 0
        is_compiled = is_compiled and self.device.type == "cpu"
        self.engine: Engine | None = self.make_engine() if is_compiled else None

    @abstractmethod
    def build(self, input_count: int, action_count: int) -> nn.Module:
        """Return the network, freshly drawn from torch's seed."""

    @abstractmethod
    def losses(self, batch: TensorBatch) -> tuple[Tensor, Tensor]:
        """Return the loss of every row (B) and how wrong the agent was there (B), absolute."""

    def critics(self, net: nn.Module) -> tuple[nn.Module, ...]:
        """Return the critics that a network is made of."""
        return (net,)

    def make_engine(self) -> Engine:
        """Return what updates the networks by compiled steps."""
        critics, targets = self.critics(self.net), self.critics(self.target)
        return CriticEngine(critics, targets, huber=self.options.huber)

    def make_sampler(self) -> Sampler:
        """Return where batches come from."""
        return sampler_of(self.view, self.steps, False)

    def greedy(self, input_BF: Tensor) -> Tensor:
        """Return the preferred actions (B)."""
        if self.engine is not None:
            return torch.from_numpy(self.engine.values(input_BF.numpy()).argmax(axis=1))
        with torch.no_grad():
            return torch.as_tensor(self.net(input_BF)).argmax(dim=1)

    def train(self, updates: int) -> dict[str, float]:
        """Do so many updates more; returns mean loss and mean absolute error."""
        lost, wrong = 0.0, 0.0
        for _ in range(updates):
            place_B = self.sampler.draw(self.options.batch, self.generator)
            weight_B = self.sampler.weights(place_B, self.progress_frac)
            batch = self.view.transitions(
                place_B, weight_B, self, discount=self.options.discount, steps=self.steps
            )
            loss, error, error_B = self.update(batch)
            self.sampler.learn(place_B, error_B)
            lost, wrong = lost + loss, wrong + error
        return {"loss": lost / max(updates, 1), "error": wrong / max(updates, 1)}

    def update(self, batch: Batch) -> tuple[float, float, NDArray[np.float64]]:
        """Learn from one batch; returns its loss, the mean and all (B) absolute errors."""
        if self.engine is not None:
            found = self.update_compiled(batch)
            self.updates_done += 1
            return found
        for group in self.optimiser.param_groups:
            group["lr"] = self.options.rate_at(self.progress_frac)
        tensors = batch.tensors()
        loss_B, error_B = self.losses(tensors)
        loss = (tensors.weight_B * loss_B).mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch ships it without annotations
        nn.utils.clip_grad_norm_(self.net.parameters(), self.options.gradient_norm_max)
        self.optimiser.step()
        self.follow()
        self.updates_done += 1
        found_B = error_B.detach().double()
        return float(loss.detach()), float(found_B.mean()), found_B.numpy()

    def update_compiled(self, batch: Batch) -> tuple[float, float, NDArray[np.float64]]:
        """Learn from one batch by compiled steps."""
        assert isinstance(self.engine, CriticEngine)
        return self.engine.update(batch, self.stride, self.smoothing)

    @property
    def stride(self) -> Stride:
        """How far the next step of the optimiser goes."""
        return Stride(
            rate=self.options.rate_at(self.progress_frac),
            weight_decay=self.options.weight_decay,
            gradient_norm_max=self.options.gradient_norm_max,
        )

    @property
    def smoothing(self) -> float:
        """Share of the online network that the target takes over with each update."""
        return self.options.smoothing

    @torch.no_grad()
    def follow(self) -> None:
        """Let the target network follow the online one."""
        followed: list[Tensor] = list(self.net.parameters())
        targets: list[Tensor] = list(self.target.parameters())
        torch._foreach_lerp_(targets, followed, self.smoothing)

    @property
    def progress_frac(self) -> float:
        """Share of the whole training that is done."""
        return self.updates_done / self.options.updates

    def snapshot(self) -> Snapshot:
        """Return everything that the next update depends on."""
        return Snapshot(
            tensors={
                **prefixed("net", self.net),
                **prefixed("target", self.target),
                **self._moments(),
            },
            facts={
                "name": self.name,
                "updates_done": self.updates_done,
                "generator": generator_facts(self.generator),
            },
        )

    def _moments(self) -> dict[str, Tensor]:
        if self.engine is not None:
            return self.engine.memory.tensors()
        return optimiser_tensors(self.optimiser)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on where a snapshot was taken; ValueError when it is of another learner."""
        if snapshot.facts.get("name") != self.name:
            raise ValueError(f"snapshot of {snapshot.facts.get('name')!r}, this is {self.name!r}")
        take_prefixed("net", self.net, snapshot.tensors)
        take_prefixed("target", self.target, snapshot.tensors)
        if self.engine is not None:
            self.engine.memory.take(dict(snapshot.tensors))
        else:
            take_optimiser(self.optimiser, snapshot.tensors)
        self.updates_done = int(snapshot.facts["updates_done"])
        self.generator.bit_generator.state = snapshot.facts["generator"]


def double_target(
    batch: TensorBatch, online: nn.Module, target: nn.Module, *, is_double: bool = True
) -> Tensor:
    """Return r + discount * Q_target(next, argmax Q_online(next)) (B).

    Without ``is_double`` the target network chooses as well.
    """
    with torch.no_grad():
        worth_B3: Tensor = target(batch.next_BF)
        chooser_B3: Tensor = online(batch.next_BF) if is_double else worth_B3
        chosen_B1 = chooser_B3.argmax(dim=1, keepdim=True)
        return batch.reward_B + batch.discount_B * worth_B3.gather(1, chosen_B1).squeeze(1)


def taken(value_B3: Tensor, action_B: Tensor) -> Tensor:
    """Return the values of the actions that were taken (B)."""
    return value_B3.gather(1, action_B.unsqueeze(1)).squeeze(1)


def huber(found_B: Tensor, wanted_B: Tensor, limit: float) -> Tensor:
    """Return the Huber loss of every row, divided by its limit (B)."""
    return functional.smooth_l1_loss(found_B, wanted_B, beta=limit, reduction="none")
