"""Bundles to be dropped on a running daemon: sound ones, and ones that are broken in many ways."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from torch import Tensor, nn

from strategy.archive import script_bytes
from strategy.bundle import UNTRAINED_BUNDLE_PATH, load
from tests.fakes.small_bundle import edit_manifest, replace_file

SIGNING_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC_KEY = SIGNING_KEY.public_key().public_bytes_raw().hex()
"""Of the one who signs what is dropped."""

NAN_BAND = 0.1
"""Half the width of the band of fractions in which the turning bundle answers NaN."""


def copy_bundle(path: Path, name: str) -> Path:
    """Write the shipped bundle under another name: another hash, the same answers."""
    shutil.copytree(UNTRAINED_BUNDLE_PATH, path)
    edit_manifest(path, lambda manifest: manifest.update(name=name))
    return path


def drop(path: Path, directory: Path, *, is_signed: bool = True) -> None:
    """Bring a prepared bundle into the watched directory, its manifest last."""
    target = directory / path.name
    target.mkdir()
    if is_signed and (path / "manifest.json").is_file():
        signature = SIGNING_KEY.sign((path / "manifest.json").read_bytes())
        target.with_name(f"{path.name}.sig").write_bytes(signature)
    for each in path.iterdir():
        if each.name != "manifest.json":
            each.rename(target / each.name)
    if (path / "manifest.json").exists() or (path / "manifest.json").is_symlink():
        (path / "manifest.json").rename(target / "manifest.json")


class Turning(nn.Module):
    """The shipped ensemble, but NaN for inputs whose scaled sum has a fraction near one half."""

    def __init__(self, inner: torch.jit.ScriptModule, salt: float) -> None:
        """Wrap the ensemble; the salt decides which inputs are hit."""
        super().__init__()
        self.inner = inner
        self.salt = salt

    def forward(
        self, obs_BF: Tensor, held_BA: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Answer as the ensemble does, or not at all."""
        preference, action, confidence, regime, predicted = self.inner(obs_BF, held_BA)
        hit = torch.abs(torch.frac(obs_BF[:, 3].abs() * self.salt) - 0.5) < 0.1
        nothing = torch.full_like(preference, float("nan"))
        preference = torch.where(hit.unsqueeze(1).unsqueeze(2), nothing, preference)
        return preference, action, confidence, regime, predicted


class Slow(nn.Module):
    """The shipped ensemble after some arithmetic that nobody needs."""

    def __init__(self, inner: torch.jit.ScriptModule) -> None:
        """Wrap the ensemble."""
        super().__init__()
        self.inner = inner

    def forward(
        self, obs_BF: Tensor, held_BA: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Answer late."""
        waste = torch.eye(400) + obs_BF.sum() * 0.0
        for _ in range(40):
            waste = torch.mm(waste, waste)
        preference, action, confidence, regime, predicted = self.inner(obs_BF, held_BA)
        return preference + waste[0, 1] * 0.0, action, confidence, regime, predicted


def shipped_module(names: tuple[str, ...]) -> torch.jit.ScriptModule:
    """Load the shipped script, not frozen, so that it can be wrapped and saved again."""
    load(UNTRAINED_BUNDLE_PATH, names, now_ns=0)
    module = torch.jit.load(  # type: ignore[no-untyped-call]  # torch ships it without annotations
        str(UNTRAINED_BUNDLE_PATH / "ensemble.pt")
    )
    found: torch.jit.ScriptModule = module
    return found


def turning_bundle(path: Path, names: tuple[str, ...]) -> Path:
    """Write a bundle that passes every check and then answers NaN for a fifth of its inputs."""
    copy_bundle(path, path.name)
    with np.load(path / "golden.npz", allow_pickle=False) as golden:
        column = np.abs(golden["obs_BF"][:, 3].astype(np.float64))
    salts = (100.0 + step / 7.0 for step in range(100_000))
    away = NAN_BAND * 1.1
    salt = next(s for s in salts if np.all(np.abs(np.modf(column * s)[0] - 0.5) > away))
    replace_file(path, "ensemble.pt", script_bytes(Turning(shipped_module(names), salt)))
    return path


def slow_bundle(path: Path, names: tuple[str, ...]) -> Path:
    """Write a bundle whose answers are right and late."""
    copy_bundle(path, path.name)
    replace_file(path, "ensemble.pt", script_bytes(Slow(shipped_module(names))))
    return path


def broken(path: Path, change: Callable[[Path], None]) -> Path:
    """Write a copy of the shipped bundle and break it."""
    copy_bundle(path, path.name)
    change(path)
    return path
