"""The recipe of a bundle that foreign agents join.

    recipe = guest_recipe(bundle, {"my_ppo": policy.net}, {"my_ppo": policy.inputs}, name=.., ..)

A guest that was taught on a narrower state (``strategy.learning.market_tape``) gets no weight for
what it did not see. Sample and golden rows are drawn around the bundle's own normalisation.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kernels.events import AGENTS, REGIMES
from strategy.agents.registry import build_agent
from strategy.archive import Recipe
from strategy.bundle import Bundle
from strategy.calibration import TEMPERATURE_MIN
from strategy.compiled import FUSED_NAMES
from strategy.fused import ComposedEnsemble, FusedEnsemble, seen_by
from strategy.guest_ensemble import GuestEnsemble
from strategy.learning.market_tape import kept_features
from strategy.learning.training import embed
from strategy.observation import HELD_COUNT, Normalisation
from strategy.predictor import PerformancePredictor
from strategy.regimes import MarketRegimeClassifier
from strategy.sampling import drawn_positions, observe_sample

SAMPLE_ROWS = 2_000
STATUS_MAX = 200


def guest_recipe(
    bundle: Bundle,
    guests: Mapping[str, nn.Module],
    inputs: Mapping[str, int],
    *,
    name: str,
    created_ns: int,
    provenance: Mapping[str, str],
) -> Recipe:
    """Return the recipe of a bundle that has these guests as well; expiry and limits stay.

    ``inputs`` is the width of the state that each guest was taught on. ValueError for a width that
    no state has, a name that the bundle's own agents have, or a bundle of other agents than the
    standard five.
    """
    taken = sorted(guests.keys() & set(bundle.agents))
    if taken:
        raise ValueError(f"agent {taken[0]}: the bundle has one of that name")
    manifest, feature_names = bundle.manifest, bundle.manifest.observation.feature_names
    for width in inputs.values():
        kept_features(width, len(feature_names))  # refuses a width that no state has
    wide = [embed(net, inputs[guest], len(feature_names)) for guest, net in guests.items()]
    interval_ms = manifest.observation.bar_interval_ms
    obs_BF = drawn_rows(bundle.normalisation, manifest.seed)
    names = (*bundle.agents, *guests)
    held_BA = drawn_positions(len(obs_BF), len(names), manifest.seed)
    heats = []
    with torch.no_grad():
        for place, guest in enumerate(wide, len(bundle.agents)):
            held_B = torch.from_numpy(np.ascontiguousarray(held_BA[:, place]))
            preference_B3 = guest(seen_by(torch.from_numpy(obs_BF), held_B))
            centred_B3 = preference_B3 - preference_B3.mean(dim=1, keepdim=True)
            heats.append(max(float(centred_B3.std()), TEMPERATURE_MIN))
    return Recipe(
        name=name,
        status=f"{bundle.name} and guests {', '.join(guests)}"[:STATUS_MAX],
        seed=manifest.seed,
        created_ns=created_ns,
        expires_ns=manifest.expires_ns,
        feature_names=feature_names,
        normalisation=bundle.normalisation,
        bar_interval_ms=interval_ms,
        agent_names=names,
        regime_names=bundle.regimes,
        ensemble=GuestEnsemble(hosts_of(bundle), wide, torch.tensor(heats)).eval(),
        obs_BF=obs_BF,
        held_BA=held_BA,
        exposure_frac_max=manifest.limits.exposure_frac_max,
        tables=bundle.tables,
        provenance={**manifest.provenance, **provenance},
    )


def hosts_of(bundle: Bundle) -> FusedEnsemble:
    """Return a bundle's five standard agents in their fused form; ValueError for any others.

    A script that was loaded cannot stand in another one, so the form is built anew and filled with
    the script's own weights.
    """
    if bundle.agents != AGENTS or frozenset(bundle.weights) != FUSED_NAMES:
        raise ValueError(f"bundle {bundle.name}: only the five standard agents can have guests")
    width, features = bundle.observation_count, len(bundle.normalisation.mean_F)
    with torch.random.fork_rng(devices=[]):
        blank = ComposedEnsemble(
            [build_agent(name, width + HELD_COUNT) for name in AGENTS],
            MarketRegimeClassifier(features, len(REGIMES)),
            PerformancePredictor(width, len(REGIMES), len(AGENTS)),
            torch.ones(len(AGENTS)),
        )
    hosts = FusedEnsemble(blank)
    try:
        hosts.load_state_dict(
            {name: torch.from_numpy(weight) for name, weight in bundle.weights.items()}
        )
    except RuntimeError as error:
        raise ValueError(f"bundle {bundle.name}: its agents have other widths: {error}") from error
    return hosts


def drawn_rows(normalisation: Normalisation, seed: int) -> NDArray[np.float32]:
    """Return market rows whose features are normal in their own scale, extras drawn as well."""
    drawn_TF = np.random.default_rng([seed, SAMPLE_ROWS]).normal(
        size=(SAMPLE_ROWS, len(normalisation.mean_F))
    )
    features_TF = normalisation.mean_F + normalisation.scale_F * drawn_TF
    return observe_sample(normalisation, features_TF, seed)
