"""A training session on disk: checkpoints of a whole team that appear all at once, and results."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from strategy.learning.agent_wrappers import BaseAgentWrapper
from strategy.learning.checkpoints import CheckpointError
from strategy.learning.ensemble_wrapper import AgentEnsembleWrapper
from strategy.learning.snapshot_files import read_snapshot, write_snapshot

FACTS_FILE = "session.json"
ENSEMBLE = "ensemble"


def write_team(folder: Path, ensemble: AgentEnsembleWrapper, facts: Mapping[str, Any]) -> None:
    """Write every member, the weights and the session's facts; replaces what was there, whole."""
    staging = folder.with_name(f".{folder.name}.staging")
    replaced = folder.with_name(f".{folder.name}.replaced")
    for leftover in (staging, replaced):
        shutil.rmtree(leftover, ignore_errors=True)
    staging.mkdir(parents=True)
    for name, member in members_of(ensemble).items():
        write_snapshot(staging / name, member.snapshot())
    write_json(staging / FACTS_FILE, facts)
    if folder.exists():
        folder.rename(replaced)
    staging.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)


def read_team(folder: Path, ensemble: AgentEnsembleWrapper) -> dict[str, Any]:
    """Restore every member and the weights; return the session's facts.

    CheckpointError for a checkpoint that is missing, damaged or of another team.
    """
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS_FILE).read_bytes())
        for name, member in members_of(ensemble).items():
            member.restore(read_snapshot(folder / name))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder}: cannot be continued from: {error}") from error
    return facts


def members_of(ensemble: AgentEnsembleWrapper) -> dict[str, BaseAgentWrapper]:
    """Return everything with a memory: the members, then the ensemble's weights."""
    return {**ensemble.agent, ENSEMBLE: ensemble}


def write_json(path: Path, facts: Mapping[str, Any]) -> Path:
    """Write plain facts, all at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.part")
    with open(staging, "w", encoding="utf-8") as file:
        json.dump(facts, file, indent=1, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    staging.rename(path)
    return path
