"""The whole daemon against the simulated exchange: real processes, sockets, ccxt, SQLite."""

from __future__ import annotations

import gzip
import json
import os
import signal
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kernels.events import AGENTS, REGIMES
from tests.fakes.daemon_process import (
    ROOT,
    Ended,
    ended,
    replay_run,
    rest_of,
    run_daemon,
    run_until,
    running_daemon,
    wait_for_event,
)
from tests.fakes.recording import recording_lines, write_recording

CAPTURE = ROOT.parent / "shared/data/captures/binance_usdm_btcusdt_20240808.gz"
SUMMARY_KEYS = {
    "schema": int,
    "run_id": str,
    "mode": str,
    "venue": str,
    "instruments": list,
    "duration_s": float,
    "exit": str,
    "events": dict,
    "feed": dict,
    "decisions": int,
    "orders": dict,
    "position_lots": dict,
    "venue_position_lots": dict,
    "equity_quote": str,
    "fees_quote": str,
    "drawdown_frac": float,
    "regime_share": dict,
    "weights": dict,
    "latency_ns": dict,
    "model": dict,
    "settings_sha256": str,
    "restarts": int,
    "breaker": str,
    "alerts": list,
}
NESTED_KEYS = {
    "events": {"depth", "trade", "quote", "user", "lost", "conflated"},
    "feed": {"gaps", "resyncs", "reconnects", "not_ok_ns"},
    "orders": {
        *("intents", "approved", "denied", "sent", "filled", "partially_filled"),
        *("cancelled", "rejected", "unknown", "open_at_end"),
    },
    "regime_share": set(REGIMES),
    "weights": set(AGENTS),
    "latency_ns": {
        *("decode", "book", "features", "decide", "gate", "journal", "send"),
        *("tick_to_order", "data_age"),
    },
    "model": {"bundle", "sha256", "runtime"},
}


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Path]:
    """One run on the synthetic market, shared by the tests that look at it."""
    directory = tmp_path_factory.mktemp("synthetic")
    return run_daemon(directory, "--for", "20s"), directory


def summary_of(run: Ended) -> dict[str, Any]:
    assert run.exit_code == 0, run.stderr[-3000:]
    assert run.summary is not None
    return run.summary


def test_summary_has_every_key_of_the_contract(synthetic: tuple[Ended, Path]) -> None:
    """Benchmarks and acceptance checks read these keys; none may vanish or change its type."""
    summary = summary_of(synthetic[0])
    for key, kind in SUMMARY_KEYS.items():
        assert isinstance(summary[key], kind), key
    for key, names in NESTED_KEYS.items():
        assert names <= set(summary[key]), key
    for figures in summary["latency_ns"].values():
        assert set(figures) == {"count", "p50", "p99", "p999", "max"}


def test_trades_the_synthetic_market_and_agrees_with_the_exchange(
    synthetic: tuple[Ended, Path],
) -> None:
    """Decisions are taken, orders fill, nothing is lost, and the venue's books equal ours."""
    summary = summary_of(synthetic[0])
    assert summary["exit"] == "clean"
    assert summary["decisions"] > 0
    assert summary["orders"]["filled"] > 0
    assert summary["orders"]["open_at_end"] == 0
    assert summary["events"]["lost"] == summary["feed"]["gaps"] == 0
    assert summary["feed"]["book_tops_checked"] > 50
    assert summary["feed"]["book_tops_different"] == 0
    assert summary["position_lots"] == summary["venue_position_lots"]
    exchange = summary["exchange"]
    assert summary["position_lots"] == exchange["position_lots"]
    assert summary["fees_quote"] == exchange["fees_quote"]
    assert max(summary["weights"].values()) <= 0.6 + 1e-12
    assert sum(summary["weights"].values()) == pytest.approx(1.0, abs=1e-9)


def test_every_event_that_the_exchange_sent_was_counted(synthetic: tuple[Ended, Path]) -> None:
    """What left the exchange's socket arrived at the engine's door, stream by stream."""
    summary = summary_of(synthetic[0])
    sent: Counter[str] = Counter()
    for stream, count in summary["exchange"]["frames_sent"].items():
        sent[stream.partition("@")[2].partition("@")[0] or stream] += count
    events = summary["events"]
    late = 200  # frames between the last drain and the closing of the socket
    for name, stream in (("depth", "depth"), ("trade", "trade"), ("quote", "bookTicker")):
        assert sent[stream] - late <= events[name] <= sent[stream], (name, summary["exchange"])


def test_log_lines_have_codes_and_no_secret(synthetic: tuple[Ended, Path]) -> None:
    """Every line of stderr is one JSON event with a stable code and the run's id."""
    run = synthetic[0]
    assert len(run.lines) == len(run.stderr.splitlines())
    for line in run.lines:
        assert line["code"].startswith("ME")
        assert line["run_id"] == summary_of(run)["run_id"]
        assert isinstance(line["event_ns"], int)
    names = [line["event"] for line in run.lines]
    assert names.index("run_started") < names.index("run_ready") < names.index("run_stopped")
    assert "secret" not in run.stderr.lower()
    assert "signature" not in run.stderr.lower()


def test_journal_holds_every_intent_before_its_order(synthetic: tuple[Ended, Path]) -> None:
    """Intents, fills and decisions can be queried, and the run is marked as closed."""
    run, directory = synthetic
    summary = summary_of(run)
    with sqlite3.connect(directory / "sim" / "journal.sqlite") as journal:
        intents = {row[0] for row in journal.execute("SELECT client_order_id FROM intents")}
        assert len(intents) == summary["orders"]["approved"]
        (decisions,) = journal.execute("SELECT count(*) FROM decisions").fetchone()
        assert decisions == summary["decisions"]
        (closed_ns,) = journal.execute("SELECT closed_ns FROM runs").fetchone()
        assert closed_ns
    journal.close()
    sent = {line["client_order_id"] for line in run.events("order_sent")}
    assert sent == intents


def test_recorded_run_replays_bit_for_bit_in_another_process(
    synthetic: tuple[Ended, Path],
) -> None:
    """Every event that came in and every answer to it is in the log, and comes out again."""
    run, directory = synthetic
    summary = summary_of(run)
    compared = replay_run(directory)
    assert compared["equal"] is True, compared["difference"]
    assert compared["ending"] == "closed"
    assert compared["run_id"] == summary["run_id"]
    assert compared["decisions"] == summary["decisions"]
    assert compared["orders"] == summary["orders"]["sent"]
    assert compared["hashes"] > 5 * 10


def test_own_recording_is_traded_without_loss(tmp_path: Path) -> None:
    """A recording made by the project replays whole, at ten times its speed."""
    lines = recording_lines(6_000)
    capture = write_recording(tmp_path / "made.gz", lines)
    run = run_daemon(tmp_path, "--capture", str(capture), "--speed", "10", "--for", "9s")
    summary = summary_of(run)
    wanted = Counter(
        name
        for line in lines
        for name in ("depth", "trade", "bookTicker")
        if f"@{name}".encode() in line
    )
    assert summary["instruments"] == ["BTC/USDT:USDT"]
    assert summary["events"]["depth"] == wanted["depth"]
    assert summary["events"]["trade"] == wanted["trade"]
    assert summary["events"]["quote"] == wanted["bookTicker"]
    assert summary["events"]["lost"] == summary["feed"]["gaps"] == 0
    assert summary["position_lots"] == summary["venue_position_lots"]
    assert run.events("instruments_absent")[0]["absent"] == ["ETH/USDT:USDT"]
    compared = replay_run(tmp_path)
    assert compared["equal"] is True, compared["difference"]
    assert compared["events"]["Trade"] == wanted["trade"]


def test_run_without_a_time_ends_with_its_recording(tmp_path: Path) -> None:
    """A recording that has been played to its end ends the run, in order and by itself."""
    capture = write_recording(tmp_path / "short.gz", recording_lines(1_500))
    run = run_daemon(tmp_path, "--capture", str(capture), "--speed", "10")
    summary = summary_of(run)
    assert summary["exit"] == "clean"
    assert run.events("run_stopping")[0]["reason"] == "the recording has ended"
    assert summary["exchange"]["source_finished"] is True
    assert summary["position_lots"] == summary["venue_position_lots"]


def test_the_shipped_bundle_trades_what_it_was_trained_on(tmp_path: Path) -> None:
    """Without a word about models the trained ones decide, and find a trend worth its costs."""
    words = ("--set", "model.bundle=", "--market", "trending", "--speed", "5", "--for", "300s")
    run = run_until(tmp_path, "order_filled", *words)
    summary = summary_of(run)
    assert summary["model"]["bundle"] == "default"
    assert summary["orders"]["filled"] > 0
    assert summary["position_lots"] == summary["venue_position_lots"]


@pytest.mark.skipif(not CAPTURE.exists(), reason="needs the shared recordings")
def test_real_recording_is_traded_at_prices_that_existed(tmp_path: Path) -> None:
    """On recorded BTCUSDT nothing is lost and every fill lies inside the recorded range."""
    run = run_until(tmp_path, "order_filled", "--capture", str(CAPTURE), "--for", "120s")
    summary = summary_of(run)
    played = summary["exchange"]["frames_played"]
    counts: Counter[str] = Counter()
    prices: list[float] = []
    with gzip.open(CAPTURE, "rt") as recording:
        for number, line in enumerate(recording):
            if number >= played:
                break
            document = json.loads(line.split(" ", 1)[1])
            frame = document.get("data", {})
            counts[frame.get("e", "")] += 1
            if frame.get("e") == "bookTicker":
                prices += [float(frame["b"]), float(frame["a"])]
    events = summary["events"]
    late = 300
    assert counts["depthUpdate"] - late <= events["depth"] <= counts["depthUpdate"]
    assert counts["trade"] - late <= events["trade"] <= counts["trade"]
    assert counts["bookTicker"] - late <= events["quote"] <= counts["bookTicker"]
    assert summary["feed"]["book_tops_different"] == 0
    assert summary["orders"]["filled"] > 0
    fills = [float(line["price"]) for line in run.events("order_filled")]
    assert min(prices) <= min(fills)
    assert max(fills) <= max(prices)
    compared = replay_run(tmp_path)
    assert compared["equal"] is True, compared["difference"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_signal_cancels_what_rests_and_ends_within_five_seconds(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    """A stop leaves no order behind, closes the journal and is quick."""
    longest = ("passive_ms_max", "requote_ms", "working_ms_max")
    rests = [f"--set=execution.{name}=60000" for name in longest]
    with running_daemon(tmp_path, "--set=execution.style=passive", *rests) as process:
        wait_for_event(process, "order_acknowledged")
        asked_s = time.monotonic()
        process.send_signal(number)
        stdout, stderr = rest_of(process)
        took_s = time.monotonic() - asked_s
    run = ended(process.returncode, stdout, stderr)
    assert run.exit_code == code
    assert took_s < 5.0
    assert run.summary is not None
    assert run.summary["exit"] == "clean"
    assert run.summary["orders"]["open_at_end"] == 0
    assert run.summary["exchange"]["orders"]["open"] == 0
    with sqlite3.connect(tmp_path / "sim" / "journal.sqlite") as journal:
        assert journal.execute("SELECT closed_ns FROM runs").fetchone()[0]
    journal.close()


def test_second_signal_stops_at_once(tmp_path: Path) -> None:
    """Whoever presses Ctrl-C twice does not wait: nothing is proven, summed up or said goodbye."""
    with running_daemon(tmp_path) as process:
        wait_for_event(process, "run_ready")
        process.send_signal(signal.SIGINT)
        wait_for_event(process, "run_stopping")  # two at once would be one to the kernel
        process.send_signal(signal.SIGINT)
        stdout, stderr = rest_of(process)
    run = ended(process.returncode, stdout, stderr)
    assert run.exit_code == 130
    assert len(run.events("shutdown_forced")) == 1
    assert run.events("run_stopped") == []
    assert run.summary is None


def test_killed_exchange_ends_the_run_with_an_alert(tmp_path: Path) -> None:
    """Without its exchange the daemon says so and stops; nothing hangs."""
    with running_daemon(tmp_path) as process:
        seen = wait_for_event(process, "run_ready")
        (started,) = [json.loads(line) for line in seen if '"exchange_started"' in line]
        signal_pid = int(started["pid"])
        assert Path(f"/proc/{signal_pid}/cmdline").read_bytes().count(b"daemon.simulated")
        os.kill(signal_pid, signal.SIGKILL)
        stdout, stderr = rest_of(process)
    run = ended(process.returncode, stdout, stderr)
    assert run.exit_code == 1
    assert run.events("exchange_exited")[0]["alert"] is True
