"""From bars to a bundle: nothing of the future, costs paid, and the same agent inside and out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from kernels.events import AGENTS
from kernels.features import DEFAULT_FEATURE_NAMES
from strategy.archive import write_bundle
from strategy.bundle import load
from strategy.learning.bar_history import History, history_of, merge_bars
from strategy.learning.checkpoints import CheckpointError, read_checkpoint, write_checkpoint
from strategy.learning.forecasts import Forecast
from strategy.learning.learner import Learner
from strategy.learning.training import (
    Prepared,
    TrainingPlan,
    judge,
    net_returns,
    new_learner,
    prepare,
    recipe_of,
    widen,
    widen_team,
)
from strategy.manifest import part_names
from strategy.runtime import Runtime

HOUR_NS = 3_600 * 10**9
BARS = 2_500
QUICK = TrainingPlan(effort_frac=0.002)


def bars_of(seed: int, bars: int = BARS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return drawn bars: open times, open high low close, volume."""
    generator = np.random.default_rng(seed)
    close_T = 30_000.0 * np.exp(np.cumsum(generator.normal(0.0, 0.008, bars)))
    open_T = np.append(30_000.0, close_T[:-1])
    reach_T2 = 1.0 + np.abs(generator.normal(0.0, 0.003, (2, bars)))
    prices_T4 = np.column_stack(
        (
            open_T,
            np.maximum(open_T, close_T) * reach_T2[0],
            np.minimum(open_T, close_T) / reach_T2[1],
            close_T,
        )
    )
    start_ns = 1_600_000_000 // 3_600 * HOUR_NS
    return start_ns + np.arange(bars) * HOUR_NS, prices_T4, generator.lognormal(3.0, 0.5, bars)


def make_history(seed: int = 1, bars: int = BARS) -> History:
    """Return the history of drawn bars."""
    open_ns_T, prices_T4, volume_T = bars_of(seed, bars)
    return history_of(
        open_ns_T,
        prices_T4,
        volume_T,
        interval_ns=HOUR_NS,
        feature_names=DEFAULT_FEATURE_NAMES,
        half_spread_frac=1e-4,
    )


@pytest.fixture(scope="module")
def history() -> History:
    """Return one history for all."""
    return make_history()


@pytest.fixture(scope="module")
def prepared(history: History) -> Prepared:
    """Prepare it once."""
    return prepare(history, QUICK)


@pytest.fixture(scope="module")
def learners(prepared: Prepared) -> dict[str, Learner]:
    """Train all five for a moment."""
    torch.set_num_threads(1)
    made = {agent: new_learner(prepared, agent) for agent in AGENTS}
    for agent, learner in made.items():
        learner.train(1 if agent == "ppo" else QUICK.updates(agent))
    return made


def test_no_row_knows_a_later_bar(history: History) -> None:
    """Cutting the future off changes no feature of the past, bit for bit."""
    open_ns_T, prices_T4, volume_T = bars_of(1)
    cut = history_of(
        open_ns_T[:1_500],
        prices_T4[:1_500],
        volume_T[:1_500],
        interval_ns=HOUR_NS,
        feature_names=DEFAULT_FEATURE_NAMES,
        half_spread_frac=1e-4,
    )
    np.testing.assert_array_equal(cut.features_TF, history.features_TF[: len(cut)])


def test_a_row_is_paid_by_the_bar_that_follows(history: History) -> None:
    """The return of row t is that from its close to the next one; the newest is 0."""
    _, prices_T4, _ = bars_of(1)
    close_T = prices_T4[-len(history) :, 3]
    np.testing.assert_allclose(history.return_T[:-1], np.diff(np.log(close_T)))
    assert history.return_T[-1] == 0.0


def test_features_say_what_the_bars_say(history: History) -> None:
    """The one-bar return feature is the bar's own return, the close time its end."""
    place = DEFAULT_FEATURE_NAMES.index("return_1_bps")
    _, prices_T4, _ = bars_of(1)
    wanted_T = 1e4 * np.diff(np.log(prices_T4[:, 3]))[-len(history) :]
    np.testing.assert_allclose(history.features_TF[:, place], wanted_T, atol=0.5)
    assert history.close_ns_T[0] % HOUR_NS == 0


def test_longer_bars_hold_their_parts() -> None:
    """Four hours of hours: first open, extremes, last close, volume added; a gap is no bar."""
    open_ns_T, prices_T4, volume_T = bars_of(2, 40)
    keep = np.r_[0:20, 28:40]
    merged = merge_bars(open_ns_T[keep], prices_T4[keep], volume_T[keep], 4 * HOUR_NS)
    assert (merged[0] % (4 * HOUR_NS) == 0).all()
    assert merged[2].sum() == pytest.approx(volume_T[keep].sum())
    for begin, price_4, volume in zip(*merged, strict=True):
        inside = keep[(open_ns_T[keep] // (4 * HOUR_NS)) * (4 * HOUR_NS) == begin]
        assert price_4[0] == prices_T4[inside[0], 0]
        assert price_4[1] == prices_T4[inside, 1].max()
        assert price_4[2] == prices_T4[inside, 2].min()
        assert price_4[3] == prices_T4[inside[-1], 3]
        assert volume == pytest.approx(volume_T[inside].sum())


def test_the_judged_block_never_teaches(history: History, prepared: Prepared) -> None:
    """Other prices in the last block change neither normalisation nor forecast."""
    changed = make_history()
    split = int(len(changed) * 0.8)
    changed.return_T[split:] *= -3.0
    changed.features_TF[split:] += 50.0
    again = prepare(changed, QUICK)
    np.testing.assert_array_equal(again.normalisation.mean_F, prepared.normalisation.mean_F)
    np.testing.assert_array_equal(again.fitted.forecast.weight_F, prepared.fitted.forecast.weight_F)
    assert len(prepared.path.return_T) == split - QUICK.gap_bars
    assert len(prepared.judged) == len(history) - split


def test_changes_are_paid_for() -> None:
    """Position times the next return, less cost for every unit changed; from flat."""
    position_T = np.array([1, 1, -1, 0])
    cost_T = np.array([0.001, 0.009, 0.001, 0.002])
    found = net_returns(position_T, np.array([0.01, -0.02, 0.03, 0.5]), cost_T)
    np.testing.assert_allclose(found, [0.009, -0.02, -0.032, -0.002])


def test_a_widened_agent_answers_the_same(prepared: Prepared, learners: dict[str, Learner]) -> None:
    """Features, whatever they are, change nothing for an agent that was not taught on them."""
    narrow_BF = torch.from_numpy(np.repeat(prepared.path.rows_TF[:50], 3, axis=0))
    held_B3 = torch.eye(3).repeat(50, 1)
    features_BF = 5.0 * torch.rand(150, len(DEFAULT_FEATURE_NAMES)) - 2.5
    for agent, learner in learners.items():
        learner.net.eval()
        wide = widen(agent, learner.net, len(DEFAULT_FEATURE_NAMES))
        with torch.no_grad():
            wanted = learner.net(torch.cat((narrow_BF, held_B3), dim=1))
            found = wide(torch.cat((features_BF, narrow_BF, held_B3), dim=1))
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_the_bundle_loads_with_its_forecast(
    tmp_path: Path, history: History, prepared: Prepared, learners: dict[str, Learner]
) -> None:
    """It verifies, runs compiled, repeats the filter's posterior, and says where it comes from."""
    recipe = recipe_of(
        prepared,
        history,
        widen_team(learners, len(DEFAULT_FEATURE_NAMES)),
        name="tried",
        status="trained on drawn bars",
        created_ns=5,
        expires_ns=None,
        provenance={"data_sha256": "0" * 64},
    )
    write_bundle(tmp_path / "tried", recipe)
    bundle = load(tmp_path / "tried", DEFAULT_FEATURE_NAMES, now_ns=10)
    assert bundle.manifest.provenance == {"data_sha256": "0" * 64}
    assert {entry.name for entry in bundle.manifest.files} > set(part_names(AGENTS))
    forecast = Forecast.from_tables(bundle.tables, len(DEFAULT_FEATURE_NAMES))
    np.testing.assert_array_equal(forecast.weight_F, prepared.fitted.forecast.weight_F)
    judgement = Runtime(bundle, form="compiled").decide(recipe.obs_BF[:40], recipe.held_BA[:40])
    assert judgement.healthy_BA.all()
    np.testing.assert_allclose(judgement.regime_BK, 1 / 7, atol=1e-5)
    np.testing.assert_array_equal(judgement.predicted_BA, 0.0)


def test_verdicts_come_with_their_error(prepared: Prepared, learners: dict[str, Learner]) -> None:
    """An agent's Sharpe has the error of its years; one that never trades has none."""
    verdict = judge(prepared, learners["d3qn"].net)
    years = len(prepared.judged) / 8_766
    assert verdict.sharpe_error == pytest.approx(years**-0.5)
    flat = torch.nn.Linear(prepared.path.input_count, 3)
    with torch.no_grad():
        flat.weight.zero_()
        flat.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
    assert judge(prepared, flat).sharpe is None


def test_a_training_goes_on_where_it_was_left(tmp_path: Path, prepared: Prepared) -> None:
    """Interrupted and continued equals one go; another plan's checkpoint is refused."""
    whole, first, second = (new_learner(prepared, "rainbow") for _ in range(3))
    whole.train(4)
    first.train(2)
    plan = {"seed": 7}
    assert not read_checkpoint(tmp_path, first, plan)
    write_checkpoint(tmp_path, first, plan)
    assert read_checkpoint(tmp_path, second, plan)
    second.train(2)
    for name, tensor in whole.snapshot().tensors.items():
        assert torch.equal(second.snapshot().tensors[name], tensor), name
    with pytest.raises(CheckpointError, match="another plan"):
        read_checkpoint(tmp_path, second, {"seed": 8})
    (tmp_path / "rainbow.2.safetensors").write_bytes(b"short")
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(tmp_path, second, plan)


def test_what_cannot_teach_is_refused(history: History) -> None:
    """Too few bars, prices that never move, plans without sense."""
    with pytest.raises(ValueError, match="features need"):
        make_history(bars=20)
    with pytest.raises(ValueError, match="too few"):
        prepare(history.part(0, 400), QUICK)
    still = make_history()
    still.return_T[:] = 0.0
    with pytest.raises(ValueError, match="never move"):
        prepare(still, QUICK)
    with pytest.raises(ValueError, match="fee_frac"):
        TrainingPlan(fee_frac=-1.0)
    with pytest.raises(ValueError, match="validation_frac"):
        TrainingPlan(validation_frac=0.9)
    with pytest.raises(ValueError, match="effort_frac"):
        TrainingPlan(effort_frac=0.0)
