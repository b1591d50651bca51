"""The five standard agents of a bundle and guests: foreign agents that join them.

The five answer in their fused form, unchanged; guests see the same rows. What a guest will earn
nobody has learnt, so the predictor says of it what it says of the others on average. No postponed
annotations here: the script compiler reads them.
"""

import torch
from torch import Tensor, nn

from strategy.fused import Answer, FusedEnsemble, judge, seen_by


class GuestEnsemble(nn.Module):
    """Ask the fused five, then every guest."""

    def __init__(self, hosts: FusedEnsemble, guests: list[nn.Module], heat_G: Tensor) -> None:
        """Take the five, the guests, and one temperature for each guest."""
        super().__init__()
        self.hosts = hosts
        self.host_count = len(hosts.temperature_A)
        self.guests = nn.ModuleList(guests)
        self.heat_G: Tensor
        self.register_buffer("heat_G", heat_G)

    @property
    @torch.jit.unused
    def agent_count(self) -> int:
        """Length of axis A."""
        return self.host_count + len(self.guests)

    def forward(self, obs_BF: Tensor, held_BA: Tensor) -> Answer:
        """Map market rows (B, F) and own positions (B, A) to the five arrays of a judgement."""
        hosts_BA = held_BA[:, : self.host_count].contiguous()
        preference_BA3, action_BA, confidence_BA, regime_BK, predicted_BA = self.hosts(
            obs_BF, hosts_BA
        )
        preferences: list[Tensor] = []
        for place, guest in enumerate(self.guests):
            preferences.append(guest(seen_by(obs_BF, held_BA[:, self.host_count + place])))
        guest_BG3 = torch.stack(preferences, dim=1)
        guest_action_BG, guest_confidence_BG = judge(guest_BG3, self.heat_G)
        usual_B1 = predicted_BA.mean(dim=1, keepdim=True)
        return (
            torch.cat((preference_BA3, guest_BG3), dim=1),
            torch.cat((action_BA, guest_action_BG), dim=1),
            torch.cat((confidence_BA, guest_confidence_BG), dim=1),
            regime_BK,
            torch.cat((predicted_BA, usual_B1.expand(-1, guest_BG3.size(1))), dim=1),
        )
