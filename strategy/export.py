"""Build a demonstration bundle: ``python -m strategy.export --out DIR [--seed N]``.

Seeded, untrained networks; normalisation and calibration from synthetic markets run through the
same feature kernels as live data. The status in the manifest says so. The regime filter is the
shipped one, which is fitted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.events import AGENTS, REGIMES
from kernels.features import DEFAULT_FEATURE_NAMES, RESEARCH_FEATURE_NAMES
from strategy.agents.registry import agent_names, build_agent
from strategy.archive import Recipe, write_bundle
from strategy.bundle import UNTRAINED_BUNDLE_PATH, BundleError, load
from strategy.calibration import calibrate_agents, calibrate_predictor, silence_regimes
from strategy.fused import ComposedEnsemble, seen_by
from strategy.observation import Normalisation
from strategy.predictor import PerformancePredictor
from strategy.regimes import MarketRegimeClassifier
from strategy.sampling import (
    drawn_positions,
    fit_normalisation,
    observe_sample,
    sample_features,
)
from strategy.shipped_filter import shipped_tables

DEMONSTRATION_STATUS = "untrained: for demonstration"
SAMPLE_BARS = 4_000
SCHEMAS = {"default": DEFAULT_FEATURE_NAMES, "research": RESEARCH_FEATURE_NAMES}
"""Feature schemas by name."""

SHIPPED = {
    "default": UNTRAINED_BUNDLE_PATH,
    "research": UNTRAINED_BUNDLE_PATH.with_name("research"),
}
"""Where each schema's untrained bundle lies."""

BAR_INTERVAL_MS = 1_000


def untrained_ensemble(
    names: tuple[str, ...],
    normalisation: Normalisation,
    obs_BF: NDArray[np.float32],
    held_BA: NDArray[np.int64],
    seed: int,
) -> ComposedEnsemble:
    """Return seeded, calibrated networks for the named agents; leaves torch's own seed alone."""
    sample_BF = torch.from_numpy(obs_BF)
    width = normalisation.observation_count
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        agents = [build_agent(name, normalisation.input_count).eval() for name in names]
        regimes = MarketRegimeClassifier(len(normalisation.mean_F), len(REGIMES)).eval()
        predictor = PerformancePredictor(width, len(REGIMES), len(names)).eval()
    inputs = [seen_by(sample_BF, torch.from_numpy(held_BA)[:, a]) for a in range(len(names))]
    temperature_A = calibrate_agents(agents, inputs)
    silence_regimes(regimes)
    with torch.no_grad():
        regime_BK = torch.softmax(regimes(sample_BF), dim=1)
    calibrate_predictor(predictor, sample_BF, regime_BK)
    return ComposedEnsemble(agents, regimes, predictor, temperature_A).eval()


def demonstration_recipe(
    *,
    seed: int,
    feature_names: tuple[str, ...] = DEFAULT_FEATURE_NAMES,
    agents: tuple[str, ...] = AGENTS,
    bars: int = SAMPLE_BARS,
    bar_interval_ms: int = BAR_INTERVAL_MS,
    created_ns: int = 0,
    name: str = "default",
) -> Recipe:
    """Return the recipe of an untrained bundle, a pure function of its arguments."""
    features_TF = sample_features(
        feature_names, bars=bars, bar_interval_ms=bar_interval_ms, seed=seed
    )
    normalisation = fit_normalisation(features_TF)
    obs_BF = observe_sample(normalisation, features_TF, seed)
    held_BA = drawn_positions(len(obs_BF), len(agents), seed)
    return Recipe(
        name=name,
        status=DEMONSTRATION_STATUS,
        seed=seed,
        created_ns=created_ns,
        expires_ns=None,
        feature_names=feature_names,
        normalisation=normalisation,
        bar_interval_ms=bar_interval_ms,
        agent_names=agents,
        regime_names=REGIMES,
        ensemble=untrained_ensemble(agents, normalisation, obs_BF, held_BA, seed),
        obs_BF=obs_BF,
        held_BA=held_BA,
        tables=shipped_tables(),
    )


def main(arguments: list[str] | None = None) -> int:
    """Write the bundle, load it again as the daemon would, and print its name and hash."""
    parser = argparse.ArgumentParser(
        prog="python -m strategy.export",
        description="Build an untrained model bundle for demonstration.",
        epilog="example: python -m strategy.export --out bundles/demo --seed 7",
    )
    parser.add_argument(
        "--out", type=Path, help="bundle directory; left out: the shipped untrained one"
    )
    parser.add_argument("--features", choices=SCHEMAS, default="default", help="feature schema")
    parser.add_argument("--seed", type=int, default=7, help="of weights and sample (default 7)")
    parser.add_argument("--bars", type=int, default=SAMPLE_BARS, help="rows of the sample")
    parser.add_argument(
        "--interval-ms", type=int, default=BAR_INTERVAL_MS, help="length of a bar (default 1000)"
    )
    parser.add_argument("--created-ns", type=int, default=0, help="UNIX time to record")
    parser.add_argument(
        "--agents", nargs="+", default=list(AGENTS), help=f"of {', '.join(agent_names())}"
    )
    chosen = parser.parse_args(arguments)
    feature_names = SCHEMAS[chosen.features]
    out = chosen.out or SHIPPED[chosen.features]
    torch.set_num_threads(1)  # sums in one order: the same seed gives the same weights
    try:
        recipe = demonstration_recipe(
            seed=chosen.seed,
            feature_names=feature_names,
            agents=tuple(chosen.agents),
            bars=chosen.bars,
            bar_interval_ms=chosen.interval_ms,
            created_ns=chosen.created_ns,
            name=out.name,
        )
        write_bundle(out, recipe)
        bundle = load(out, feature_names, now_ns=chosen.created_ns)
    except (BundleError, KeyError, OSError, ValueError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    total = sum(entry.bytes for entry in bundle.manifest.files)
    print(f"{out}: {bundle.name}, {total} bytes, manifest sha256 {bundle.sha256}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
