"""Do the meta-learner's guarantees hold? S1, S2 and S19 on streams drawn now, seeds printed.

    python -m tests.benchmarks.guarantee_bars                        exit 1 when one is broken
    python -m tests.benchmarks.guarantee_bars --seed 7 --streams 50  repeat, or look quickly
    python -m tests.benchmarks.guarantee_bars --plant clip_after     a planted bug: must end with 1

S1: the whole chain on random and hostile streams (the best agent flips, one dies, all move
together, agents sleep, fat tails, feedback to the learners that comes late): log wealth is behind
no candidate by more than the log of its prior share, costs of moving weights included.
S2: fixed share against the best sequence of experts with m switches, found in hindsight by dynamic
programming, for every m up to 50.
S19: an agent that turns to NaN, goes stale or only loses: bars until it weighs under 5 %.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from strategy.chain import CORE_NAMES, ChainShape, MetaChain
from strategy.experts import RETURN_CLIP, fixed_share_bound, fixed_share_step
from strategy.mixture import stake

Floats = NDArray[np.float64]
BARS_FILE = Path(__file__).with_name("bars.toml")
YEAR_BARS = 8_766.0
COUNT, REGIMES, CAP = 5, 7, 0.6
STREAM_BARS = 400
KINDS = ("noise", "flips", "dies", "together", "sleeping", "fat_tails")
DELAYS = (0, 1, 5, 50)
COST_SIGMA = 0.05
"""Cost of turning the whole weight over once, in standard deviations of a bar."""

SHARE_BARS, SHARE_STREAMS, SWITCHES_MAX = 1_500, 120, 50
SHARE_FRACS = (1e-4, 1e-3, 1e-2, 5e-2)
SHARE_EDGES = (0.0, 0.02, 0.1, 0.3)


def shape() -> ChainShape:
    """Return the chain that is judged: five agents under a cap of 0.6, two of them active."""
    names = tuple(f"agent_{i}" for i in range(COUNT))
    return ChainShape(
        agent_names=names,
        regime_count=REGIMES,
        year_bars=YEAR_BARS,
        weight_cap=CAP,
        active_min=2,
    )


def stream(kind: str, draws: np.random.Generator) -> tuple[Floats, NDArray[np.bool_]]:
    """Draw the agents' returns (T, N) in deviations, and who is awake."""
    return_TN = draws.standard_normal((STREAM_BARS, COUNT))
    awake_TN = np.ones((STREAM_BARS, COUNT), np.bool_)
    if kind == "flips":
        best_T = (np.arange(STREAM_BARS) // int(draws.integers(5, 60))) % COUNT
        return_TN[np.arange(STREAM_BARS), best_T] += 1.5
    elif kind == "dies":
        return_TN[STREAM_BARS // 2 :, 0] = -RETURN_CLIP
        return_TN[: STREAM_BARS // 2, 0] += 1.0
    elif kind == "together":
        return_TN = return_TN[:, :1] + 1e-3 * return_TN
    elif kind == "sleeping":
        awake_TN = draws.random((STREAM_BARS, COUNT)) > draws.uniform(0.1, 0.8)
    elif kind == "fat_tails":
        return_TN = 4.0 * draws.standard_t(3.0, (STREAM_BARS, COUNT))
    return return_TN, awake_TN


@dataclass(slots=True)
class Slack:
    """What one stream showed; log wealth ahead of the bound, least over bars and candidates."""

    least: float = np.inf
    least_with_costs: float = np.inf
    weight_max: float = 0.0
    identity_error: float = 0.0


def judge_stream(kind: str, delay: int, draws: np.random.Generator, plant: str) -> Slack:
    """Play one stream through a chain; wealth is counted here, not by the chain."""
    judged, found, kappa = MetaChain(shape()), Slack(), stake(YEAR_BARS)
    prior_J = judged.prior_J
    return_TN, awake_TN = stream(kind, draws)
    own = own_with_costs = allowed = 0.0
    theirs_J, before_N = np.zeros(len(prior_J)), np.zeros(COUNT)
    for bar in range(STREAM_BARS):
        # a late learner forms its candidates from old news: here, scores that lag by ``delay``
        seen_N = return_TN[bar - delay - 1] if bar > delay else np.zeros(COUNT)
        posterior_K = draws.dirichlet(np.full(REGIMES, 0.3))
        weighing = judged.weigh(posterior_K, seen_N, awake_TN[bar])
        if weighing is not None:
            found.weight_max = max(found.weight_max, float(weighing.weight_N.max()))
            paid_N = np.where(awake_TN[bar], return_TN[bar], 0.0)
            clipped_N = np.clip(paid_N, -RETURN_CLIP, RETURN_CLIP)
            mixed = float(weighing.weight_N @ clipped_N)
            if plant == "clip_after":
                mixed = float(np.clip(weighing.weight_N @ paid_N, -RETURN_CLIP, RETURN_CLIP))
            cost = COST_SIGMA * float(np.abs(weighing.weight_N - before_N).sum())
            before_N = weighing.weight_N
            own += float(np.log1p(kappa * mixed))
            own_with_costs += float(np.log1p(kappa * (mixed - cost)))
            allowed += kappa * cost / (1.0 + kappa * (mixed - cost))
            sleeps_J = np.concatenate([np.zeros(len(CORE_NAMES), np.bool_), ~awake_TN[bar]])
            alone_J = np.log1p(kappa * (weighing.candidate_JN @ clipped_N))
            theirs_J += np.where(sleeps_J, float(np.log1p(kappa * mixed)), alone_J)
        judged.learn(return_TN[bar])
        bound_J = theirs_J + np.log(prior_J)
        found.least = min(found.least, float((own - bound_J).min()))
        found.least_with_costs = min(
            found.least_with_costs, float((own_with_costs + allowed - bound_J).min())
        )
        identity = float(np.logaddexp.reduce(bound_J))
        found.identity_error = max(found.identity_error, abs(own - identity))
    return found


def best_with_switches(gain_TN: Floats, switches_max: int) -> Floats:
    """Return the best log wealth of any expert sequence with 0..m switches, by programming."""
    best_MN = np.full((switches_max + 1, gain_TN.shape[1]), -np.inf)
    best_MN[0] = gain_TN[0]
    for gain_N in gain_TN[1:]:
        moved_M = best_MN.max(axis=1)
        best_MN[1:] = np.maximum(best_MN[1:], moved_M[:-1, None])
        best_MN += gain_N
    return np.maximum.accumulate(best_MN.max(axis=1))


def judge_fixed_share(draws: np.random.Generator, share_frac: float, edge: float) -> int:
    """Count the m for which fixed share fell short of its bound on one stream."""
    return_TN = np.clip(draws.standard_t(3.0, (SHARE_BARS, COUNT)), -RETURN_CLIP, RETURN_CLIP)
    bar = 0
    while bar < SHARE_BARS:
        length = int(draws.integers(30, 700))
        return_TN[bar : bar + length, draws.integers(COUNT)] += 5.0 * edge
        bar += length
    factor_TN = 1.0 + 0.03 * np.clip(return_TN, -RETURN_CLIP, RETURN_CLIP)
    weight_N, own = np.full(COUNT, 1.0 / COUNT), 0.0
    for factor_N in factor_TN:
        own += float(np.log(weight_N @ factor_N))
        fixed_share_step(weight_N, factor_N, share_frac)
    best_M = best_with_switches(np.log(factor_TN), SWITCHES_MAX)
    bound_M = [fixed_share_bound(COUNT, SHARE_BARS, m, share_frac) for m in range(SWITCHES_MAX + 1)]
    return int(np.count_nonzero(own < best_M - np.array(bound_M) - 1e-9))


def bars_until_light(how: str, seed: int) -> int | None:
    """Return bars until a killed agent weighs under 5 %; None when it still does at the end."""
    draws, judged = np.random.default_rng(seed), MetaChain(shape())
    for bar in range(3_000):
        dead = bar >= 500
        awake_N = np.ones(COUNT, np.bool_)
        awake_N[0] = not (dead and how in ("nan", "stale"))
        weighing = judged.weigh(np.full(REGIMES, 1 / REGIMES), np.zeros(COUNT), awake_N)
        assert weighing is not None, "four agents are always enough"
        if dead and weighing.weight_N[0] < 0.05:
            return bar - 500
        return_N = draws.standard_normal(COUNT)
        return_N[0] += -3.0 / np.sqrt(YEAR_BARS) if dead else 3.0 / np.sqrt(YEAR_BARS)
        if dead and how == "nan":
            return_N[0] = np.nan
        judged.learn(return_N)
    return None


@dataclass(slots=True)
class Report:
    """Lines for the reader and what was broken."""

    broken: list[str] = field(default_factory=list)

    def hold(self, is_held: bool, text: str) -> None:
        """Print one line and remember it when it does not hold."""
        print(f"  {'holds ' if is_held else 'BROKEN'} {text}")
        if not is_held:
            self.broken.append(text)


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 1 when a guarantee is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, help="repeat a run")
    parser.add_argument("--streams", type=int, default=1_000, help="of S1")
    parser.add_argument("--plant", choices=("clip_after",), default="", help="break it")
    options = parser.parse_args(arguments)
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    bars = tomllib.loads(BARS_FILE.read_text("utf-8"))["s1_s2_s19_guarantees"]
    print(f"seed {seed}; candidates {', '.join(shape().candidate_names)}")
    report = Report()
    found = [
        judge_stream(
            KINDS[n % len(KINDS)],
            DELAYS[n // len(KINDS) % len(DELAYS)],
            np.random.default_rng((seed, n)),
            options.plant,
        )
        for n in range(options.streams)
    ]
    least = min(each.least for each in found)
    with_costs = min(each.least_with_costs for each in found)
    weight_max = max(each.weight_max for each in found)
    error = max(each.identity_error for each in found)
    report.hold(least >= bars["slack_min"], f"S1 {len(found)} streams, slack at least {least:+.2e}")
    report.hold(with_costs >= bars["slack_min"], f"S1 with costs, slack {with_costs:+.2e}")
    report.hold(weight_max <= CAP + bars["weight_error_max"], f"S1 largest weight {weight_max:.9f}")
    report.hold(error <= bars["identity_error_max"], f"S1 identity to {error:.1e}")
    violated = checked = 0
    for n in range(SHARE_STREAMS):
        draws = np.random.default_rng((seed, n, 2))
        share_frac = SHARE_FRACS[n % len(SHARE_FRACS)]
        violated += judge_fixed_share(draws, share_frac, SHARE_EDGES[n // 4 % len(SHARE_EDGES)])
        checked += SWITCHES_MAX + 1
    report.hold(violated <= bars["fixed_share_violations_max"], f"S2 {violated} of {checked}")
    for how in ("nan", "stale", "losing"):
        took = bars_until_light(how, seed)
        text = f"S19 {how}: under 5 % after {took} bars"
        if how == "losing":
            print(f"         {text} (no bar)")
        else:
            report.hold(took is not None and took <= bars["kill_bars_max"], text)
    print(f"{len(report.broken)} broken")
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
