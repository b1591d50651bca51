"""The market regime classifier: seven regimes from the market features alone.

It sees the first ``feature_count`` columns of the observation only: what we hold is no property of
the market.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

REGIME_WIDTHS = (128, 64)
"""Widths of the two hidden layers (50-128-64-7 at fifty features)."""


class MarketRegimeClassifier(nn.Module):
    """Classify the market; the order of the classes is ``kernels.events.REGIMES``."""

    def __init__(self, feature_count: int, regime_count: int, dropout_frac: float = 0.2) -> None:
        """Take the number of market features and of regimes; dropout acts in training only."""
        super().__init__()
        wide, narrow = REGIME_WIDTHS
        self.feature_count = feature_count
        self.first = nn.Linear(feature_count, wide)
        self.second = nn.Linear(wide, narrow)
        self.out = nn.Linear(narrow, regime_count)
        self.dropout = nn.Dropout(dropout_frac)

    def forward(self, obs_BF: Tensor) -> Tensor:
        """Map observations (B, F) to regime logits (B, K)."""
        hidden_BH = self.dropout(torch.relu(self.first(obs_BF[:, : self.feature_count])))
        hidden_BH = self.dropout(torch.relu(self.second(hidden_BH)))
        logits_BK: Tensor = self.out(hidden_BH)
        return logits_BK
