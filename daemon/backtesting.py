"""``metaensemble backtest``: a bundle over bars, net of all costs; figures with their intervals."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from daemon.bar_files import BarFileError
from daemon.clock import SystemClock
from daemon.evaluation_inputs import Inputs, Opened, open_inputs
from daemon.exit_codes import EXIT_DONE, EXIT_REFUSED
from kernels.events import REGIMES
from strategy.bundle import BundleError
from strategy.evaluation.backtest import Backtest, listen, rebalancing, trade
from strategy.evaluation.figures import activity, measure
from strategy.evaluation.inference import sharpe_interval
from strategy.evaluation.trials import LedgerError, Trial, append_trial
from strategy.learning.training import use_one_thread


def run(inputs: Inputs, out: Path | None, *, as_json: bool) -> int:
    """Play the bars and say what came of it; 0 done, 2 refused with one line of reason."""
    use_one_thread()
    clock = SystemClock()
    began_ns = clock.monotonic_ns()
    try:
        opened = open_inputs(inputs, clock.now_ns())
        played = trade(listen(opened.runtime, opened.history), opened.plan)
        answer = summary(opened, played)
        answer["took_s"] = (clock.monotonic_ns() - began_ns) / 1e9
        append_trial(opened.ledger_path, _trial(opened, played, clock.now_ns(), answer))
        if out is not None:
            write_bars(out, played)
    except (BundleError, BarFileError, LedgerError, ValueError, OSError) as error:
        print(f"metaensemble: {error}", file=sys.stderr)
        return EXIT_REFUSED
    print(json.dumps(answer) if as_json else _lines(answer))
    return EXIT_DONE


def summary(opened: Opened, played: Backtest) -> dict[str, Any]:
    """Return everything that a report of one run begins with."""
    year_bars = played.year_bars
    interval = sharpe_interval(
        played.net_T, year_bars, np.random.default_rng(opened.plan.meta.meta_lookback)
    )
    followed, bars = played.followed, len(played)
    likeliest_T = np.argmax(played.posterior_TK, axis=1)
    return {
        "schema": 1,
        **asdict(opened.facts),
        "from_ns": int(played.close_ns_T[0]),
        "to_ns": int(played.close_ns_T[-1]) + played.bar_ns,
        "bar_s": played.bar_ns / 1e9,
        "costs": asdict(opened.plan.costs),
        "sharpe": None if interval is None else asdict(interval),
        "metrics": asdict(measure(played.net_T, year_bars)),
        "activity": asdict(activity(played.position_T, played.gross_T, played.cost_T, year_bars)),
        "rebalancing": asdict(rebalancing(played)),
        "weights_mean": dict(
            zip(followed.names, followed.weight_TN[:bars].mean(axis=0).tolist(), strict=True)
        ),
        "regime_share": {
            name: float(np.mean(likeliest_T == place)) for place, name in enumerate(REGIMES)
        },
        "log_wealth": float(followed.log_wealth_T[-1]),
        "beyond_clip": followed.beyond_clip,
        "runtime": opened.runtime.form,
    }


def write_bars(path: Path, played: Backtest) -> None:
    """Write what happened in every bar as arrays (npz); OSError where it cannot be written."""
    bars, followed = len(played), played.followed
    with open(path, "wb") as file:
        np.savez_compressed(
            file,
            close_ns=played.close_ns_T,
            equity=played.equity_T,
            position=played.position_T,
            gross=played.gross_T,
            cost=played.cost_T,
            net=played.net_T,
            posterior=played.posterior_TK,
            regimes=np.array(REGIMES),
            weights=followed.weight_TN[:bars],
            actions=followed.action_TN[:bars],
            experts=np.array(followed.names),
        )


def _trial(opened: Opened, played: Backtest, now_ns: int, answer: dict[str, Any]) -> Trial:
    return Trial(
        kind="backtest",
        created_ns=now_ns,
        config_sha256=opened.facts.config_sha256,
        bars_sha256=opened.facts.bars_sha256,
        commit=opened.facts.commit,
        seed=opened.facts.seed,
        sharpe=answer["metrics"]["sharpe"],
        bars=len(played),
    )


def _lines(answer: dict[str, Any]) -> str:
    found, sharpe, held = answer["metrics"], answer["sharpe"], answer["activity"]
    moved = answer["rebalancing"]
    lead = (
        "undefined"
        if sharpe is None
        else f"{sharpe['estimate']:+.2f} [{sharpe['low']:+.2f}, {sharpe['high']:+.2f}] (95 %)"
    )
    weights = ", ".join(f"{name} {value:.2f}" for name, value in answer["weights_mean"].items())
    return "\n".join(
        (
            f"{answer['bundle']} on {answer['bars_file']}: {found['bars']:,} bars of "
            f"{answer['bar_s']:g} s, {answer['took_s']:.1f} s",
            f"  annual Sharpe {lead}, net of all costs",
            f"  return {found['total_return']:+.2%}, deepest fall "
            f"{found['drawdown_frac_max']:.2%}, costs {held['cost_frac']:.2%} of equity",
            f"  exposure {held['exposure_frac']:.3f}, "
            f"turnover {held['turnover_per_year']:.0f} a year "
            f"({moved['without_band']:.0f} without the no-trade band; moving weights alone "
            f"ask {moved['by_weights']:.0f})",
            f"  mean weights: {weights}",
        )
    )
