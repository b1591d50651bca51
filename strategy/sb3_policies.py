"""Policies that Stable-Baselines3 saved, as agents; nothing that the file brings is ever run.

A saved model is a zip: ``data`` is JSON in which pickles stand as text, ``policy.pth`` holds the
weights. The weights are read with torch's ``weights_only``, which builds tensors and nothing else.
The pickles are left alone: what has to be known (kind, spaces, activation) stands beside them in
plain words, and where those words say something else than expected, the file is refused.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from strategy.agents.dueling import ACTION_COUNT

BYTES_MAX = 64 << 20
"""Of the whole file and of what it unpacks to; the largest policies with flat inputs have a few."""

WIDTH_MAX, LAYERS_MAX = 4_096, 16

ACTIVATIONS: dict[str, type[nn.Module]] = {
    f"<class 'torch.nn.modules.activation.{kind.__name__}'>": kind
    for kind in (nn.Tanh, nn.ReLU, nn.ELU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Sigmoid)
}

POLICY_WORDS = frozenset(
    (
        *("net_arch", "activation_fn", "ortho_init", "normalize_images"),
        *("share_features_extractor", "features_extractor_class", "features_extractor_kwargs"),
        *("optimizer_class", "optimizer_kwargs"),
    )
)
"""Keys of ``policy_kwargs`` that are known: most change nothing in what a flat policy answers."""

FLATTEN = "<class 'stable_baselines3.common.torch_layers.FlattenExtractor'>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Where a family of policies keeps its layers, and how they are activated unless it says so."""

    name: str
    hidden: str
    out: str
    unused: tuple[str, ...]
    activation: type[nn.Module]


KINDS: dict[str, Kind] = {
    "stable_baselines3.common.policies": Kind(
        name="actor-critic",
        hidden="mlp_extractor.policy_net.",
        out="action_net.",
        unused=("mlp_extractor.value_net.", "value_net."),
        activation=nn.Tanh,
    ),
    "stable_baselines3.dqn.policies": Kind(
        name="dqn",
        hidden="q_net.q_net.",
        out="",
        unused=("q_net_target.q_net.",),
        activation=nn.ReLU,
    ),
}
"""By the module that a policy's class is from: PPO and A2C share the first."""


class PolicyError(Exception):
    """A file is no policy that can be taken over; the message is one sentence why."""


class ImportedPolicy(nn.Module):
    """Layers with one activation between them; prefers by logits or by action values."""

    def __init__(self, layers: list[nn.Linear], activation: type[nn.Module]) -> None:
        """Take the layers in their order."""
        super().__init__()
        self.first = layers[0]
        rest: list[nn.Module] = []
        for layer in layers[1:]:
            rest += [activation(), layer]
        self.rest = nn.Sequential(*rest)

    def forward(self, obs_BF: Tensor) -> Tensor:
        """Map states (B, F) to preferences (B, 3)."""
        preference_B3: Tensor = self.rest(self.first(obs_BF))
        return preference_B3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SavedPolicy:
    """A policy and what its file says of itself; ``inputs`` is the width of the state it sees."""

    net: ImportedPolicy
    inputs: int
    kind: str
    sb3_version: str
    steps_trained: int


def read_policy(content: bytes) -> SavedPolicy:
    """Read a file that ``model.save`` of PPO, A2C or DQN wrote; PolicyError for anything else."""
    parts = _unpack(content)
    facts = _facts(parts["data"])
    kind = _kind(facts)
    _check_spaces(facts)
    weights = _weights(parts["policy.pth"])
    layers = _layers(kind, weights)
    steps = facts.get("num_timesteps")
    return SavedPolicy(
        net=ImportedPolicy(layers, _activation(kind, facts)).eval(),
        inputs=layers[0].in_features,
        kind=kind.name,
        sb3_version=parts["_stable_baselines3_version"][:32].decode("ascii", "replace").strip(),
        steps_trained=steps if isinstance(steps, int) and steps >= 0 else 0,
    )


def _unpack(content: bytes) -> dict[str, bytes]:
    """Return the three entries that are read; sizes are checked before anything is unpacked."""
    if len(content) > BYTES_MAX:
        raise PolicyError(f"it has more than {BYTES_MAX} bytes")
    wanted = ("data", "policy.pth", "_stable_baselines3_version")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            if len(set(names)) != len(names):
                raise PolicyError("an entry stands in it twice")
            missing = [name for name in wanted if name not in names]
            if missing:
                raise PolicyError(f"it holds no {missing[0]}: no saved Stable-Baselines3 model")
            if sum(archive.getinfo(name).file_size for name in wanted) > BYTES_MAX:
                raise PolicyError(f"it unpacks to more than {BYTES_MAX} bytes")
            return {name: archive.read(name) for name in wanted}
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise PolicyError(f"it is no whole zip archive: {error}") from error


def _facts(content: bytes) -> Mapping[str, Any]:
    try:
        facts = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"its data is no JSON: {error}") from error
    if not isinstance(facts, dict):
        raise PolicyError("its data is no JSON object")
    return facts


def _plain(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the plain words beside a pickle (or the object itself where none was needed)."""
    found = facts.get(name)
    if not isinstance(found, dict):
        raise PolicyError(f"its data does not say what its {name} is")
    return found


def _kind(facts: Mapping[str, Any]) -> Kind:
    module = _plain(facts, "policy_class").get("__module__")
    if not isinstance(module, str) or module not in KINDS:
        raise PolicyError(f"its policy is from {module!r}; PPO, A2C and DQN can be taken over")
    if facts.get("use_sde"):
        raise PolicyError("its policy draws state-dependent noise (use_sde)")
    return KINDS[module]


def _check_spaces(facts: Mapping[str, Any]) -> None:
    seen, acts = _plain(facts, "observation_space"), _plain(facts, "action_space")
    if "spaces.box.Box" not in str(seen.get(":type:")) or not str(seen.get("dtype")).startswith(
        "float"
    ):
        raise PolicyError(f"it sees {seen.get(':type:')} of {seen.get('dtype')}, no row of floats")
    shape = seen.get("_shape")
    if not isinstance(shape, list) or len(shape) != 1:
        raise PolicyError(f"it sees an array of shape {shape}, no row")
    if "spaces.discrete.Discrete" not in str(acts.get(":type:")):
        raise PolicyError(f"it acts in {acts.get(':type:')}, not by {ACTION_COUNT} actions")
    if (str(acts.get("n")), str(acts.get("start"))) != (str(ACTION_COUNT), "0"):
        raise PolicyError(
            f"it has {acts.get('n')} actions from {acts.get('start')}; wanted 0 SELL, 1 HOLD, 2 BUY"
        )


def _activation(kind: Kind, facts: Mapping[str, Any]) -> type[nn.Module]:
    words = {
        name: value
        for name, value in _plain(facts, "policy_kwargs").items()
        if not name.startswith(":")
    }
    strange = sorted(words.keys() - POLICY_WORDS)
    if strange:
        raise PolicyError(f"policy_kwargs.{strange[0]} may change what it answers")
    if words.get("features_extractor_class", FLATTEN) != FLATTEN:
        raise PolicyError(f"its features_extractor_class is {words['features_extractor_class']}")
    if "activation_fn" not in words:
        return kind.activation
    named = words["activation_fn"]
    if named not in ACTIVATIONS:
        raise PolicyError(f"its activation is {named}")
    return ACTIVATIONS[named]


def _weights(content: bytes) -> dict[str, Tensor]:
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # its reader raises errors of many kinds: each is a refusal
        first = (str(error).strip().splitlines() or ["unreadable"])[0][:120]
        raise PolicyError(f"its weights hold more than tensors, or less: {first}") from error
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in found.items()
    ):
        raise PolicyError("its weights are no tensors by name")
    return dict(found)


def _layers(kind: Kind, weights: Mapping[str, Tensor]) -> list[nn.Linear]:
    """Return the layers in their order; PolicyError for weights that a plain network has not."""
    hidden = {name: tensor for name, tensor in weights.items() if name.startswith(kind.hidden)}
    used = dict(hidden)
    if kind.out:
        used |= {name: tensor for name, tensor in weights.items() if name.startswith(kind.out)}
    strange = [name for name in weights if name not in used and not name.startswith(kind.unused)]
    if strange:
        raise PolicyError(f"it has weights {strange[0]!r}: no plain network of layers")
    count, rest = divmod(len(hidden), 2)
    # a Sequential numbers its activations too: layers have the even places
    stems = [f"{kind.hidden}{2 * place}." for place in range(count)]
    stems += [kind.out] if kind.out else []
    names = {f"{stem}{what}" for stem in stems for what in ("weight", "bias")}
    if rest or names != used.keys() or not 1 <= len(stems) <= LAYERS_MAX:
        raise PolicyError("its layers are not those of a plain network")
    return _linked([(weights[f"{stem}weight"], weights[f"{stem}bias"]) for stem in stems])


def _linked(pairs: list[tuple[Tensor, Tensor]]) -> list[nn.Linear]:
    """Return layers of these weights; PolicyError where one does not fit the one before."""
    layers: list[nn.Linear] = []
    for weight, bias in pairs:
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or max(weight.shape) > WIDTH_MAX:
            raise PolicyError(
                f"a layer has weights {tuple(weight.shape)}, bias {tuple(bias.shape)}"
            )
        if layers and weight.shape[1] != layers[-1].out_features:
            raise PolicyError("its layers do not fit each other")
        if weight.dtype != torch.float32 or bias.dtype != torch.float32:
            raise PolicyError(f"a layer is of {weight.dtype} and {bias.dtype}, wanted float32")
        if not bool(torch.isfinite(weight).all() and torch.isfinite(bias).all()):
            raise PolicyError("a weight is not finite")
        layer = nn.Linear(int(weight.shape[1]), int(weight.shape[0]))
        with torch.no_grad():
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
        layers.append(layer)
    if layers[-1].out_features != ACTION_COUNT:
        raise PolicyError(f"it answers with {layers[-1].out_features} numbers, not {ACTION_COUNT}")
    return layers
