"""A judgement as plain numbers and words: what the tear sheet draws and other programs read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.events import REGIMES
from strategy.evaluation.assessment import Assessment, regime_shares
from strategy.evaluation.comparison import ENSEMBLE, EQUAL
from strategy.evaluation.figures import drawdown_path

Floats = NDArray[np.float64]

SCHEMA = 1
POINTS_MAX = 1_500
"""Curves are thinned to so many points; figures never are."""

DRAWN = (ENSEMBLE, EQUAL, "buy and hold", "best in training", "OAMP")


def report_of(found: Assessment, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report; ``facts`` (hashes, commit, seed, dates) are taken over as they are."""
    run, stage = found.match.run, found.match.stage
    test = slice(stage.training_bars, len(run))
    bars = len(run) - stage.training_bars
    return {
        "schema": SCHEMA,
        "headline": found.headline,
        "missing": list(found.missing),
        "is_clean": found.is_clean,
        **facts,
        "bars": {"training": stage.training_bars, "test": bars, "length_s": run.bar_ns / 1e9},
        "test_from_ns": int(run.close_ns_T[stage.training_bars]),
        "test_to_ns": int(run.close_ns_T[-1]) + run.bar_ns,
        "costs": asdict(run.plan.costs),
        "findings": [asdict(finding) for finding in found.findings],
        "certainty": asdict(found.certainty),
        "standings": [asdict(row) for row in found.standings],
        "random": asdict(found.random),
        "cost_sensitivity": [asdict(row) for row in found.costs],
        "latency": [asdict(row) for row in found.delays],
        "starts": [asdict(row) for row in found.starts],
        "ablations": [asdict(row) for row in found.ablations],
        "regimes": [asdict(row) for row in found.regimes],
        "regime_share": regime_shares(found),
        "specified": asdict(found.specified),
        "calibration": [asdict(row) for row in found.calibration],
        "band_frac": found.band_frac,
        "risk": asdict(found.risk),
        "requirements": [asdict(row) for row in found.requirements],
        "weights_mean": dict(
            zip(
                run.followed.names,
                run.followed.weight_TN[test].mean(axis=0).tolist(),
                strict=True,
            )
        ),
        "beyond_clip": run.followed.beyond_clip,
        "curves": _curves(found),
    }


def _curves(found: Assessment) -> dict[str, Any]:
    """Thin what is drawn: values at the end of pieces, means of weights and posterior in them."""
    run, stage = found.match.run, found.match.stage
    first, bars = stage.training_bars, len(run) - stage.training_bars
    edges = np.unique(np.linspace(0, bars, min(bars, POINTS_MAX) + 1).astype(np.int64))
    begins, ends = edges[:-1], edges[1:] - 1
    lengths = np.diff(edges)[:, None]
    drawn = {path.name: path for path in found.match.paths if path.name in DRAWN}
    weight_TN = run.followed.weight_TN[first : first + bars]
    posterior_TK = run.posterior_TK[first:]
    own_T = found.match.net(ENSEMBLE)
    return {
        "ms": (run.close_ns_T[first:][ends] // 1_000_000).tolist(),
        "equity": {
            name: _short(np.cumprod(1.0 + path.net_T)[ends]) for name, path in drawn.items()
        },
        "drawdown": _short(drawdown_path(own_T)[ends]),
        "position": _short(found.match.paths[0].position_T[ends]),
        "regime": found.label_T[ends].tolist(),
        "regimes": list(REGIMES),
        "weights": _named(run.followed.names, np.add.reduceat(weight_TN, begins, axis=0) / lengths),
        "posterior": _named(REGIMES, np.add.reduceat(posterior_TK, begins, axis=0) / lengths),
    }


def _named(names: tuple[str, ...], value_TN: Floats) -> dict[str, list[float]]:
    return {name: _short(value_TN[:, place]) for place, name in enumerate(names)}


def _short(value_T: NDArray[np.floating[Any]]) -> list[float]:
    return [float(f"{value:.5g}") for value in value_T.tolist()]
