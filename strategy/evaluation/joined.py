"""Folds of a walk-forward as one record: test bars one after the other, judged as a whole.

Every fold trained on what came before it. Joined, the paths are what somebody would have earned who
trained anew at every edge; intervals and headline are those of the joined paths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strategy.evaluation.comparison import ENSEMBLE, EQUAL
from strategy.evaluation.contests import superior_p
from strategy.evaluation.figures import Metrics, measure
from strategy.evaluation.headline import Evidence, headline, missing
from strategy.evaluation.inference import (
    Interval,
    deflated_sharpe,
    difference_interval,
    moments,
    sharpe_interval,
)
from strategy.evaluation.random_timing import RandomStanding, RandomTiming, joined, stand
from strategy.evaluation.splits import overfitting_probability

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fold:
    """The test of one fold: net returns by strategy, ensemble and equal weight at doubled costs.

    ``untradable`` names those that knew the outcome: nobody could have chosen them. ``drawn`` are
    the random paths of the test.
    """

    net_by_name: Mapping[str, Floats]
    doubled_T2: Floats
    drawn: RandomTiming
    untradable: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedRow:
    """One strategy over all folds; ``lead`` is the ensemble's over it.

    ``is_tradable`` is false where it knew the outcome.
    """

    name: str
    is_tradable: bool
    sharpe: Interval | None
    lead: Interval | None
    metrics: Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What all folds together show."""

    headline: str
    missing: tuple[str, ...]
    rows: tuple[JoinedRow, ...]
    random: RandomStanding
    dsr: float | None
    pbo: float | None
    spa_p: float | None
    trials: int


def join_folds(
    folds: Sequence[Fold],
    year_bars: float,
    *,
    trials: int,
    trial_variance: float | None,
    seed: int,
    faults: Sequence[str] = (),
) -> Joined:
    """Judge the folds as one path; ValueError where they hold different strategies.

    ``faults`` are what detectors found in any fold: they forbid every claim.
    """
    names = tuple(folds[0].net_by_name)
    if any(tuple(fold.net_by_name) != names for fold in folds):
        raise ValueError("folds of different strategies")
    generator = np.random.default_rng(seed)
    net = {name: np.concatenate([fold.net_by_name[name] for fold in folds]) for name in names}
    own_T, equal_T = net[ENSEMBLE], net[EQUAL]
    doubled_T2 = np.concatenate([fold.doubled_T2 for fold in folds])
    rows = tuple(
        JoinedRow(
            name=name,
            is_tradable=name not in folds[0].untradable,
            sharpe=sharpe_interval(net_T, year_bars, generator),
            lead=None
            if name == ENSEMBLE
            else difference_interval(own_T, net_T, year_bars, generator),
            metrics=measure(net_T, year_bars),
        )
        for name, net_T in net.items()
    )
    known, dsr = moments(own_T), None
    if known is not None:
        variance = max(trial_variance or 0.0, 1.0 / len(own_T))
        dsr = deflated_sharpe(
            known[0], len(own_T), known[1], known[2], trials=trials, variance=variance
        )
    evidence = Evidence(
        rival=EQUAL,
        spa_p=superior_p(equal_T, own_T[:, None], seed),
        dsr=dsr,
        pbo=overfitting_probability(
            np.column_stack([net[name] for name in names if name not in folds[0].untradable])
        ),
        difference=next(row.lead for row in rows if row.name == EQUAL),
        difference_doubled=difference_interval(
            doubled_T2[:, 0], doubled_T2[:, 1], year_bars, generator
        ),
        trials=trials,
    )
    return Joined(
        headline=f"No claim: a detector found {faults[0]}." if faults else headline(evidence),
        missing=(*faults, *missing(evidence)),
        rows=rows,
        random=stand(joined([fold.drawn for fold in folds]), own_T, year_bars),
        dsr=dsr,
        pbo=evidence.pbo,
        spa_p=evidence.spa_p,
        trials=trials,
    )
