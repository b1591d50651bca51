"""One snapshot as two files: tensors as safetensors, facts as JSON; no code is ever unpickled."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save

from strategy.learning.learner import Snapshot


def write_snapshot(stem: Path, snapshot: Snapshot) -> None:
    """Write ``stem``.safetensors and ``stem``.json."""
    tensors = {name: tensor.contiguous() for name, tensor in snapshot.tensors.items()}
    stem.with_suffix(".safetensors").write_bytes(save(tensors))
    stem.with_suffix(".json").write_text(json.dumps(dict(snapshot.facts)), encoding="utf-8")


def read_snapshot(stem: Path) -> Snapshot:
    """Read both files; OSError where one is missing, ValueError for a damaged one."""
    try:
        tensors = load(stem.with_suffix(".safetensors").read_bytes())
    except SafetensorError as error:
        raise ValueError(f"{stem.name}.safetensors is damaged: {error}") from error
    facts = json.loads(stem.with_suffix(".json").read_bytes())
    return Snapshot(tensors=tensors, facts=facts)
