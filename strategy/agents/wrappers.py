"""One agent outside the ensemble: (action, confidence, info) for one observation.

The same contract for every agent, standard or registered. An agent that fails raises AgentError:
an error is never answered with HOLD.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kernels.events import Action


class AgentError(Exception):
    """An agent failed to answer; ``agent`` names it, ``reason`` says why."""

    def __init__(self, agent: str, reason: str) -> None:
        """Keep the name and the reason apart for structured logs."""
        super().__init__(f"agent {agent}: {reason}")
        self.agent = agent
        self.reason = reason


class AgentAnswer(NamedTuple):
    """What one agent says; ``confidence`` in [0, 1], ``info`` holds its preferences."""

    action: Action
    confidence: float
    info: dict[str, Any]


class AgentWrapper:
    """Ask one agent about one observation at a time."""

    def __init__(self, name: str, agent: nn.Module, temperature: float = 1.0) -> None:
        """Take the agent and the temperature that scales its preferences into a confidence."""
        if not temperature > 0.0:
            raise ValueError(f"temperature {temperature} is not positive")
        self.name = name
        self._agent = agent.eval()
        self._temperature = temperature

    def act(self, obs_F: NDArray[np.float32]) -> AgentAnswer:
        """Return action, confidence and preferences for one observation row, float32 (F,).

        Raises AgentError when the input or the answer is not finite, has another shape, or when the
        agent itself raises.
        """
        if obs_F.ndim != 1 or not np.isfinite(obs_F).all():
            raise AgentError(self.name, f"the observation is no finite row: shape {obs_F.shape}")
        try:
            with torch.inference_mode():
                preference_13 = self._agent(torch.from_numpy(obs_F.astype(np.float32))[None, :])
        except Exception as error:  # an agent may be foreign code: it is reported, not masked
            raise AgentError(self.name, f"it raised {type(error).__name__}: {error}") from error
        if not isinstance(preference_13, torch.Tensor) or preference_13.shape != (1, len(Action)):
            raise AgentError(self.name, "it did not return one preference per action")
        preference_3 = preference_13[0].double().numpy()
        if not np.isfinite(preference_3).all():
            raise AgentError(self.name, f"its preferences are not finite: {preference_3}")
        scaled_3 = (preference_3 - preference_3.max()) / self._temperature
        top = 1.0 / float(np.exp(scaled_3).sum())
        return AgentAnswer(
            action=Action(int(preference_3.argmax())),
            confidence=(3.0 * top - 1.0) / 2.0,
            info={"agent": self.name, "preference_3": preference_3},
        )
