"""An orderly stop does what ``execution.on_stop`` says, proven at the simulated exchange."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from daemon.effects import CancelAll, SendOrder
from kernels.events import Command, CommandName
from tests.fakes.daemon_process import replay_run, run_until
from tests.fakes.scripted_engine import (
    START,
    S,
    ScriptedJudge,
    fill_of,
    fold,
    make_engine,
    of,
    second,
    warm,
)


@pytest.mark.parametrize(
    ("name", "cancels", "closes"),
    [
        (CommandName.STOP, True, False),
        (CommandName.STOP_LEAVING, False, False),
        (CommandName.STOP_CLOSING, True, True),
    ],
)
def test_engine_stops_as_it_is_told(name: CommandName, cancels: bool, closes: bool) -> None:
    """No decision follows a stop; only the closing one sends, and only what reduces."""
    engine = make_engine(ScriptedJudge())
    (send,) = of(warm(engine, 4), SendOrder)
    fold(engine, fill_of(send, START + 4 * S - 5))
    stop = Command(received_ns=START + 4 * S, name=name, reason="test")
    effects = fold(engine, [stop])
    assert bool(of(effects, CancelAll)) is cancels
    effects += [effect for n in range(5, 8) for effect in fold(engine, second(n))]
    sent = of(effects, SendOrder)
    assert bool(sent) is closes
    assert all(each.approved.intent.reduce_only for each in sent)
    assert engine.is_stopping


@pytest.mark.parametrize("policy", ["leave", "flatten"])
def test_policy_holds_at_the_venue(tmp_path: Path, policy: str) -> None:
    """After ``flatten`` the venue says flat; every stop is clean, and that run replays equal.

    On the side: a port that is taken costs the page and nothing else, and without
    ``meta.real_time_monitoring`` there is no page at all.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = {"execution.on_stop": policy, "views.port": taken.getsockname()[1]}
        words["meta.real_time_monitoring"] = str(policy == "flatten").lower()
        chosen = [word for key, value in words.items() for word in ("--set", f"{key}={value}")]
        run = run_until(tmp_path, "order_filled", "--for", "90s", *chosen)
    assert run.exit_code == 0, run.stderr[-2000:]
    assert len(run.events("views_unavailable")) == (policy == "flatten")
    assert run.events("views_opened") == []
    summary = run.summary
    assert summary is not None
    assert summary["exit"] == "clean"
    assert summary["orders"]["filled"] > 0
    assert summary["position_lots"] == summary["venue_position_lots"]
    assert summary["breaker"] == "NORMAL"
    if policy == "flatten":
        assert set(summary["venue_position_lots"].values()) == {0}
        assert replay_run(tmp_path / "sim")["equal"] is True
