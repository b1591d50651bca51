"""``metaensemble bench`` from the command line, and that its baselines give the same answers."""

from __future__ import annotations

import asyncio
import hmac
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon import cli
from daemon.bench import decision_stages, feature_stage
from daemon.bench.bench_bars import BAR_NS, LOT_SIZE, TICK_SIZE, bar_market
from daemon.bench.bench_frames import synthetic_frames
from daemon.bench.feed_stage import feed_stage
from daemon.bench.market_stages import book_stage
from daemon.bench.prototype import Prototype
from daemon.bench.tick_stage import SECRET, START_NS, TickRig, tick_stage
from kernels.events import DepthDiff, Quote, Trade
from kernels.features import DEFAULT_FEATURE_NAMES, FeatureEngine

CAPTURE = (
    Path(__file__).resolve().parents[4] / "shared/data/captures/binance_usdm_btcusdt_20240808.gz"
)


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Run the command and return its JSON."""
    assert cli.main(["bench", "--rounds", "3", "--json", *arguments]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_json_says_what_machine_and_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    """The answer holds machine, load, versions, floor, timings and findings of each stage."""
    document = ask(capsys, "--only", "journal,gate")
    assert document["schema"] == 1
    assert list(document["stages"]) == ["gate", "journal"]
    assert len(document["load_before"]) == len(document["load_after"]) == 3
    assert document["machine"]["versions"]["numba"]
    for stage in document["stages"].values():
        names = [timing["name"] for timing in stage["timings"]]
        assert names[0].startswith("floor: ")
        for timing in stage["timings"]:
            assert timing["mean_ns"] > 0
            assert len(timing["p50_by_round_ns"]) == 3
        assert stage["findings"]


def test_page_for_people_names_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json tables come out, with the load beside the figures."""
    assert cli.main(["bench", "--rounds", "3", "--only", "gate"]) == 0
    page = capsys.readouterr().out
    assert "gate, one intent beside 20 orders" in page
    assert "load " in page


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--only", "fish"], "no stage fish"),
        (["--rounds", "2"], "3 to 99"),
        (["--rounds", "many"], "3 to 99"),
        (["--capture", "/nowhere/at/all"], "no such file"),
        (["--only", "capture"], "needs --capture FILE"),
        (["--only", "capture", "--capture", __file__], "does not start with 19 digits"),
    ],
)
def test_refused_input_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    """What cannot be timed is refused with code 2 and a line that says why."""
    assert cli.main(["bench", *arguments]) == 2
    said = capsys.readouterr()
    assert reason in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


@pytest.mark.skipif(not CAPTURE.is_file(), reason="the recorded captures are not here")
def test_recording_is_folded_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """All 93,954 records pass, and the book equals the quote wherever both carry one id."""
    facts = ask(capsys, "--only", "capture", "--capture", str(CAPTURE))["stages"]["capture"][
        "facts"
    ]
    assert facts["records"] == 93_954
    assert facts["depth updates applied"] == 6_547
    assert facts["book tops equal at the same update id"] > 400


def test_frames_are_of_every_kind_and_in_order() -> None:
    """The synthetic frames hold quotes, trades and depth, received in order."""
    frames = synthetic_frames(800, START_NS)
    assert len(frames.frames) == 800
    assert all(len(frames.of_kind(kind)) > 20 for kind in (Quote, Trade, DepthDiff))
    times = [frame.received_ns for frame in (*frames.earlier, *frames.frames)]
    assert len(times) == 1_600
    assert times == sorted(times)
    assert [frame.text for frame in synthetic_frames(800, START_NS).frames] == [
        frame.text for frame in frames.frames
    ]


def test_tap_and_ccxt_agree_on_the_same_frames() -> None:
    """Both sides end at the same touch and the same book: their costs may be compared."""

    async def build() -> tuple[list[str], list[str]]:
        frames = synthetic_frames(1_500, START_NS)
        stage, rig = feed_stage(frames)
        books = book_stage(frames, rig)
        await rig.venue.close()
        return [form.name for form in stage.forms], [form.name for form in books.forms]

    feed, book = asyncio.run(build())
    assert len(feed) == 12
    assert len(book) == 3


def test_pandas_agrees_on_thousand_bars() -> None:
    """34 features recomputed by pandas equal the engine's; the form exists only then."""
    pytest.importorskip("pandas", reason="the extra bench is not installed")
    _, count = feature_stage._pandas_form()
    assert count == 34


def test_talipp_agrees_on_shared_indicators() -> None:
    """The incremental library's seven values equal the engine's on the same bars."""
    pytest.importorskip("talipp", reason="the extra bench is not installed")
    _, count = feature_stage._talipp_forms()
    assert count == 7


def test_bars_are_what_the_engine_saw() -> None:
    """The columns that the baselines get are the bars that the engine closed."""
    market = bar_market(60)
    engine = FeatureEngine(DEFAULT_FEATURE_NAMES, BAR_NS, TICK_SIZE, LOT_SIZE)
    market.fill(engine)
    values = dict(zip(engine.names, engine.values_F.tolist(), strict=True))
    closes = market.close_ticks
    assert engine.bar_count == 60
    assert values["return_1_bps"] == pytest.approx(1e4 * np.log(closes[-1] / closes[-2]), abs=1e-9)
    assert (market.high_ticks >= market.low_ticks).all()


def test_ensemble_is_compared_with_itself() -> None:
    """Both runtimes and plain torch answer alike, or the stage refuses to be built."""
    stage = decision_stages.ensemble_stage()
    assert [form.name for form in stage.forms] == [
        f"{form}, B={rows}"
        for rows in (1, 64, 1_024)
        for form in ("plain torch eager", "script", "compiled")
    ]
    assert all(len(row[0]) == 64 for row in stage.forms[4].rows)


async def test_every_tick_becomes_a_signed_order() -> None:
    """What is timed as tick to order ends in a request whose signature the venue would accept."""
    with TickRig() as rig:
        stage = tick_stage(rig)
        assert stage.facts["orders"] >= 0.95 * stage.facts["ticks"]  # type: ignore[operator]  # both are numbers
        tick = rig.ticks[0]
        rig.reset()
        rig.prepare(tick)
        words = json.loads(rig.tick(tick))
        theirs = json.loads(Prototype(rig.frames, "k", "s").tick(tick.frame.text, START_NS))
        await rig.venue.close()
    params = words["params"]
    signature = params.pop("signature")
    query = "&".join(f"{name}={params[name]}" for name in sorted(params))
    assert signature == hmac.new(SECRET.encode(), query.encode(), "sha256").hexdigest()
    assert words["method"] == theirs["method"] == "order.place"
    assert params["symbol"] == theirs["params"]["symbol"] == "BTCUSDT"


def test_journal_rig_leaves_nothing_behind(tmp_path: Path) -> None:
    """Journals and files of a timing are gone with it."""
    with decision_stages.JournalRig(tmp_path) as rig:
        rig.reopen("ring")
        rig.record("ring", (("me-000000000001-0", decision_stages.small_intent(0), 1),))
        rig.reopen("ring")
        rig.append(is_synced=True)
        assert os.listdir(tmp_path)
    assert os.listdir(tmp_path) == []
