"""The market regime classifier: the filter's posterior, corrected by what the features say.

It sees the first columns of the observation only: features, then the regime filter's posterior
(``strategy.observation``); what anybody holds is no property of the market. The correction is added
to the posterior's logarithm, so a classifier with a silent net repeats the filter.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

REGIME_WIDTHS = (128, 64)
"""Widths of the two hidden layers (57-128-64-7 at fifty features)."""

POSTERIOR_MIN = 1e-4
"""Added to the posterior before its logarithm, so that nothing is ruled out for ever."""


def log_posterior(posterior_BK: Tensor, floor: float = POSTERIOR_MIN) -> Tensor:
    """Return the logarithm of a posterior; a probability of 0 becomes that of the floor."""
    return torch.log(posterior_BK.clamp_min(0.0) + floor)


class MarketRegimeClassifier(nn.Module):
    """Classify the market; the order of the classes is ``kernels.events.REGIMES``."""

    def __init__(self, feature_count: int, regime_count: int, dropout_frac: float = 0.2) -> None:
        """Take the number of market features and of regimes; dropout acts in training only."""
        super().__init__()
        wide, narrow = REGIME_WIDTHS
        self.feature_count = feature_count
        self.seen_count = feature_count + regime_count
        self.first = nn.Linear(self.seen_count, wide)
        self.second = nn.Linear(wide, narrow)
        self.out = nn.Linear(narrow, regime_count)
        self.trust = nn.Parameter(torch.ones(1))
        self.dropout = nn.Dropout(dropout_frac)

    def forward(self, obs_BF: Tensor) -> Tensor:
        """Map market rows (B, F) to regime logits (B, K)."""
        seen_BF = obs_BF[:, : self.seen_count]
        prior_BK = log_posterior(seen_BF[:, self.feature_count :])
        hidden_BH = self.dropout(torch.relu(self.first(seen_BF)))
        hidden_BH = self.dropout(torch.relu(self.second(hidden_BH)))
        logits_BK: Tensor = self.out(hidden_BH) + self.trust * prior_BK
        return logits_BK
