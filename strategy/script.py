"""The TorchScript of a bundle: loaded without unpickling, and run. Only this file brings torch in.

Whoever wants only the proven compiled form never imports this file.
"""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from strategy.bundle import (
    ARCHIVE_ERRORS,
    FORBIDDEN_CODE,
    OUTPUT_NAMES,
    last_line,
    open_archive,
)
from strategy.compiled import Answer

SCRIPT_ERRORS = (RuntimeError, torch.jit.Error)
"""What running a script raises; the second is no subclass of the first."""


def read_module(
    content: bytes,
) -> tuple[torch.jit.ScriptModule, dict[str, NDArray[np.float32]]]:
    """Load the script on the CPU, refuse weights that are not finite, freeze it; weights too."""
    with open_archive("ensemble.pt", content) as archive:
        if not any(name.endswith("/constants.pkl") for name in archive.namelist()):
            raise ValueError("ensemble.pt is no TorchScript archive")
        for name in archive.namelist():
            if "/code/" in name and name.endswith(".py"):
                _check_code(name, archive)
    try:
        module = torch.jit.load(  # type: ignore[no-untyped-call]  # torch ships it without annotations
            io.BytesIO(content), map_location="cpu"
        )
    except ARCHIVE_ERRORS as error:
        raise ValueError(f"ensemble.pt cannot be loaded: {last_line(error)}") from error
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"ensemble.pt {name} is not finite")
    weights = {name: tensor.numpy().copy() for name, tensor in module.state_dict().items()}
    frozen: torch.jit.ScriptModule = torch.jit.freeze(module.eval())
    return frozen, weights


def _check_code(name: str, archive: zipfile.ZipFile) -> None:
    try:
        code = archive.read(name)
    except ARCHIVE_ERRORS as error:
        raise ValueError(f"ensemble.pt cannot be read: {error}") from error
    for word in FORBIDDEN_CODE:
        if word in code:
            raise ValueError(f"ensemble.pt uses {word.decode()} in {name}")


def run(
    module: torch.jit.ScriptModule, obs_BF: NDArray[Any], held_BA: NDArray[Any]
) -> tuple[NDArray[Any], ...]:
    """Ask a script that nobody trusts yet; ValueError when it fails or answers something else."""
    try:
        with torch.inference_mode():
            answer = module(torch.from_numpy(obs_BF), torch.from_numpy(held_BA))
    except SCRIPT_ERRORS as error:
        raise ValueError(f"the module fails on the golden inputs: {last_line(error)}") from error
    if not isinstance(answer, tuple) or len(answer) != len(OUTPUT_NAMES):
        raise ValueError(f"the module does not return {len(OUTPUT_NAMES)} tensors")
    if not all(isinstance(part, torch.Tensor) for part in answer):
        raise ValueError("the module returns something that is no tensor")
    return tuple(part.numpy() for part in answer)


class _Input:
    """Memory that the script reads its inputs from, one per batch size."""

    def __init__(self, rows: int, width: int, agents: int) -> None:
        self.obs_BF = np.empty((rows, width), np.float32)
        self.held_BA = np.empty((rows, agents), np.int64)
        self.tensors = (torch.from_numpy(self.obs_BF), torch.from_numpy(self.held_BA))


class ScriptRunner:
    """Runs one verified script on memory of its own; not thread-safe."""

    def __init__(
        self, module: torch.jit.ScriptModule, width: int, agents: int, threads: int
    ) -> None:
        """Set torch's thread count for this process and keep one input tensor per batch size."""
        torch.set_num_threads(threads)
        self._forward = module.forward  # the call operator adds hooks that no script has
        self._width, self._agents = width, agents
        self._inputs: dict[int, _Input] = {}

    def judge(self, obs_BF: NDArray[np.float32], held_BA: NDArray[np.int64]) -> Answer:
        """Answer as ``CompiledEnsemble.judge`` does; SCRIPT_ERRORS when the module fails."""
        given = self._input(len(obs_BF))
        np.copyto(given.obs_BF, obs_BF)
        np.copyto(given.held_BA, held_BA)
        with torch.inference_mode():
            preference, action, confidence, regime, predicted = self._forward(*given.tensors)
        return (
            preference.numpy(),
            action.numpy(),
            confidence.numpy(),
            regime.numpy(),
            predicted.numpy(),
        )

    def _input(self, rows: int) -> _Input:
        if rows not in self._inputs:
            self._inputs[rows] = _Input(rows, self._width, self._agents)
        return self._inputs[rows]
