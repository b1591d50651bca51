"""What back-test and evaluation begin with: a verified bundle, its history, a plan, the ledger."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from config.settings import Settings
from daemon.bar_files import BarTable, read_bars
from daemon.seals import file_sha256
from daemon.train import code_commit
from kernels.features import DEFAULT_FEATURE_NAMES, RESEARCH_FEATURE_NAMES
from kernels.units import E8
from risk.sizing import SizingEvidence, size_caps_quote
from strategy.bundle import DEFAULT_BUNDLE_PATH, MANIFEST_NAME, Bundle, load, read_files
from strategy.evaluation.backtest import Plan
from strategy.evaluation.detectors import RawBars
from strategy.evaluation.execution import Costs, SizeRule
from strategy.evaluation.trials import TRIALS_FILE
from strategy.learning.bar_history import History, history_of, merge_bars
from strategy.manifest import parse_manifest
from strategy.runtime import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What the command line asks for; times in ns, 0 and the far future for all bars.

    ``bar_ns`` 0: bars as long as the bundle was fitted on, where the file's divide them. ``table``
    holds the bars themselves where they come from no file. ``sealed_path`` are bars that follow:
    they judge, all others teach.
    """

    bundle_path: Path
    bars_path: Path
    bar_ns: int
    from_ns: int
    to_ns: int
    costs: Costs
    delay_bars: int
    equity_quote: float
    settings: Settings
    ledger_path: Path | None
    table: BarTable | None = None
    sealed_path: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What every figure is stored with; hashes are SHA-256 in hex."""

    bundle: str
    bundle_sha256: str
    bars_file: str
    bars_sha256: str
    config_sha256: str
    commit: str
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opened:
    """A bundle and a history that may be played."""

    runtime: Runtime
    bars: RawBars
    history: History
    plan: Plan
    facts: Facts
    ledger_path: Path


def open_inputs(inputs: Inputs, now_ns: int) -> Opened:
    """Read, verify and prepare; BundleError, BarFileError or ValueError says what is wrong."""
    bundle = load(inputs.bundle_path, _feature_names(inputs.bundle_path), now_ns=now_ns)
    runtime = Runtime(bundle, form="compiled")
    bars = _bars(inputs, bundle)
    history = bars.build(bars.open_ns_T, bars.prices_T4, bars.volume_T)
    plan = Plan(
        meta=inputs.settings.meta,
        costs=inputs.costs,
        size=size_rule(inputs.settings, inputs.equity_quote),
        delay_bars=inputs.delay_bars,
        exposure_frac_max=bundle.manifest.limits.exposure_frac_max,
    )
    files = (inputs.bars_path, inputs.sealed_path)
    facts = Facts(
        bundle=str(inputs.bundle_path),
        bundle_sha256=bundle.sha256,
        bars_file=" then ".join(path.name for path in files if path is not None),
        bars_sha256=_bars_sha256(inputs),
        config_sha256=hashlib.sha256(repr(plan).encode()).hexdigest(),
        commit=code_commit(),
        seed=bundle.manifest.seed,
    )
    return Opened(
        runtime=runtime,
        bars=bars,
        history=history,
        plan=plan,
        facts=facts,
        ledger_path=ledger_of(inputs),
    )


def size_rule(settings: Settings, equity_quote: float) -> SizeRule:
    """Return the daemon's sizing of one instrument at this equity, as shares of it."""
    caps = size_caps_quote(
        equity_quote_e8=round(equity_quote * E8),
        instrument_count=1,
        sizing=settings.sizing,
        limits=settings.limits,
        max_position_risk=settings.meta.max_position_risk,
        is_kelly_enabled=False,
        evidence=SizingEvidence(),
    )
    return SizeRule(
        share_max=min(caps.values()) / equity_quote,
        volatility_target_frac=settings.sizing.volatility_target_frac,
        hysteresis_frac=settings.execution.hysteresis_frac,
    )


def _feature_names(path: Path) -> tuple[str, ...]:
    """Return the built-in feature set that a bundle says it knows; the default one otherwise."""
    named = parse_manifest(read_files(path)[MANIFEST_NAME]).observation.feature_names
    return RESEARCH_FEATURE_NAMES if named == RESEARCH_FEATURE_NAMES else DEFAULT_FEATURE_NAMES


def _bars(inputs: Inputs, bundle: Bundle) -> RawBars:
    table = inputs.table or read_bars(inputs.bars_path, inputs.from_ns, inputs.to_ns)
    if inputs.sealed_path is not None:
        table = _joined(table, read_bars(inputs.sealed_path), inputs.sealed_path)
    fitted_ns = bundle.manifest.observation.bar_interval_ms * 1_000_000
    is_trained = bool(bundle.manifest.provenance)
    interval_ns = inputs.bar_ns or (fitted_ns if is_trained else table.interval_ns)
    if interval_ns % table.interval_ns:
        raise ValueError(
            f"bars of {interval_ns / 1e9:g} s cannot be made of the file's "
            f"{table.interval_ns / 1e9:g} s"
        )
    opened_T, prices_T4, volume_T = merge_bars(
        table.open_ns_T, table.prices_T4, table.volume_T, interval_ns
    )
    build = partial(
        history_of,
        interval_ns=interval_ns,
        feature_names=bundle.manifest.observation.feature_names,
        half_spread_frac=inputs.costs.half_spread_frac,
    )
    return RawBars(open_ns_T=opened_T, prices_T4=prices_T4, volume_T=volume_T, build=build)


def _joined(table: BarTable, sealed: BarTable, path: Path) -> BarTable:
    """Put sealed bars behind the others; ValueError where they do not follow."""
    if sealed.interval_ns != table.interval_ns or sealed.open_ns_T[0] <= table.open_ns_T[-1]:
        raise ValueError(f"the bars of {path.name} do not follow the others, or are not as long")
    return BarTable(
        open_ns_T=np.concatenate((table.open_ns_T, sealed.open_ns_T)),
        prices_T4=np.concatenate((table.prices_T4, sealed.prices_T4)),
        volume_T=np.concatenate((table.volume_T, sealed.volume_T)),
        interval_ns=table.interval_ns,
    )


def _bars_sha256(inputs: Inputs) -> str:
    """Return the hash of the file of bars, of the sealed one where there is one, of drawn bars."""
    if inputs.sealed_path is not None or inputs.table is None:
        return file_sha256(inputs.sealed_path or inputs.bars_path)
    table = inputs.table
    digest = hashlib.sha256(table.open_ns_T.tobytes())
    digest.update(np.ascontiguousarray(table.prices_T4).tobytes())
    digest.update(table.volume_T.tobytes())
    return digest.hexdigest()


def ledger_of(inputs: Inputs) -> Path:
    """Return the ledger beside a bundle; of the shipped bundles the one of the working folder."""
    if inputs.ledger_path is not None:
        return inputs.ledger_path
    folder = inputs.bundle_path.resolve().parent
    return Path(TRIALS_FILE) if folder == DEFAULT_BUNDLE_PATH.parent else folder / TRIALS_FILE
