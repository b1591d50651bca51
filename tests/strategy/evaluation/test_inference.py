"""Inference against the literature's worked figures, brute force and worlds of known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from strategy.evaluation.contests import confidence_set, superior_p
from strategy.evaluation.headline import Evidence, headline, missing
from strategy.evaluation.inference import (
    Interval,
    block_length,
    deflated_sharpe,
    difference_interval,
    effective_trials,
    expected_best_sharpe,
    mean_interval,
    probabilistic_sharpe,
    sharpe_interval,
    stationary_draws,
    track_record_bars_min,
)
from strategy.evaluation.splits import (
    combinatorial,
    combinatorial_paths,
    overfitting_probability,
    walk_forward,
)


def test_deflated_sharpe_of_the_paper() -> None:
    """Bailey and Lopez de Prado 2014: 100 trials of variance 1/2, SR 2.5 over 1,250 days."""
    variance = 0.5 / 250
    assert expected_best_sharpe(100, variance) == pytest.approx(0.1132, abs=5e-5)
    found = deflated_sharpe(2.5 / math.sqrt(250), 1_250, -3.0, 10.0, trials=100, variance=variance)
    assert found == pytest.approx(0.9004, abs=5e-5)


def test_one_trial_needs_no_deflation() -> None:
    """With one trial the deflated Sharpe is the probabilistic one against 0."""
    one = deflated_sharpe(0.1, 500, 0.0, 3.0, trials=1, variance=0.01)
    assert one == probabilistic_sharpe(0.1, 0.0, 500)


def test_shortest_track_record_is_where_psr_turns() -> None:
    """At MinTRL bars the PSR is exactly 1 - alpha; without an edge there is no such length."""
    bars = track_record_bars_min(0.05, skew=-0.5, kurtosis=6.0)
    assert bars is not None
    whole = probabilistic_sharpe(0.05, 0.0, math.ceil(bars), -0.5, 6.0)
    assert whole == pytest.approx(0.95, abs=1e-4)
    assert track_record_bars_min(-0.01) is None


def test_block_length_against_arch() -> None:
    """The block of Politis and White is that of arch within 5 %, for white and for red noise."""
    from arch.bootstrap import optimal_block_length

    generator = np.random.default_rng(3)
    noise_T = generator.normal(size=2_000)
    red_T = np.convolve(noise_T, 0.8 ** np.arange(30), "valid")
    theirs = float(optimal_block_length(red_T)["stationary"].iloc[0])
    assert block_length(red_T) == pytest.approx(theirs, rel=0.05)
    assert block_length(noise_T) < 5.0 < block_length(red_T)
    assert block_length(np.ones(100)) == 1.0


def test_draws_are_blocks() -> None:
    """Most indices follow their neighbour, in the share that the block length says."""
    index_DT = stationary_draws(500, 1 / 20, 50, np.random.default_rng(1))
    follows = (index_DT[:, 1:] == (index_DT[:, :-1] + 1) % 500).mean()
    assert follows == pytest.approx(0.95, abs=0.01)
    assert index_DT.min() >= 0
    assert index_DT.max() < 500


def test_interval_covers_the_truth() -> None:
    """Of 120 worlds with a true annual Sharpe of 1, about 95 % of the intervals hold it."""
    generator = np.random.default_rng(8)
    held = 0
    for _ in range(120):
        path_T = generator.normal(1.0 / math.sqrt(365.25) * 0.01, 0.01, 730)
        found = sharpe_interval(path_T, 365.25, generator, draws=300)
        assert found is not None
        held += found.low <= 1.0 <= found.high
    assert held >= 105


def test_pairing_narrows() -> None:
    """The paired difference of two nearly equal paths is far surer than either Sharpe."""
    generator = np.random.default_rng(2)
    market_T = generator.normal(0.0005, 0.01, 2_000)
    other_T = market_T + generator.normal(0.0, 0.001, 2_000)
    alone = sharpe_interval(market_T, 365.25, generator)
    paired = difference_interval(market_T, other_T, 365.25, generator)
    assert alone is not None
    assert paired is not None
    assert paired.high - paired.low < 0.3 * (alone.high - alone.low)
    assert difference_interval(market_T, np.zeros(2_000), 365.25, generator) is None
    found = mean_interval(market_T, generator)
    assert found is not None
    assert found[1] < found[0] < found[2]


def test_clones_are_one_trial() -> None:
    """Three copies of a path amount to one trial, three strangers to three."""
    strangers_TN = np.random.default_rng(4).normal(size=(5_000, 3))
    assert effective_trials(strangers_TN) == pytest.approx(3.0, abs=0.05)
    assert effective_trials(strangers_TN[:, [0, 0, 0]]) == pytest.approx(1.0)


@pytest.mark.parametrize(("purge", "embargo"), [(0, 0), (3, 0), (5, 7)])
def test_no_label_reaches_into_a_test(purge: int, embargo: int) -> None:
    """45 splits, 9 paths; every bar judged 9 times; nobody trains within the gaps."""
    splits = list(combinatorial(200, purge_bars=purge, embargo_bars=embargo))
    assert (len(splits), combinatorial_paths(10, 2)) == (45, 9)
    assert set(np.bincount(np.concatenate([s.test_T for s in splits]))) == {9}
    for split in splits:
        assert not np.intersect1d(split.train_T, split.test_T).size
        for bar in split.train_T:
            ahead = split.test_T[split.test_T > bar]
            behind = split.test_T[split.test_T < bar]
            assert not ahead.size or ahead.min() - bar > purge
            assert not behind.size or bar - behind.max() > max(embargo, purge)
    for split in walk_forward(200, 4, purge_bars=purge, embargo_bars=embargo):
        assert split.test_T.min() - split.train_T.max() > purge + embargo
    with pytest.raises(ValueError, match="folds"):
        list(walk_forward(10, 8, purge_bars=5))


def test_overfitting_is_told_from_skill() -> None:
    """Forty noises: the best is chance, on average; one real edge among them: it is not."""
    blind, skilled = [], []
    for seed in range(5):
        path_TN = np.random.default_rng(seed).normal(0.0, 0.01, (1_600, 40))
        blind.append(overfitting_probability(path_TN, 10))
        path_TN[:, 7] += 0.004
        skilled.append(overfitting_probability(path_TN, 10))
    assert sum(value or 0.0 for value in blind) / 5 > 0.35
    assert skilled == [0.0] * 5
    assert overfitting_probability(path_TN[:, :1]) is None


@pytest.mark.filterwarnings("ignore")
def test_superior_ability_and_confidence_set() -> None:
    """A rival with an edge is found superior and left alone in the set; equals are not."""
    generator = np.random.default_rng(9)
    path_TN = generator.normal(0.0, 0.01, (1_000, 3))
    blind = superior_p(path_TN[:, 0], path_TN[:, 1:], seed=1)
    path_TN[:, 2] += 0.003
    skilled = superior_p(path_TN[:, 0], path_TN[:, 1:], seed=1)
    assert blind is not None
    assert skilled is not None
    assert skilled < 0.01 < blind
    assert confidence_set(path_TN, ("a", "b", "best"), seed=1) == ("best",)
    assert superior_p(path_TN[:, 0], path_TN[:, :1], seed=1) is None


LEAD = Interval(estimate=0.8, low=0.2, high=1.4, bars=9_000, draws=1_000, block_bars=5.0)
GOOD = {"spa_p": 0.01, "dsr": 0.99, "pbo": 0.05, "difference": LEAD, "difference_doubled": LEAD}


@pytest.mark.parametrize("lacking", [None, *GOOD])
def test_better_needs_every_proof(lacking: str | None) -> None:
    """Without any one of the proofs the words are those of no difference; with all, better."""
    facts = {key: value for key, value in GOOD.items() if key != lacking}
    if lacking is not None:
        facts[lacking] = None
    evidence = Evidence(rival="equal weight", trials=12, **facts)  # type: ignore[arg-type]  # parametrised by name
    said = headline(evidence)
    assert ("better than equal weight" in said) == (lacking is None)
    assert ("not distinguishable from equal weight" in said) == (lacking is not None)
    assert (missing(evidence) == ()) == (lacking is None)
    assert "12 trials" in said


def test_martingale_worlds_are_rarely_called_better() -> None:
    """Of 200 worlds without any edge the words say "better" in at most 10; seed printed."""
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print(f"seed {seed}")
    generator = np.random.default_rng(seed)
    called = 0
    for _ in range(200):
        path_TN = generator.normal(0.0, 0.01, (600, 3))
        lead = difference_interval(path_TN[:, 0], path_TN[:, 1], 365.25, generator, draws=200)
        evidence = Evidence(
            rival="equal weight",
            spa_p=superior_p(path_TN[:, 1], path_TN[:, :1], seed=1) if lead and lead.low > 0 else 1,
            dsr=probabilistic_sharpe(
                float(path_TN[:, 0].mean() / path_TN[:, 0].std()), 0.0, len(path_TN)
            ),
            pbo=0.0,
            difference=lead,
            difference_doubled=lead,
            trials=1,
        )
        called += "better" in headline(evidence)
    assert called <= 10
