"""The whole judgement of one bundle on one history; every word of it is derived here, by code.

Rival, interval, trial count, detector and headline belong together: a claim needs all of them, and
a detector that finds something forbids every claim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.events import REGIMES
from strategy.evaluation.backtest import Backtest, Listening, Plan, trade
from strategy.evaluation.calibration_figures import Slope, band_coverage, calibration
from strategy.evaluation.comparison import (
    ENSEMBLE,
    EQUAL,
    Match,
    Standing,
    Variant,
    ablation_runs,
    controller_variant,
    cost_run,
    cost_runs,
    delay_runs,
    ensemble_path,
    match,
    standing,
    start_variants,
    variant,
)
from strategy.evaluation.contests import confidence_set
from strategy.evaluation.cost_figures import CostFigures
from strategy.evaluation.detectors import Finding, check_best, check_placebo
from strategy.evaluation.headline import Evidence, headline, missing
from strategy.evaluation.inference import (
    deflated_sharpe,
    drawer,
    effective_trials,
    moments,
    probabilistic_sharpe,
    track_record_bars_min,
)
from strategy.evaluation.loss_bound import loss_bounds
from strategy.evaluation.random_timing import RandomStanding, RandomTiming, random_timing, stand
from strategy.evaluation.regime_table import RegimeRow, regime_table, reported_labels
from strategy.evaluation.requirements import Requirement, requirements
from strategy.evaluation.risk_figures import RiskFigures, risk_figures
from strategy.evaluation.specification import PathFacts, SpecifiedMetrics, specified_metrics
from strategy.evaluation.splits import overfitting_probability

Floats = NDArray[np.float64]
Announce = Callable[[str], None]

DOUBLED_FACTOR, DOUBLED = 2.0, "costs x 2"
EPISODES, EPISODE_BARS = 20, 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """What is asked: the first ``training_bars`` rows teach, the rest judges.

    ``trials`` counts everything ever tried on this ledger, this one too; ``trial_variance`` is that
    of their Sharpes per bar, None where unknown. ``seed`` is that of all resampling. ``charged``
    holds the plan's costs against orders of past runs, None where there are none.
    """

    training_bars: int
    seed: int
    trials: int
    trial_variance: float | None = None
    crisis_level: float = 1.0
    episodes: int = EPISODES
    episode_bars_max: int = EPISODE_BARS
    charged: CostFigures | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Certainty:
    """How sure one can be of the ensemble's Sharpe; None where undefined.

    ``psr`` P(true Sharpe > 0), ``dsr`` the same against the best of all trials,
    ``record_years_min`` the record that would show it, ``pbo`` of choosing among all compared.
    """

    psr: float | None
    dsr: float | None
    record_years_min: float | None
    pbo: float | None
    trials: int
    trials_effective: float
    confident: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Claim:
    """The one sentence, and all that it rests on.

    ``missing`` names what was not shown, faults first.
    """

    headline: str
    missing: tuple[str, ...]
    findings: tuple[Finding, ...]
    equal: Standing
    certainty: Certainty

    @property
    def is_clean(self) -> bool:
        """Whether no detector found anything."""
        return all(finding.is_clean for finding in self.findings)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Assessment:
    """Everything that a report is made of; ``match`` holds the paths that it draws.

    ``drawn`` are the random paths that ``random`` sums up. ``doubled_T2`` are the net returns of
    ensemble and equal weight at doubled costs. ``band_frac``
    of the bars ended inside the band around their forecast.
    """

    headline: str
    missing: tuple[str, ...]
    findings: tuple[Finding, ...]
    standings: tuple[Standing, ...]
    random: RandomStanding
    drawn: RandomTiming
    certainty: Certainty
    costs: tuple[Variant, ...]
    delays: tuple[Variant, ...]
    starts: tuple[Variant, ...]
    ablations: tuple[Variant, ...]
    regimes: tuple[RegimeRow, ...]
    specified: SpecifiedMetrics
    calibration: tuple[Slope, ...]
    band_frac: float | None
    risk: RiskFigures
    match: Match
    label_T: NDArray[np.int64]
    doubled_T2: Floats
    charged: CostFigures | None

    @property
    def is_clean(self) -> bool:
        """Whether no detector found anything."""
        return all(finding.is_clean for finding in self.findings)

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """What an evaluation must satisfy, and whether this one does."""
        return tuple(
            requirements(
                self.match.run,
                lead=next(row.lead for row in self.standings if row.name == EQUAL),
                headline=self.headline,
                missing=self.missing,
                risk=self.risk,
                calibration=self.calibration,
                band_frac=self.band_frac,
                findings=self.findings,
                ablations=self.ablations,
                charged=self.charged,
            )
        )


def assess(
    listening: Listening,
    plan: Plan,
    inquiry: Inquiry,
    check: Callable[[Backtest], tuple[Finding, ...]],
    announce: Announce = lambda _: None,
) -> Assessment:
    """Judge a bundle; ``check`` runs the detectors that need bars and models.

    StageError or ValueError where the bars do not suffice.
    """
    announce("playing the bars")
    run = trade(listening, plan)
    found = match(run, inquiry.training_bars)
    announce("looking for leaks")
    findings = (*check(run), *_path_findings(found, inquiry.seed))
    announce("rivals")
    table = tuple(standing(path, found, inquiry.seed) for path in found.paths)
    drawn = random_timing(run, found.stage, inquiry.seed)
    varied, nets, doubled_T2 = _varied(listening, plan, found, inquiry.seed, announce)
    claim = _claim(
        findings,
        equal=next(row for row in table if row.name == EQUAL),
        doubled=next(row for row in varied["costs"] if row.name == DOUBLED),
        certainty=_certainty(found, nets, inquiry),
    )
    label_T = reported_labels(listening.heard.regime_TK, plan.meta, inquiry.crisis_level)
    label_T = label_T[inquiry.training_bars : len(run)]
    draws = [drawer(inquiry.seed, name) for name in ("regimes", "calibration")]
    return Assessment(
        headline=claim.headline,
        missing=claim.missing,
        findings=findings,
        standings=table,
        random=stand(drawn, found.net(ENSEMBLE), run.year_bars),
        drawn=drawn,
        certainty=claim.certainty,
        costs=tuple(varied["costs"]),
        delays=tuple(varied["delays"]),
        starts=start_variants(found, inquiry.seed),
        ablations=(*varied["ablations"], controller_variant(found, inquiry.seed)),
        regimes=regime_table(found.net(ENSEMBLE), label_T, run.year_bars, draws[0]),
        specified=_specified(found, label_T, inquiry),
        calibration=calibration(run, listening.foreseen_T, inquiry.training_bars, draws[1]),
        band_frac=band_coverage(run, listening.foreseen_T, inquiry.training_bars),
        risk=_risk(found, listening),
        match=found,
        label_T=label_T,
        doubled_T2=doubled_T2,
        charged=inquiry.charged,
    )


def claim_alone(
    listening: Listening,
    plan: Plan,
    inquiry: Inquiry,
    check: Callable[[Backtest], tuple[Finding, ...]],
) -> Claim:
    """Return what ``assess`` would say first, and nothing else of it: a quarter of the time."""
    run = trade(listening, plan)
    found = match(run, inquiry.training_bars)
    findings = (*check(run), *_path_findings(found, inquiry.seed))
    nets = [path.net_T for path in found.paths if path.tradable]
    nets += [ensemble_path(other, found.stage).net_T for _, other in ablation_runs(listening, plan)]
    dear = cost_run(listening, plan, DOUBLED_FACTOR)
    return _claim(
        findings,
        equal=standing(found.path(EQUAL), found, inquiry.seed),
        doubled=variant(DOUBLED, dear, found, inquiry.seed)[0],
        certainty=_certainty(found, nets, inquiry),
    )


def _claim(
    findings: tuple[Finding, ...], *, equal: Standing, doubled: Variant, certainty: Certainty
) -> Claim:
    evidence = Evidence(
        rival=EQUAL,
        spa_p=equal.spa_p,
        dsr=certainty.dsr,
        pbo=certainty.pbo,
        difference=equal.lead,
        difference_doubled=doubled.lead,
        trials=certainty.trials,
    )
    faults = [f"{finding.name}: {finding.said}" for finding in findings if not finding.is_clean]
    return Claim(
        headline=f"No claim: a detector found {faults[0]}." if faults else headline(evidence),
        missing=(*faults, *missing(evidence)),
        findings=findings,
        equal=equal,
        certainty=certainty,
    )


def regime_shares(found: Assessment) -> dict[str, float]:
    """Return the share of test bars reported under each regime."""
    return {name: float(np.mean(found.label_T == k)) for k, name in enumerate(REGIMES)}


def _varied(
    listening: Listening,
    plan: Plan,
    found: Match,
    seed: int,
    announce: Announce,
) -> tuple[dict[str, list[Variant]], list[Floats], Floats]:
    """Play the ensemble under other circumstances and without each part.

    Returns rows by kind, the net returns of all that could have been chosen, and those of ensemble
    and equal weight at doubled costs.
    """
    varied: dict[str, list[Variant]] = {}
    doubled_T2 = np.empty((0, 2))
    nets = [path.net_T for path in found.paths if path.tradable]
    sources = {"costs": cost_runs, "delays": delay_runs, "ablations": ablation_runs}
    for kind, runs in sources.items():
        varied[kind] = []
        for name, other in runs(listening, plan):
            announce(name)
            row, net_T2 = variant(name, other, found, seed)
            varied[kind].append(row)
            if kind == "ablations":
                nets.append(net_T2[:, 0])
            if name == DOUBLED:
                doubled_T2 = net_T2
    return varied, nets, doubled_T2


def _path_findings(found: Match, seed: int) -> tuple[Finding, ...]:
    stage, path = found.stage, found.paths[0]
    called_T = found.net("best in training")
    same = [name for name in stage.names if np.array_equal(found.net(f"{name} alone"), called_T)]
    return (
        check_best(tuple(same), stage),
        check_placebo(path.position_T, stage, found.run.year_bars, seed),
    )


def _risk(found: Match, listening: Listening) -> RiskFigures:
    test = slice(found.stage.training_bars, len(found.run))
    return risk_figures(
        listening.return_T[test],
        found.run.size_T[test],
        listening.volatility_T[test],
        loss_bounds(listening.return_T[: len(found.run)])[test],
        found.run.year_bars,
    )


def _certainty(found: Match, nets: Sequence[Floats], inquiry: Inquiry) -> Certainty:
    """Say how sure one can be; ``nets`` are the paths of all that could have been chosen."""
    net_TN = np.column_stack(nets)
    own_T = found.net(ENSEMBLE)
    known, bars = moments(own_T), len(own_T)
    tradable = [path for path in found.paths if path.tradable]
    names = tuple(path.name for path in tradable)
    psr = dsr = years = None
    if known is not None:
        ratio, skew, kurtosis = known
        variance = max(inquiry.trial_variance or 0.0, 1.0 / bars)
        psr = probabilistic_sharpe(ratio, 0.0, bars, skew, kurtosis)
        dsr = deflated_sharpe(ratio, bars, skew, kurtosis, trials=inquiry.trials, variance=variance)
        needed = track_record_bars_min(ratio, 0.0, skew, kurtosis)
        years = None if needed is None else needed / found.run.year_bars
    rivals_TN = np.column_stack([path.net_T for path in tradable])
    return Certainty(
        psr=psr,
        dsr=dsr,
        record_years_min=years,
        pbo=overfitting_probability(net_TN),
        trials=inquiry.trials,
        trials_effective=effective_trials(net_TN),
        confident=confidence_set(rivals_TN, names, inquiry.seed),
    )


def _specified(found: Match, label_T: NDArray[np.int64], inquiry: Inquiry) -> SpecifiedMetrics:
    test = slice(inquiry.training_bars, len(found.run))
    return specified_metrics(
        PathFacts(
            net_T=found.net(ENSEMBLE),
            equal_net_T=found.net(EQUAL),
            confidence_T=found.run.followed.confidence_T[test],
            disagreement_T=found.run.followed.disagreement_T[test],
            label_T=label_T,
            exposure_frac=float(np.abs(found.paths[0].position_T).mean()),
        ),
        found.run.year_bars,
        episodes=inquiry.episodes,
        bars_max=inquiry.episode_bars_max,
    )
