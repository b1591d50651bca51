"""The performance predictor: how well each agent will do from here.

One trunk shared by all agents, told apart by a learned code per agent. Inputs are the observation
and the regime posterior; nothing that an agent's own label is made of may appear among them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CODE_COUNT = 8
"""Length of the learned code of one agent."""

PREDICTOR_WIDTHS = (128, 64)
"""Widths of the two hidden layers."""


class PerformancePredictor(nn.Module):
    """Predict each agent's risk-adjusted return over the coming bars, in Sharpe units."""

    def __init__(
        self,
        observation_count: int,
        regime_count: int,
        agent_count: int,
        dropout_frac: float = 0.1,
    ) -> None:
        """Take the widths of the axes F, K and A; dropout acts in training only."""
        super().__init__()
        wide, narrow = PREDICTOR_WIDTHS
        self.code_AC = nn.Parameter(torch.empty(agent_count, CODE_COUNT))
        nn.init.normal_(self.code_AC)
        self.from_observation = nn.Linear(observation_count, wide)
        self.from_regime = nn.Linear(regime_count, wide, bias=False)
        self.from_code = nn.Linear(CODE_COUNT, wide, bias=False)
        self.second = nn.Linear(wide, narrow)
        self.out = nn.Linear(narrow, 1)
        self.dropout = nn.Dropout(dropout_frac)

    def forward(self, obs_BF: Tensor, regime_BK: Tensor) -> Tensor:
        """Map observations (B, F) and regime posteriors (B, K) to predictions (B, A)."""
        market_BH: Tensor = self.from_observation(obs_BF) + self.from_regime(regime_BK)
        agent_AH: Tensor = self.from_code(self.code_AC)
        hidden_BAH = self.dropout(torch.relu(market_BH.unsqueeze(1) + agent_AH))
        hidden_BAH = self.dropout(torch.relu(self.second(hidden_BAH)))
        predicted_BA: Tensor = self.out(hidden_BAH).squeeze(2)
        return predicted_BA
