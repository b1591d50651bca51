"""Agents as scripts of their own and weights as safetensors: what other programs may take."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from kernels.events import AGENTS
from strategy.agents.registry import build_agent
from strategy.archive import write_bundle, write_with_tables
from strategy.bundle import Bundle, BundleError, load, read_files
from strategy.manifest import FILE_NAMES, WEIGHTS_NAME, part_names
from tests.fakes.small_bundle import FEATURE_NAMES, edit_manifest, rehash, small_recipe


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """Return a bundle with all parts."""
    path = tmp_path / "whole"
    write_bundle(path, small_recipe(has_parts=True))
    return path


def loaded(path: Path) -> Bundle:
    """Load a small bundle before it expires."""
    return load(path, FEATURE_NAMES, now_ns=10)


def script_of(path: Path) -> torch.jit.ScriptModule:
    """Load one agent's script as any program would."""
    read: Callable[..., torch.jit.ScriptModule] = torch.jit.load
    return read(io.BytesIO(path.read_bytes()))


def test_each_script_gives_the_golden_preferences(whole: Path) -> None:
    """A market row and the own position go in, the fused script's preferences come out."""
    assert loaded(whole).manifest.name == "small"
    with np.load(whole / "golden.npz", allow_pickle=False) as golden:
        obs_BF, held_BA = torch.from_numpy(golden["obs_BF"]), torch.from_numpy(golden["held_BA"])
        wanted_BA3 = torch.from_numpy(golden["preference_BA3"])
    for place, name in enumerate(AGENTS):
        agent = script_of(whole / f"agent_{name}.pt")
        held_B3 = torch.nn.functional.one_hot(held_BA[:, place], 3).float()
        with torch.inference_mode():
            found_B3 = agent(torch.cat((obs_BF, held_B3), dim=1))
        torch.testing.assert_close(found_B3, wanted_BA3[:, place], rtol=1e-4, atol=1e-5)


def test_the_weights_are_those_of_the_scripts(whole: Path) -> None:
    """Loaded by name into an agent's own class, they answer as its script does."""
    weights = load_file(whole / WEIGHTS_NAME)
    assert {name.split(".")[0] for name in weights} == {*AGENTS, "regimes", "predictor"}
    script = script_of(whole / "agent_twin_d3qn.pt")
    own = {
        name.removeprefix("twin_d3qn."): torch.from_numpy(table)
        for name, table in weights.items()
        if name.startswith("twin_d3qn.")
    }
    inputs = next(iter(script.parameters())).shape[1]
    agent = build_agent("twin_d3qn", inputs).eval()
    agent.load_state_dict(own)
    row_1F = torch.linspace(-1.0, 1.0, inputs)[None, :]
    torch.testing.assert_close(agent(row_1F), script(row_1F), rtol=0.0, atol=0.0)


def test_equal_recipes_give_equal_parts(whole: Path, tmp_path: Path) -> None:
    """And the files that every bundle has are the same with parts and without."""
    write_bundle(tmp_path / "again", small_recipe(has_parts=True))
    write_bundle(tmp_path / "plain", small_recipe())
    assert read_files(tmp_path / "again") == read_files(whole)
    plain = read_files(tmp_path / "plain")
    assert set(read_files(whole)) - set(plain) == set(part_names(AGENTS))
    assert all(plain[name] == read_files(whole)[name] for name in FILE_NAMES)


def test_a_copy_with_other_tables_keeps_the_parts(whole: Path, tmp_path: Path) -> None:
    """All files but the tables stay byte for byte."""
    copy = tmp_path / "copy"
    tables = {"extra.one": np.ones(3)}
    write_with_tables(whole, copy, tables, replaced="extra.", created_ns=9, provenance={})
    assert set(loaded(copy).tables) == {"extra.one"}
    for name in part_names(AGENTS):
        assert (copy / name).read_bytes() == (whole / name).read_bytes()


def spoil(name: str) -> Callable[[Path], object]:
    """Return what changes one byte of a file."""

    def change(path: Path) -> None:
        content = bytearray((path / name).read_bytes())
        content[len(content) // 2] ^= 1
        (path / name).write_bytes(bytes(content))

    return change


def unlist(path: Path) -> None:
    """Drop the parts from the manifest, leave them in the directory."""
    rehash(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (spoil("agent_ppo.pt"), "agent_ppo.pt has sha256"),
        (spoil(WEIGHTS_NAME), "weights.safetensors has sha256"),
        (lambda path: (path / "agent_d3qn.pt").unlink(), "agent_d3qn.pt is missing"),
        (lambda path: (path / "agent_other.pt").write_bytes(b"x"), "unlisted file 'agent_other"),
        (unlist, "unlisted file 'agent_d3qn.pt'"),
        (
            lambda path: edit_manifest(path, lambda m: m["files"].pop()),
            "files must list exactly",
        ),
    ],
)
def test_parts_are_held_to_the_manifest(
    whole: Path, change: Callable[[Path], object], reason: str
) -> None:
    """A part that was changed, taken away, added or not listed refuses the whole bundle."""
    change(whole)
    with pytest.raises(BundleError, match=reason):
        loaded(whole)
