"""The same networks as plain torch modules, called one by one: what the runtime is measured by."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


class PlainTorch:
    """Judge by a composed ensemble in eager mode, as a prototype would."""

    def __init__(self, ensemble: nn.Module) -> None:
        """Take the ensemble (``strategy.fused``) over and leave it in evaluation mode."""
        self._ensemble = ensemble.eval()

    def decide(
        self, obs_BF: NDArray[np.float32], held_BA: NDArray[np.int64]
    ) -> tuple[NDArray[np.generic], ...]:
        """Return preference_BA3, action_BA, confidence_BA, regime_BK, predicted_BA."""
        with torch.inference_mode():
            answer = self._ensemble(torch.from_numpy(obs_BF), torch.from_numpy(held_BA))
            return tuple(each.numpy() for each in answer)
