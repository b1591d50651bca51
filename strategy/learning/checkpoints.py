"""Trainings that can be left and continued bit for bit: tensors as safetensors, facts as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from strategy.learning.learner import Learner, Snapshot


class CheckpointError(ValueError):
    """A checkpoint that cannot be continued from; the text names file and reason."""


def write_checkpoint(folder: Path, learner: Learner, plan: dict[str, Any]) -> None:
    """Write a learner's state; it appears all at once and replaces the one before."""
    snapshot = learner.snapshot()
    facts = {"plan": plan, "facts": dict(snapshot.facts)}
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in snapshot.tensors.items()}
    # the facts go last: a checkpoint counts only with them, and they name the tensors of theirs
    done = learner.updates_done
    _replace(folder / f"{learner.name}.{done}.safetensors", save(tensors))
    _replace(folder / f"{learner.name}.json", (json.dumps(facts, indent=1) + "\n").encode())
    for old in folder.glob(f"{learner.name}.*.safetensors"):
        if old.name != f"{learner.name}.{done}.safetensors":
            old.unlink()


def read_checkpoint(folder: Path, learner: Learner, plan: dict[str, Any]) -> bool:
    """Restore a learner from its checkpoint; False where there is none.

    Raises CheckpointError for one of another plan or data, or a damaged one.
    """
    facts_path = folder / f"{learner.name}.json"
    if not facts_path.is_file():
        return False
    try:
        found = json.loads(facts_path.read_bytes())
        if found["plan"] != plan:
            raise CheckpointError(f"{facts_path}: of another plan or other data; remove {folder}")
        facts = found["facts"]
        tensors_path = folder / f"{learner.name}.{facts['updates_done']}.safetensors"
        learner.restore(Snapshot(tensors=load(tensors_path.read_bytes()), facts=facts))
    except CheckpointError:
        raise
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{facts_path}: damaged: {error}") from error
    return True


def _replace(path: Path, content: bytes) -> None:
    staging = path.with_name(f".{path.name}.part")
    with open(staging, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    staging.rename(path)
