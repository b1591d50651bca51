"""Rainbow (Hessel et al. 2018): six parts on one page, each of which can be switched off.

double        the online network chooses the next action (van Hasselt et al. 2016)
dueling       value and centred advantage streams (Wang et al. 2016)
prioritised   places in proportion to their error (Schaul et al. 2015)
n_step        returns over three steps; the steps after the first follow the present greedy policy,
              which exogenous prices allow, so they need no correction
distributional  51 atoms, the projected Bellman update (Bellemare et al. 2017)
noisy         factorised noise in the heads instead of epsilon (Fortunato et al. 2018)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from strategy.agents.rainbow import RETURN_MAX, NoisyLinear, Rainbow
from strategy.learning.atom_engine import AtomEngine
from strategy.learning.atom_steps import Method
from strategy.learning.learner import LearnerOptions, Snapshot, generator_facts
from strategy.learning.replay_ring import PrioritisedReplaySampler, Source, sampler_of
from strategy.learning.samplers import PrioritisedSampler, Sampler
from strategy.learning.transitions import Batch, MarketPath, TensorBatch
from strategy.learning.value_learner import ValueLearner, double_target, huber, taken


@dataclass(frozen=True, slots=True, kw_only=True)
class RainbowParts:
    """Which parts are on; ``n_step`` 1 is that part switched off."""

    double: bool = True
    dueling: bool = True
    prioritised: bool = True
    n_step: int = 3
    distributional: bool = True
    noisy: bool = True

    def __post_init__(self) -> None:
        """Refuse a return over no step at all."""
        if self.n_step < 1:
            raise ValueError(f"n_step {self.n_step} is below 1")


ALL_PARTS = RainbowParts()

NOISE_STREAM = 1
"""Of a learner's seed; its batches are drawn from another stream."""


class RainbowLearner(ValueLearner):
    """Move the distribution of returns of the action taken towards its projected target."""

    name: ClassVar[str] = "rainbow"
    net: Rainbow
    target: Rainbow

    def __init__(
        self,
        source: Source,
        options: LearnerOptions,
        *,
        seed: int,
        device: str = "cpu",
        parts: RainbowParts = ALL_PARTS,
        is_compiled: bool = True,
    ) -> None:
        """Build both networks; rewards are scaled so that returns fit the atoms."""
        self.parts = parts
        self.steps = parts.n_step
        super().__init__(source, options, seed=seed, device=device, is_compiled=is_compiled)
        if isinstance(source, MarketPath):
            self.scale = reward_scale(source, options.discount)
        else:
            self.scale = RETURN_MAX / source.spaces.return_scale
        self.chance = np.random.default_rng((seed, NOISE_STREAM))
        ends = [(layer.noise_in, layer.noise_out) for layer in layers(self.net)]
        self.noise_count = sum(first.numel() + second.numel() for first, second in ends)
        self.net.eval()
        self.target.eval()

    def build(self, input_count: int, action_count: int) -> nn.Module:
        """Return the network with the streams that are on."""
        return Rainbow(input_count, action_count, self.net_dims, is_dueling=self.parts.dueling)

    def make_sampler(self) -> Sampler:
        """Return a sampler by priority, or one that takes all places alike."""
        return sampler_of(self.view, self.steps, self.parts.prioritised)

    def make_engine(self) -> AtomEngine:
        """Return what updates both networks by compiled steps."""
        return AtomEngine(self.net, self.target)

    def noisy_values(self, input_BF: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return expected returns (B, A) under fresh noise, as the network explores."""
        noise_N = self._draw_noise()
        if isinstance(self.engine, AtomEngine):
            return self.engine.values(input_BF, noise_N)
        give_noise(self.net.train(), noise_N)
        with torch.no_grad():
            found_BA: NDArray[np.float32] = self.net(torch.from_numpy(input_BF)).numpy()
        self.net.eval()
        return found_BA

    def _draw_noise(self) -> NDArray[np.float32]:
        """Return f(x) = sgn(x) sqrt|x| of normal draws for all ends of the noisy layers (N)."""
        drawn_N = self.chance.standard_normal(self.noise_count, np.float32)
        return np.copysign(np.sqrt(np.abs(drawn_N)), drawn_N)

    def update(self, batch: Batch) -> tuple[float, float, NDArray[np.float64]]:
        """Learn from one batch, in torch under fresh noise of both networks."""
        if self.engine is not None or not self.parts.noisy:
            return super().update(batch)
        for network in (self.net, self.target):
            give_noise(network.train(), self._draw_noise())
        found = super().update(batch)
        self.net.eval()
        self.target.eval()
        return found

    def update_compiled(self, batch: Batch) -> tuple[float, float, NDArray[np.float64]]:
        """Learn from one batch by compiled steps, under fresh noise of both networks."""
        assert isinstance(self.engine, AtomEngine)
        silence_N = self.engine.silence_N
        noises = (silence_N, silence_N)
        if self.parts.noisy:
            noises = self._draw_noise(), self._draw_noise()
        method = Method(
            is_double=self.parts.double,
            is_distributional=self.parts.distributional,
            reward_scale=self.scale,
            huber=self.options.huber,
            smoothing=self.smoothing,
        )
        return self.engine.update(batch, self.stride, method, noises)

    def losses(self, batch: TensorBatch) -> tuple[Tensor, Tensor]:
        """Return cross entropies, or Huber losses of the expectation; and absolute errors."""
        scaled = batch._replace(reward_B=batch.reward_B * self.scale)
        if not self.parts.distributional:
            wanted_B = double_target(scaled, self.net, self.target, is_double=self.parts.double)
            found_B = taken(self.net(batch.input_BF), batch.action_B)
            return huber(found_B, wanted_B, self.options.huber), (found_B - wanted_B).abs()
        wanted_BZ = self.target_atoms(scaled)
        log_share_B3Z = functional.log_softmax(self.net.atom_logits(batch.input_BF), dim=2)
        place_B1Z = batch.action_B.view(-1, 1, 1).expand(-1, 1, wanted_BZ.size(1))
        log_share_BZ = log_share_B3Z.gather(1, place_B1Z).squeeze(1)
        entropy_B = -(wanted_BZ * log_share_BZ).sum(dim=1)
        return entropy_B, entropy_B  # the error that Rainbow ranks by is its loss

    def target_atoms(self, batch: TensorBatch) -> Tensor:
        """Return the projected distribution of r + discount Z(next, chosen) (B, Z)."""
        with torch.no_grad():
            share_B3Z = torch.softmax(self.target.atom_logits(batch.next_BF), dim=2)
            chooser_B3Z = (
                torch.softmax(self.net.atom_logits(batch.next_BF), dim=2)
                if self.parts.double
                else share_B3Z
            )
            chosen_B = (chooser_B3Z @ self.net.support_Z).argmax(dim=1)
            place_B1Z = chosen_B.view(-1, 1, 1).expand(-1, 1, share_B3Z.size(2))
            share_BZ = share_B3Z.gather(1, place_B1Z).squeeze(1)
            return project(share_BZ, batch.reward_B, batch.discount_B, self.net.support_Z)

    def snapshot(self) -> Snapshot:
        """Return everything that the next update depends on, priorities and noise included."""
        plain = super().snapshot()
        tensors: dict[str, Tensor] = dict(plain.tensors)
        if isinstance(self.sampler, PrioritisedSampler | PrioritisedReplaySampler):
            tensors["priorities"] = torch.from_numpy(self.sampler.tree.nodes.copy())
        facts: dict[str, Any] = {**plain.facts, "noise": generator_facts(self.chance)}
        if isinstance(self.sampler, PrioritisedSampler | PrioritisedReplaySampler):
            facts["largest_priority"] = self.sampler.largest
        return Snapshot(tensors=tensors, facts=facts)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on where a snapshot was taken."""
        super().restore(snapshot)
        self.chance.bit_generator.state = snapshot.facts["noise"]
        if isinstance(self.sampler, PrioritisedSampler | PrioritisedReplaySampler):
            self.sampler.tree.nodes[:] = snapshot.tensors["priorities"].numpy()
            self.sampler.largest = float(snapshot.facts["largest_priority"])


def layers(net: Rainbow) -> tuple[NoisyLinear, ...]:
    """Return the noisy layers in the order of the module."""
    return net.value_hidden, net.value_out, net.advantage_hidden, net.advantage_out


def give_noise(net: Rainbow, noise_N: NDArray[np.float32]) -> None:
    """Hand every noisy layer its share: inputs, then outputs of each (N)."""
    at, noise = 0, torch.from_numpy(noise_N)
    for layer in layers(net):
        middle = at + layer.noise_in.numel()
        end = middle + layer.noise_out.numel()
        layer.take_noise(noise[at:middle], noise[middle:end])
        at = end


def project(share_BZ: Tensor, reward_B: Tensor, discount_B: Tensor, support_Z: Tensor) -> Tensor:
    """Return the distribution of r + discount Z on the atoms' own places (B, Z).

    Mass between two atoms is shared by nearness, mass beyond an end lies on that end (Bellemare et
    al. 2017, algorithm 1).
    """
    low, high = float(support_Z[0]), float(support_Z[-1])
    gap = (high - low) / (support_Z.size(0) - 1)
    moved_BZ = reward_B.unsqueeze(1) + discount_B.unsqueeze(1) * support_Z.unsqueeze(0)
    place_BZ = (moved_BZ.clamp(low, high) - low) / gap
    below_BZ = place_BZ.floor().clamp(0, support_Z.size(0) - 1)
    above_frac_BZ = place_BZ - below_BZ
    below = below_BZ.long()
    above = (below + 1).clamp_max(support_Z.size(0) - 1)
    projected_BZ = torch.zeros_like(share_BZ)
    projected_BZ.scatter_add_(1, below, share_BZ * (1.0 - above_frac_BZ))
    projected_BZ.scatter_add_(1, above, share_BZ * above_frac_BZ)
    return projected_BZ


def reward_scale(path: MarketPath, discount: float) -> float:
    """Return the factor after which nearly all discounted returns fit the atoms.

    The sum of independent returns of scale s discounted by g has scale s / sqrt(1 - g^2); four of
    those are laid onto the range of the atoms.
    """
    scale = float(path.return_T.std()) / float(np.sqrt(1.0 - discount**2))
    return RETURN_MAX / (4.0 * scale) if scale > 0.0 else 1.0
