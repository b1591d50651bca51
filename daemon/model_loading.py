"""Load the bundle that decides first: the configured one, or the last known good one."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from config.settings import MetaLearningSettings, Settings
from daemon.clock import Clock
from daemon.effects import Note
from daemon.journal import journal_directory
from daemon.model_panel import hold
from daemon.model_store import DIRECTORY, read_records
from daemon.rollout import Model
from kernels.events import REGIMES
from kernels.features import DEFAULT_FEATURE_NAMES, RESEARCH_FEATURE_NAMES, FeatureEngine
from strategy import ensemble, observation, proven
from strategy.bundle import DEFAULT_BUNDLE_PATH, Bundle, BundleError
from strategy.bundle import load as load_bundle
from strategy.controllers import CONTROLLER_NAMES
from strategy.learning.forecasts import Forecast, step_into_row
from strategy.meta_learner import MetaLearner, Outlook
from strategy.observation import CLIP, FORECAST_NAMES
from strategy.quality import StrangenessScale
from strategy.regime_filter import RegimeFilter
from strategy.regime_tracker import crisis_level_of
from strategy.residual_model import ResidualModel
from strategy.runtime import Runtime

WARM_BAR_NS = 1_000_000_000
WARM_BARS = 30
"""Enough for the scale of the shadow accounts to be known, so that every path was taken once."""

WARM_ROWS_MAX = 8
"""Batches of up to this many instruments are specialised before the first decision."""


def load_model(
    settings: Settings, clock: Clock, try_out: Callable[[Bundle, Runtime], None] | None = None
) -> tuple[Model, Bundle]:
    """Load, verify and warm the bundle that the settings name; raises BundleError.

    ``try_out`` may refuse a verified bundle before it is warmed, which takes some hundred answers.
    """
    is_rich = settings.meta.regime_features_dim == len(RESEARCH_FEATURE_NAMES)
    names = RESEARCH_FEATURE_NAMES if is_rich else DEFAULT_FEATURE_NAMES
    shipped = DEFAULT_BUNDLE_PATH.parent / ("research" if is_rich else "default")
    path = Path(settings.model.bundle).expanduser() if settings.model.bundle else shipped
    proofs = _proofs(settings) if try_out is None else None
    recall = partial(proven.recall, proofs) if proofs is not None else None
    bundle = load_bundle(path, names, now_ns=clock.now_ns(), recall=recall)
    runtime = Runtime(bundle, settings.model.threads, form=settings.model.runtime)
    if try_out is not None:
        try_out(bundle, runtime)
    runtime.warm_up(min(len(settings.instruments), WARM_ROWS_MAX), clock.monotonic_ns)
    if proofs is not None and bundle.module is not None and runtime.form == "compiled":
        proven.remember(proofs, bundle.script_sha256, bundle.weights)
    observation.warm_up()
    ensemble.warm_up(len(bundle.agents))
    model = _model_of(bundle, path, names, runtime)
    warm_meta_learner(model)
    return model, bundle


def _proofs(settings: Settings) -> Path | None:
    """Say where proofs of compiled forms lie: beside the compiled kernels, and of their version.

    None where torch will be needed anyway: by the script, or by new bundles while trading.
    """
    kernels = os.environ.get("NUMBA_CACHE_DIR")
    if not kernels or settings.model.runtime == "torchscript" or settings.model.directory:
        return None
    return Path(kernels) / "proven"


def _model_of(bundle: Bundle, path: Path, names: tuple[str, ...], runtime: Runtime) -> Model:
    """Read what is no network from the bundle's tables; BundleError for tables of other shapes."""
    try:
        forecast = Forecast.from_tables(bundle.tables, len(bundle.normalisation.mean_F))
        regime_filter = RegimeFilter.from_tables(bundle.tables)
        strangeness = StrangenessScale.from_tables(bundle.tables)
        crisis_level = crisis_level_of(bundle.tables)
        residual = ResidualModel.from_tables(bundle.tables)
        if residual is not None:
            residual.check(len(bundle.agents) + len(CONTROLLER_NAMES), len(REGIMES))
        if regime_filter.regime_count != len(REGIMES):
            raise ValueError(f"regime filter of {regime_filter.regime_count} regimes")
        if strangeness is not None and len(strangeness.mean_F) != len(names):
            raise ValueError(f"strangeness of {len(strangeness.mean_F)} features")
    except (KeyError, ValueError, IndexError) as error:
        raise BundleError(path, f"tables.safetensors: {error}") from error
    return Model(
        judge=runtime,
        normalisation=bundle.normalisation,
        feature_names=names,
        agent_names=bundle.agents,
        exposure_frac_max=bundle.manifest.limits.exposure_frac_max,
        expires_ns=bundle.manifest.expires_ns,
        tables=bundle.tables,
        forecast=forecast,
        runtime=runtime.form,
        regime_filter=regime_filter,
        crisis_level=crisis_level,
        strangeness=strangeness,
        residual=residual,
    )


def warm_meta_learner(model: Model) -> None:
    """Compile forecast and meta-learner by letting them see a few bars of nothing."""
    forecast = model.forecast
    if forecast is not None:
        fixed = (forecast.weight_F, forecast.scale, forecast.slow_scale, forecast.decay)
        row_F = np.zeros(len(forecast.weight_F) + len(FORECAST_NAMES), np.float32)
        step_into_row(*fixed, 0.0, CLIP, row_F)
    features = FeatureEngine(DEFAULT_FEATURE_NAMES, WARM_BAR_NS, 0.1, 0.001)
    learner = MetaLearner(
        model.agent_names,
        model.regime_filter,
        MetaLearningSettings(),
        WARM_BAR_NS,
        residual=model.residual,
    )
    agents = len(model.agent_names)
    hold(np.ones(agents, np.int64), np.ones(agents, np.bool_), np.ones(agents, np.int64))
    for bar in range(WARM_BARS):
        features.on_quote(bar * WARM_BAR_NS, 1_000 + bar % 2, 1, 1_002 + bar % 2, 1)
        features.close_bars(bar * WARM_BAR_NS)
        posterior_K = learner.watch(features, 1_001.0 + bar % 2)
        given_K = posterior_K.astype(np.float32)  # as the networks answer
        learner.weigh(given_K, np.zeros(agents, np.float32), np.ones(agents, np.bool_))
        learner.book(
            np.ones(agents, np.int64),
            np.ones(agents, np.bool_),
            Outlook(gain=0.0, cost_frac=0.0),
        )


def load_first_model(
    settings: Settings, clock: Clock, note: Callable[[Note], None]
) -> tuple[Model, Bundle]:
    """Load the last known good bundle where models are swapped, else the configured one.

    Raises BundleError when the configured one is refused as well.
    """
    if not settings.model.directory:
        return load_model(settings, clock)
    state = journal_directory(settings.journal.directory, os.environ) / settings.mode
    try:
        good = read_records(state / DIRECTORY).good
        if good is not None:
            pinned = settings.model.model_copy(update={"bundle": good.path})
            found = load_model(settings.model_copy(update={"model": pinned}), clock)
            if found[1].sha256 == good.sha256:
                return found
            raise ValueError(f"{good.path} is another bundle than the last known good one")
    except (ValueError, BundleError) as error:
        fields = {"reason": f"{error}; the configured bundle is used"}
        note(Note(event="bundle_refused", event_ns=clock.now_ns(), fields=fields))
    return load_model(settings, clock)
