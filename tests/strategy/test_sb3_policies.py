"""Policies saved by Stable-Baselines3: what they answer here and there, and what is refused."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from kernels.features import DEFAULT_FEATURE_NAMES as DEFAULT_FEATURES
from strategy.bundle import UNTRAINED_BUNDLE_PATH, Bundle, load
from strategy.guest_recipe import drawn_rows, guest_recipe
from strategy.sb3_policies import BYTES_MAX, ImportedPolicy, PolicyError, read_policy

INPUTS = 20


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """Return the shipped bundle."""
    return load(UNTRAINED_BUNDLE_PATH, DEFAULT_FEATURES, now_ns=1)


def saved(
    change: Callable[[dict[str, Any], dict[str, Any]], None] | None = None,
    raw: dict[str, bytes] | None = None,
) -> bytes:
    """Return a file as PPO's ``save`` writes it, changed by a test in its facts or weights."""
    generator = torch.Generator().manual_seed(1)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    facts: dict[str, Any] = {
        "policy_class": {
            ":type:": "<class 'abc.ABCMeta'>",
            ":serialized:": "bm90IHJlYWQ=",
            "__module__": "stable_baselines3.common.policies",
        },
        "policy_kwargs": {},
        "use_sde": False,
        "num_timesteps": 4_096,
        "observation_space": {
            ":type:": "<class 'gymnasium.spaces.box.Box'>",
            "dtype": "float32",
            "_shape": [INPUTS],
        },
        "action_space": {
            ":type:": "<class 'gymnasium.spaces.discrete.Discrete'>",
            "n": "3",
            "start": "0",
        },
    }
    weights: dict[str, Any] = {
        "mlp_extractor.policy_net.0.weight": drawn(16, INPUTS),
        "mlp_extractor.policy_net.0.bias": drawn(16),
        "mlp_extractor.policy_net.2.weight": drawn(8, 16),
        "mlp_extractor.policy_net.2.bias": drawn(8),
        "mlp_extractor.value_net.0.weight": drawn(16, INPUTS),
        "mlp_extractor.value_net.0.bias": drawn(16),
        "action_net.weight": drawn(3, 8),
        "action_net.bias": drawn(3),
        "value_net.weight": drawn(1, 16),
        "value_net.bias": drawn(1),
    }
    if change is not None:
        change(facts, weights)
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    entries = {
        "data": json.dumps(facts).encode(),
        "policy.pth": buffer.getvalue(),
        "_stable_baselines3_version": b"2.9.2",
        **(raw or {}),
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return packed.getvalue()


def test_a_policy_is_its_layers() -> None:
    """The answer is that of the layers with tanh between them; the critic is left out."""
    found = read_policy(saved())
    assert (found.inputs, found.kind, found.sb3_version) == (INPUTS, "actor-critic", "2.9.2")
    assert found.steps_trained == 4_096
    state_BF = torch.linspace(-1.0, 1.0, 2 * INPUTS).view(2, INPUTS)
    layers = [found.net.first, *[part for part in found.net.rest if isinstance(part, nn.Linear)]]
    wanted = layers[2](torch.tanh(layers[1](torch.tanh(layers[0](state_BF)))))
    torch.testing.assert_close(found.net(state_BF), wanted)
    assert [layer.out_features for layer in layers] == [16, 8, 3]


def rename(old: str, new: str) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """Return a change that calls a weight something else."""

    def change(_: dict[str, Any], weights: dict[str, Any]) -> None:
        weights[new] = weights.pop(old)

    return change


def say(**words: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """Return a change of the facts."""
    return lambda facts, _: facts.update(words)


def weigh(name: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """Return a change of one weight."""
    return lambda _, weights: weights.update({name: value})


BOX, DISCRETE = "<class 'gymnasium.spaces.box.Box'>", "<class 'gymnasium.spaces.discrete.Discrete'>"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (say(policy_class={"__module__": "sb3_contrib.qrdqn.policies"}), "PPO, A2C and DQN"),
        (say(policy_class=None), "does not say what its policy_class is"),
        (say(use_sde=True), "state-dependent noise"),
        (say(action_space={":type:": BOX}), "not by 3 actions"),
        (say(action_space={":type:": DISCRETE, "n": "2", "start": "0"}), "2 actions from 0"),
        (say(action_space={":type:": DISCRETE, "n": "3", "start": "-1"}), "3 actions from -1"),
        (say(observation_space={":type:": BOX, "dtype": "uint8", "_shape": [9]}), "no row"),
        (say(observation_space={":type:": BOX, "dtype": "float32", "_shape": [4, 5]}), "no row"),
        (say(policy_kwargs={"activation_fn": "<class 'mine.Snake'>"}), "activation is"),
        (say(policy_kwargs={"features_extractor_class": "<class 'mine.Cnn'>"}), "mine.Cnn"),
        (say(policy_kwargs={"log_std_init": 0.0}), "policy_kwargs.log_std_init"),
        (weigh("features_extractor.cnn.0.weight", torch.zeros(3)), "no plain network"),
        (weigh("action_net.bias", torch.full((3,), float("nan"))), "not finite"),
        (weigh("action_net.bias", torch.zeros(3, dtype=torch.float64)), "float64"),
        (weigh("action_net.bias", torch.zeros(4)), "bias \\(4,\\)"),
        (weigh("mlp_extractor.policy_net.2.weight", torch.zeros(8, 15)), "do not fit"),
        (rename("action_net.bias", "action_net.offset"), "layers are not those"),
        (lambda _, weights: weights.clear(), "layers are not those"),
    ],
)
def test_what_is_no_plain_policy_is_refused(
    change: Callable[[dict[str, Any], dict[str, Any]], None], reason: str
) -> None:
    """Each refusal says in one sentence what the file is."""
    with pytest.raises(PolicyError, match=reason):
        read_policy(saved(change))


class Trap:
    """A pickle that would leave a trace if anything unpickled it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.trace,)


def test_a_pickle_in_the_file_is_never_run(tmp_path: Path) -> None:
    """Code in the weights is refused, code in the facts not looked at; neither leaves a trace."""
    trace = tmp_path / "trace"
    code = pickle.dumps(Trap(trace), protocol=2)
    with pytest.raises(PolicyError, match="more than tensors"):
        read_policy(saved(raw={"policy.pth": code}))
    with pytest.raises(PolicyError, match="more than tensors"):
        read_policy(saved(weigh("action_net.bias", Trap(trace))))
    text = code.decode("latin-1")
    read_policy(saved(say(clip_range={":serialized:": text, ":type:": "a function"})))
    assert not trace.exists()
    pickle.loads(code)
    assert trace.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK no zip", "no whole zip"),
        (saved()[:-40], "holds no data"),  # what is found then is the archive inside
        (saved(raw={"data": b"[1]"}), "no JSON object"),
        (saved(raw={"data": b"{"}), "no JSON"),
        (saved(raw={"policy.pth": b""}), "more than tensors, or less"),
        (b"x" * (BYTES_MAX + 1), "more than"),
    ],
    ids=["text", "cut", "list", "broken", "empty", "large"],
)
def test_a_broken_file_is_refused(content: bytes, reason: str) -> None:
    """Whatever is no saved model ends in a reason, not in an exception of a library."""
    with pytest.raises(PolicyError, match=reason):
        read_policy(content)


def test_a_model_without_weights_is_refused() -> None:
    """The entry that is missing is named."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("data", "{}")
    with pytest.raises(PolicyError, match=r"holds no policy\.pth"):
        read_policy(packed.getvalue())


def test_a_guest_joins_the_team(bundle: Bundle) -> None:
    """The five answer as before, the guest as its own layers do on the columns that it knows."""
    policy = read_policy(saved())
    recipe = guest_recipe(
        bundle, {"mine": policy.net}, {"mine": INPUTS}, name="x", created_ns=1, provenance={}
    )
    assert recipe.agent_names == (*bundle.agents, "mine")
    obs_BF, held_BA = torch.from_numpy(recipe.obs_BF[:50]), torch.from_numpy(recipe.held_BA[:50])
    with torch.inference_mode():
        found = recipe.ensemble(obs_BF, held_BA)
        assert bundle.module is not None
        alone = bundle.module(obs_BF, held_BA[:, :-1].contiguous())
    for joined, before in zip(found, alone, strict=True):
        torch.testing.assert_close(joined[:, : before.shape[1]], before)
    kept = INPUTS - 12
    state_BF = torch.cat(
        (obs_BF[:, :kept], obs_BF[:, -9:], nn.functional.one_hot(held_BA[:, -1], 3).float()), dim=1
    )
    torch.testing.assert_close(found[0][:, -1], policy.net(state_BF).detach())
    torch.testing.assert_close(found[4][:, -1], alone[4].mean(dim=1))


def test_guests_that_do_not_fit_are_refused(bundle: Bundle) -> None:
    """A name that is taken, and a state that no account has."""
    net = ImportedPolicy([nn.Linear(8, 3)], nn.Tanh)
    for name, inputs, reason in (("ppo", 20, "has one of that name"), ("mine", 8, "a state of 8")):
        with pytest.raises(ValueError, match=reason):
            guest_recipe(bundle, {name: net}, {name: inputs}, name="x", created_ns=1, provenance={})


def test_drawn_rows_lie_around_the_normalisation(bundle: Bundle) -> None:
    """Rows are finite and of unit spread, whatever the features' own units are."""
    obs_BF = drawn_rows(bundle.normalisation, 3)
    features = len(bundle.normalisation.mean_F)
    np.testing.assert_allclose(obs_BF[:, :features].std(axis=0), 1.0, atol=0.1)
