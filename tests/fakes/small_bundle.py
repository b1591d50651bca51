"""A small bundle of the real kind, and ways to tamper with one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.events import AGENTS, REGIMES
from kernels.features import DEFAULT_FEATURE_NAMES
from strategy.agents.dueling import ACTION_COUNT
from strategy.agents.rainbow import NoisyLinear
from strategy.archive import Recipe
from strategy.export import untrained_ensemble
from strategy.manifest import FILE_NAMES
from strategy.observation import EXTRA_COUNT, Normalisation
from strategy.sampling import drawn_positions

FEATURE_NAMES = DEFAULT_FEATURE_NAMES[:8]
CREATED_NS = 5
EXPIRES_NS = 1_000


def drawn_observations(width: int, count: int, seed: int) -> NDArray[np.float32]:
    """Return seeded market rows within the clip, posteriors included."""
    generator = np.random.default_rng(seed)
    drawn = np.clip(generator.normal(0.0, 1.2, (count, width)), -5.0, 5.0)
    posterior = slice(width - EXTRA_COUNT, width - EXTRA_COUNT + len(REGIMES))
    drawn[:, posterior] = generator.dirichlet(np.ones(len(REGIMES)), count)
    return drawn.astype(np.float32)


def small_recipe(seed: int = 3, **changes: Any) -> Recipe:
    """Return a recipe over eight features, calibrated on drawn observations."""
    torch.set_num_threads(1)  # sums in one order, as every command that writes a bundle does
    names = changes.get("feature_names", FEATURE_NAMES)
    agents = changes.get("agent_names", AGENTS)
    normalisation = Normalisation(mean_F=np.zeros(len(names)), scale_F=np.ones(len(names)))
    obs_BF = drawn_observations(normalisation.observation_count, 300, seed)
    held_BA = drawn_positions(300, len(agents), seed)
    facts: dict[str, Any] = {
        "name": "small",
        "status": "untrained: for tests",
        "seed": seed,
        "created_ns": CREATED_NS,
        "expires_ns": EXPIRES_NS,
        "feature_names": names,
        "normalisation": normalisation,
        "bar_interval_ms": 1000,
        "agent_names": agents,
        "regime_names": REGIMES,
        "obs_BF": obs_BF,
        "held_BA": held_BA,
    }
    if "ensemble" not in changes:
        facts["ensemble"] = untrained_ensemble(agents, normalisation, obs_BF, held_BA, seed)
    return Recipe(**(facts | changes))


def edit_manifest(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest in place, keeping it JSON."""
    file = path / "manifest.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def rehash(path: Path) -> None:
    """Make the manifest agree with the files as they are now."""

    def change(content: dict[str, Any]) -> None:
        content["files"] = [
            {
                "name": name,
                "sha256": hashlib.sha256((path / name).read_bytes()).hexdigest(),
                "bytes": (path / name).stat().st_size,
            }
            for name in FILE_NAMES
        ]

    edit_manifest(path, change)


def replace_file(path: Path, name: str, content: bytes) -> None:
    """Put another content into a bundle, hashes and all."""
    (path / name).write_bytes(content)
    rehash(path)


def lean(recipe: Recipe, action: int, by: float = 3.0) -> Recipe:
    """Make every agent of a recipe want one action whatever it sees; return the same recipe."""
    with torch.no_grad():
        for module in recipe.ensemble.modules():
            if isinstance(module, torch.nn.Linear) and module.out_features == ACTION_COUNT:
                module.bias[action] += by
            elif isinstance(module, NoisyLinear) and len(module.bias_mean) % ACTION_COUNT == 0:
                atoms_3N = module.bias_mean.view(ACTION_COUNT, -1)
                atoms_3N[action, -1] += by  # the best return that the distribution knows
    return recipe
