"""The contract of every learner, its options, and how it is saved and continued bit for bit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from strategy.learning.replay_ring import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerOptions:
    """What all learners share; Rainbow and PPO have options of their own beside it.

    ``updates`` is the length of the whole training, over which the learning rate falls as a cosine
    from ``rate`` to ``rate_end``. ``smoothing`` is the share of the online network that the target
    takes over with each update, ``huber`` the error from which the loss grows linearly.
    ``net_dims`` are the widths of both hidden layers, None the agent's own.
    """

    updates: int = 5_000
    batch: int = 256
    discount: float = 0.99
    rate: float = 1e-3
    rate_end: float = 1e-5
    weight_decay: float = 1e-4
    smoothing: float = 0.01
    huber: float = 5.0
    gradient_norm_max: float = 10.0
    net_dims: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Refuse numbers with which nothing can be learnt; ValueError names the option."""
        for name in ("updates", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is below 1")
        for name in ("rate", "rate_end", "huber", "gradient_norm_max"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} {getattr(self, name)} is not positive")
        for name in ("discount", "smoothing"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"{name} {getattr(self, name)} is not in (0, 1]")
        if self.weight_decay < 0.0:
            raise ValueError(f"weight_decay {self.weight_decay} is negative")
        if self.net_dims is not None and (len(self.net_dims) != 2 or min(self.net_dims) < 1):
            raise ValueError(f"net_dims {self.net_dims}: two widths of at least 1 are needed")

    def rate_at(self, progress_frac: float) -> float:
        """Return the learning rate at a share of the training in [0, 1]."""
        falling = 0.5 * (1.0 + math.cos(math.pi * min(max(progress_frac, 0.0), 1.0)))
        return self.rate_end + (self.rate - self.rate_end) * falling


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that a learner needs to go on bit for bit: tensors by name, and plain facts (JSON)."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


class Learner(Protocol):
    """One agent in training on a market path."""

    updates_done: int

    @property
    def name(self) -> str:
        """Name of the agent."""

    @property
    def net(self) -> nn.Module:
        """The network that is trained."""

    def train(self, updates: int) -> dict[str, float]:
        """Do so many updates more; return the means of what was measured."""

    def greedy(self, input_BF: Tensor) -> Tensor:
        """Return the preferred actions (B) for inputs (B, F)."""

    def snapshot(self) -> Snapshot:
        """Return everything that the next update depends on."""

    def restore(self, snapshot: Snapshot) -> None:
        """Go on where a snapshot was taken; ValueError when it is of another learner."""


class LearnerMaker(Protocol):
    """Makes a learner for a market path, or for what an environment showed."""

    def __call__(
        self,
        source: Source,
        options: LearnerOptions,
        *,
        seed: int,
        device: str = "cpu",
    ) -> Learner:
        """Return a fresh learner; a pure function of its arguments."""


def prefixed(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    """Return copies of a module's tensors under names that begin with the prefix."""
    return {
        f"{prefix}.{name}": tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in module.state_dict().items()
    }


def take_prefixed(prefix: str, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load what ``prefixed`` returned; ValueError for other names or shapes."""
    begin = len(prefix) + 1
    found = {
        name[begin:]: tensor for name, tensor in tensors.items() if name.startswith(prefix + ".")
    }
    try:
        module.load_state_dict(found)
    except RuntimeError as error:
        raise ValueError(f"snapshot of another {prefix}: {error}") from error


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return copies of the optimiser's moments and step counts."""
    return {
        f"optimiser.{place}.{name}": value.detach().clone()
        for place, held in optimiser.state_dict()["state"].items()
        for name, value in held.items()
    }


def take_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Load what ``optimiser_tensors`` returned."""
    held: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser."):
            _, place, what = name.split(".")
            held.setdefault(int(place), {})[what] = tensor.clone()
    state = optimiser.state_dict()
    state["state"] = held
    optimiser.load_state_dict(state)


def generator_facts(generator: np.random.Generator) -> dict[str, Any]:
    """Return a generator's state as plain facts."""
    return dict(generator.bit_generator.state)


def seeded(seed: int) -> np.random.Generator:
    """Return the one generator of a learner."""
    return np.random.default_rng(seed)
