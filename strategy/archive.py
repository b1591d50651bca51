"""Write a bundle directory: the same models give the same bytes, and it appears all at once.

torch writes the paths of the source files and a name of its own into a script archive, and lists a
layer's constants in the order of a Python set, which changes from process to process. The first two
are left out here and the third is sorted: they would make equal models differ.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load as load_tables
from safetensors.numpy import save as save_tables
from torch import nn

from kernels.features import schema_sha256
from strategy.bundle import MANIFEST_NAME, OUTPUT_NAMES, read_files
from strategy.fused import ComposedEnsemble, fuse
from strategy.guest_ensemble import GuestEnsemble
from strategy.manifest import (
    WEIGHTS_NAME,
    BundleLimits,
    FileEntry,
    Manifest,
    ObservationSpec,
    parse_manifest,
    render_manifest,
)
from strategy.observation import OBSERVATION_EXTRA_NAMES, Normalisation

GOLDEN_ROWS = 32
GOLDEN_TOLERANCE = 1e-4
"""How far another processor's rounding may move an answer; measured differences are near 1e-6."""

GOLDEN_MARGIN = 0.02
"""Golden rows leave this share of an agent's spread between its first and second action, so that
rounding cannot turn an action over."""

ARCHIVE_ROOT = "ensemble"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recipe:
    """Everything a bundle is made of.

    ``agent_names`` name the agents of ``ensemble`` along axis A; ``obs_BF`` and ``held_BA`` are
    inputs of the kind it will see, of which some become golden. Times are UNIX ns; ``expires_ns``
    None means never, ``created_ns`` 0 not recorded. With ``has_parts`` the bundle also has every
    agent as a script of its own and all weights as safetensors, for other programs.
    """

    name: str
    status: str
    seed: int
    created_ns: int
    expires_ns: int | None
    feature_names: tuple[str, ...]
    normalisation: Normalisation
    bar_interval_ms: int
    agent_names: tuple[str, ...]
    regime_names: tuple[str, ...]
    ensemble: ComposedEnsemble | GuestEnsemble
    obs_BF: NDArray[np.float32]
    held_BA: NDArray[np.int64]
    exposure_frac_max: float = 1.0
    tables: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    has_parts: bool = False


def write_bundle(directory: Path, recipe: Recipe) -> Manifest:
    """Write a bundle next to ``directory`` and move it there in one rename; return its manifest.

    A bundle that is already there is replaced; anything else there is refused with ValueError.
    """
    if len(recipe.agent_names) != recipe.ensemble.agent_count:
        raise ValueError(f"{recipe.ensemble.agent_count} agents, names {recipe.agent_names}")
    if directory.exists() and not (directory / MANIFEST_NAME).is_file():
        raise ValueError(f"{directory} exists and is no bundle")
    module = fuse(recipe.ensemble)
    contents = {
        "ensemble.pt": script_bytes(module),
        "golden.npz": _golden_bytes(module, recipe.obs_BF, recipe.held_BA),
        "tables.safetensors": save_tables(
            {name: np.ascontiguousarray(recipe.tables[name]) for name in sorted(recipe.tables)}
        ),
    }
    if recipe.has_parts:
        contents |= _part_bytes(recipe)
    manifest = _manifest(recipe, contents)
    _place(directory, contents, manifest)
    return manifest


def write_with_tables(
    source: Path,
    directory: Path,
    tables: Mapping[str, NDArray[np.float64]],
    *,
    replaced: str,
    created_ns: int,
    provenance: Mapping[str, str],
) -> str:
    """Write a copy of a bundle with these tables in place of those whose names begin so.

    Networks and golden answers stay byte for byte. Returns the SHA-256 of the new manifest;
    BundleError for a source that is no bundle, ValueError for something else at ``directory``.
    """
    if directory.exists() and not (directory / MANIFEST_NAME).is_file():
        raise ValueError(f"{directory} exists and is no bundle")
    contents = dict(read_files(source))
    manifest = parse_manifest(contents.pop(MANIFEST_NAME))
    kept = {
        name: table
        for name, table in load_tables(contents["tables.safetensors"]).items()
        if not name.startswith(replaced)
    } | dict(tables)
    contents["tables.safetensors"] = save_tables(
        {name: np.ascontiguousarray(kept[name]) for name in sorted(kept)}
    )
    changed = manifest.model_copy(
        update={
            "name": directory.name,
            "created_ns": created_ns,
            "provenance": {**manifest.provenance, **provenance},
            "files": _entries(contents),
        }
    )
    _place(directory, contents, changed)
    return hashlib.sha256(render_manifest(changed)).hexdigest()


def _place(directory: Path, contents: Mapping[str, bytes], manifest: Manifest) -> None:
    """Write all files beside ``directory`` and move them there in one rename."""
    staging = directory.with_name(f".{directory.name}.staging")
    replaced = directory.with_name(f".{directory.name}.replaced")
    for leftover in (staging, replaced):
        shutil.rmtree(leftover, ignore_errors=True)
    staging.mkdir(parents=True)
    for name, content in (*contents.items(), (MANIFEST_NAME, render_manifest(manifest))):
        with open(staging / name, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    if directory.exists():
        directory.rename(replaced)
    staging.rename(directory)
    shutil.rmtree(replaced, ignore_errors=True)


def _part_bytes(recipe: Recipe) -> dict[str, bytes]:
    """Return each agent as a script of its own, and every weight by its name; ValueError.

    An agent's script takes market rows with its own position behind them, one-hot: (B, F + 3), and
    gives its preferences (B, 3).
    """
    if not isinstance(recipe.ensemble, ComposedEnsemble):
        raise ValueError("an ensemble with guests cannot be taken apart")
    agents = dict(zip(recipe.agent_names, recipe.ensemble.agents, strict=True))
    named = {**agents, "regimes": recipe.ensemble.regimes, "predictor": recipe.ensemble.predictor}
    weights = {
        f"{name}.{place}": np.ascontiguousarray(tensor.detach().numpy())
        for name, module in named.items()
        for place, tensor in module.state_dict().items()
    }
    contents = {WEIGHTS_NAME: save_tables({name: weights[name] for name in sorted(weights)})}
    return contents | {f"agent_{name}.pt": script_bytes(agent) for name, agent in agents.items()}


def script_bytes(module: nn.Module) -> bytes:
    """Compile a module and return its archive, without source paths and with fixed names."""
    raw = io.BytesIO()
    torch.jit.save(torch.jit.script(module), raw)
    packed = io.BytesIO()
    with zipfile.ZipFile(raw) as source, zipfile.ZipFile(packed, "w") as target:
        for entry in source.infolist():
            inner = entry.filename.split("/", 1)[1]
            if inner.endswith(".debug_pkl") or inner == ".data/serialization_id":
                continue
            content = source.read(entry)
            if inner.startswith("code/"):
                content = _sort_constants(content)
            target.writestr(zipfile.ZipInfo(f"{ARCHIVE_ROOT}/{inner}"), content)
    return packed.getvalue()


def _sort_constants(code: bytes) -> bytes:
    """Sort every run of constant declarations in a generated source file."""
    lines: list[bytes] = []
    for is_constant, run in groupby(code.split(b"\n"), key=lambda line: b" : Final[" in line):
        block = list(run)
        lines += sorted(block) if is_constant else block
    return b"\n".join(lines)


def _golden_bytes(
    module: nn.Module, obs_BF: NDArray[np.float32], held_BA: NDArray[np.int64]
) -> bytes:
    """Answer the golden inputs; ValueError when too few rows have clear actions."""
    with torch.inference_mode():
        margins_BA = _margins(module(torch.from_numpy(obs_BF), torch.from_numpy(held_BA))[0])
        clear = np.flatnonzero(margins_BA.amin(dim=1).numpy() > GOLDEN_MARGIN)
        if len(clear) < GOLDEN_ROWS:
            raise ValueError(f"only {len(clear)} of {len(obs_BF)} rows have clear actions")
        chosen = clear[np.linspace(0, len(clear) - 1, GOLDEN_ROWS).astype(np.int64)]
        golden_BF = np.ascontiguousarray(obs_BF[chosen])
        golden_BA = np.ascontiguousarray(held_BA[chosen])
        answer = module(torch.from_numpy(golden_BF), torch.from_numpy(golden_BA))
    arrays: Mapping[str, NDArray[np.generic]] = {
        name: part.numpy() for name, part in zip(OUTPUT_NAMES, answer, strict=True)
    }
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, obs_BF=golden_BF, held_BA=golden_BA, **arrays)
    return buffer.getvalue()


def _margins(preference_BA3: torch.Tensor) -> torch.Tensor:
    """Distance of first to second preference in units of the agent's spread (B, A)."""
    top_BA2 = preference_BA3.topk(2, dim=2).values
    centred = preference_BA3 - preference_BA3.mean(dim=2, keepdim=True)
    spread_A = centred.std(dim=(0, 2)).clamp_min(1e-12)
    return (top_BA2[:, :, 0] - top_BA2[:, :, 1]) / spread_A


def _manifest(recipe: Recipe, contents: Mapping[str, bytes]) -> Manifest:
    return Manifest(
        format_version=2,
        name=recipe.name,
        created_ns=recipe.created_ns,
        status=recipe.status,
        provenance=dict(recipe.provenance),
        torch_version=str(torch.__version__),
        seed=recipe.seed,
        observation=ObservationSpec(
            feature_names=recipe.feature_names,
            feature_schema_sha256=schema_sha256(recipe.feature_names),
            extra_names=OBSERVATION_EXTRA_NAMES,
            mean=tuple(recipe.normalisation.mean_F.tolist()),
            scale=tuple(recipe.normalisation.scale_F.tolist()),
            bar_interval_ms=recipe.bar_interval_ms,
        ),
        agents=recipe.agent_names,
        regimes=recipe.regime_names,
        files=_entries(contents),
        golden_tolerance=GOLDEN_TOLERANCE,
        limits=BundleLimits(exposure_frac_max=recipe.exposure_frac_max),
        expires_ns=recipe.expires_ns,
    )


def _entries(contents: Mapping[str, bytes]) -> tuple[FileEntry, ...]:
    return tuple(
        FileEntry(
            name=name,
            sha256=hashlib.sha256(content).hexdigest(),
            bytes=len(content),
        )
        for name, content in contents.items()
    )
