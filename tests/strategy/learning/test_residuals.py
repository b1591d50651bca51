"""The residual network: adds what it can prove, nothing otherwise, and never looks ahead."""

from __future__ import annotations

import numpy as np
import pytest

from strategy.learning.residuals import (
    ShadowLog,
    fit_residuals,
    half_lives,
    inputs_of,
    targets_of,
)
from strategy.learning.training import use_one_thread
from strategy.residual_model import Residual, ResidualModel

YEAR_BARS = 8_766.0
EXPERTS, REGIMES = 3, 7


def log_of(bars: int, seed: int, edge: float) -> ShadowLog:
    """Return a log in which the first regime's posterior foretells the first expert's returns."""
    draws = np.random.default_rng(seed)
    state_T = np.repeat(draws.integers(0, 2, bars // 50 + 1), 50)[:bars]
    posterior_TK = np.full((bars, REGIMES), 0.1)
    posterior_TK[np.arange(bars), state_T] = 0.4
    return_TN = draws.standard_normal((bars, EXPERTS))
    return_TN[1:, 0] += edge * (1.0 - 2.0 * state_T[:-1])
    return ShadowLog(
        posterior_TK=posterior_TK,
        return_TN=return_TN,
        belief_TN=np.zeros((bars, EXPERTS)),
    )


def fitted(log: ShadowLog) -> ResidualModel:
    use_one_thread()
    return fit_residuals(
        log,
        year_bars=YEAR_BARS,
        window_bars=10,
        history_count=4,
        batch_size=128,
        epochs=8,
        seed=3,
    )


def said_by(
    model: ResidualModel, posterior_K: np.ndarray, returns_TN: np.ndarray | None = None
) -> np.ndarray:
    """Return what a fresh learner's network adds to every expert after some bars."""
    residual = Residual(model, EXPERTS, EXPERTS, YEAR_BARS)
    for return_N in np.zeros((0, EXPERTS)) if returns_TN is None else returns_TN:
        residual.remember(return_N)
    residual.foretell(posterior_K)
    return residual.score_A


def test_finds_what_the_filter_missed() -> None:
    """Where the posterior foretells an expert's returns, the prediction has the right sign."""
    model = fitted(log_of(2_000, 1, 0.7))
    assert model.slope > 0.3
    assert model.oof_correlation > 0.2
    good_K, bad_K = np.full(REGIMES, 0.1), np.full(REGIMES, 0.1)
    good_K[0], bad_K[1] = 0.4, 0.4
    up, down = (said_by(model, posterior_K) for posterior_K in (good_K, bad_K))
    assert up[0] - down[0] > 10.0


def test_adds_next_to_nothing_where_there_is_nothing() -> None:
    """On noise the out-of-fold slope shrinks the prediction to a fraction of a Sharpe ratio."""
    log = log_of(1_500, 2, 0.0)
    model = fitted(log)
    said = np.array(
        [said_by(model, log.posterior_TK[t], log.return_TN[:t]) for t in range(500, 1_500, 50)]
    )
    assert np.abs(said).mean() < 1.5


def test_the_future_changes_no_input_and_no_input_holds_its_target() -> None:
    """Rows up to a bar are the same whatever comes after; targets begin with the next bar."""
    whole = log_of(600, 4, 0.3)
    cut = ShadowLog(
        posterior_TK=whole.posterior_TK[:300],
        return_TN=whole.return_TN[:300],
        belief_TN=whole.belief_TN[:300],
    )
    ages_H = half_lives(5, 10)
    np.testing.assert_array_equal(inputs_of(cut, ages_H), inputs_of(whole, ages_H)[:300])
    wanted_N = whole.return_TN[8:18].mean(axis=0) * np.sqrt(10)
    np.testing.assert_allclose(targets_of(whole, 10, YEAR_BARS)[7], wanted_N)


def test_inputs_are_exponential_means() -> None:
    """A step at a time equals the weighted sum over the whole past, in units of noise."""
    log, ages_H = log_of(40, 5, 0.0), np.array([2.0, 9.0])
    decay_H = 0.5 ** (1.0 / ages_H)
    weight_TH = (1.0 - decay_H) * decay_H ** np.arange(40)[::-1, None]
    noise_H = np.sqrt((weight_TH**2).sum(axis=0))
    wanted_NH = np.clip(log.return_TN.T @ weight_TH / noise_H, -5.0, 5.0)
    seen_NF = inputs_of(log, ages_H)[-1]
    np.testing.assert_allclose(seen_NF[:, :2], wanted_NH)
    np.testing.assert_array_equal(seen_NF[:, 2:-1], np.tile(log.posterior_TK[-1], (EXPERTS, 1)))


def test_network_equals_its_sum_written_out() -> None:
    """The kernel's answer is the members' mean, tanh units and all, times slope and scale."""
    model, log = fitted(log_of(900, 6, 0.5)), log_of(30, 7, 0.5)
    row_NF = inputs_of(log, model.half_life_H)[-1]
    hidden = np.tanh(np.einsum("nf,mhf->mnh", row_NF, model.into_MHF) + model.code_MNH)
    unit_N = (np.einsum("mnh,mh->mn", hidden, model.out_MH) + model.bias_M[:, None]).mean(0)
    wanted_N = model.slope * unit_N * np.sqrt(YEAR_BARS / model.window_bars)
    np.testing.assert_allclose(said_by(model, log.posterior_TK[-1], log.return_TN), wanted_N)


def test_no_target_reaches_into_another_log() -> None:
    """Logs of several folds are as long as their rows, each short by its own window."""
    parts = [log_of(300, seed, 0.3) for seed in (1, 2)]
    use_one_thread()
    with pytest.raises(ValueError, match="580 rows"):
        fit_residuals(
            [*parts, log_of(8, 3, 0.3)],
            year_bars=YEAR_BARS,
            window_bars=10,
            history_count=2,
            batch_size=64,
            epochs=1,
            seed=1,
            rows_min=1_000,
        )


def test_tables_give_the_model_back() -> None:
    """What is stored predicts what was fitted; no tables is no model, broken ones are refused."""
    model = fitted(log_of(900, 6, 0.3))
    tables = model.to_tables()
    again = ResidualModel.from_tables(tables)
    assert again is not None
    for posterior_K in np.eye(REGIMES):
        np.testing.assert_array_equal(said_by(again, posterior_K), said_by(model, posterior_K))
    assert ResidualModel.from_tables({}) is None
    with pytest.raises(ValueError, match="is missing"):
        ResidualModel.from_tables({k: v for k, v in tables.items() if "bias" not in k})


def test_too_short_a_log_is_refused() -> None:
    """A few hundred bars teach nothing, and the error says how many were wanted."""
    with pytest.raises(ValueError, match="wanted 400"):
        fitted(log_of(200, 8, 0.3))
    with pytest.raises(ValueError, match="not finite"):
        ShadowLog(
            posterior_TK=np.full((5, REGIMES), np.nan),
            return_TN=np.zeros((5, EXPERTS)),
            belief_TN=np.zeros((5, EXPERTS)),
        )
