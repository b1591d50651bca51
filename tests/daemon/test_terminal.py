"""The terminal view: every number of the snapshot appears, and nothing can break the drawing."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from rich.console import Console

from daemon.dashboard.terminal import InstrumentView, RunView, TerminalView, render
from daemon.metrics import Metrics
from kernels.events import AGENTS, REGIMES, Verdict

VIEW = RunView(
    run_id="0abcdefghijk",
    mode="sim",
    venue="sim",
    preset="balanced",
    breaker="NORMAL",
    elapsed_s=3_725.9,
    remaining_s=59.0,
    equity_quote=100_012.3456,
    drawdown_frac=0.0123,
    day_loss_frac=0.004,
    fees_quote=7.25,
    decision_count=1_234,
    event_count=5_678_901,
    lost_count=0,
    alert_count=3,
    instruments=(
        InstrumentView(
            symbol="BTC/USDT:USDT",
            verdict=Verdict.OK,
            bid_quote=59_999.9,
            ask_quote=60_000.1,
            mark_quote=60_000.5,
            position_base=-0.125,
            notional_quote=-7_500.0,
            target_frac=-0.5,
            open_order_count=2,
        ),
        InstrumentView(symbol="ETH/USDT:USDT", verdict=Verdict.STALE),
    ),
    regime_K=(0.5, 0.2, 0.1, 0.1, 0.05, 0.04, 0.01),
    expert_names=AGENTS,
    weights_N=(0.6, 0.1, 0.1, 0.1, 0.1),
    orders={"sent": 12, "filled": 11},
    log_lines=("\x1b[31merror\x1b[0m ME407 order_unknown [bold]not markup[/bold]",),
)


def _drawn(view: RunView, width: int = 140) -> str:
    console = Console(file=io.StringIO(), width=width, height=60, force_terminal=False)
    with console.capture() as capture:
        console.print(render(view))
    return capture.get()


def test_every_value_is_shown() -> None:
    """Mode, time, money, feeds, quotes, positions, beliefs, orders and log are all there."""
    text = _drawn(VIEW)
    for part in (
        "0abcdefghijk",
        "sim on sim, preset balanced, running 1:02:05, 0:00:59 left   NORMAL",
        "equity 100,012.35   drawdown 1.23%   today -0.40%   fees 7.25",
        "events 5,678,901   decisions 1,234   lost 0   alerts 3",
        "STALE",
        "59,999.90",
        "60,000.10",
        "0.03",  # 0.2 on 60,000 in bps
        "-0.125000",
        "-7,500.00",
        "-0.50",
        "[bold]not markup[/bold]",
    ):
        assert part in text, part
    for name in (*REGIMES, *AGENTS):
        assert name in text, name
    lines = text.splitlines()
    assert any("trending_bull" in line and "█" * 10 + "·" * 10 in line for line in lines)
    assert any("d3qn" in line and "60.0%" in line for line in lines)
    assert any("sent" in line and "12" in line for line in lines)


def test_unknown_values_are_dashes() -> None:
    """Before the first quote and the first decision there is a dash, not a zero or nan."""
    view = replace(VIEW, regime_K=(), weights_N=(), equity_quote=math.nan, remaining_s=None)
    text = _drawn(view)
    assert "nan" not in text.replace("instrument", "")
    assert "equity -" in text
    assert "no end" in text
    (line,) = (line for line in text.splitlines() if "ETH" in line)
    assert line.split()[2:6] == ["-"] * 4


def test_latency_is_in_readable_units() -> None:
    """Stages that happened are shown with units, the others are left out."""
    metrics = Metrics()
    for duration_ns in (90, 1_500, 2_500_000, 3_000_000_000):
        metrics.record("gate", duration_ns)
    text = _drawn(replace(VIEW, latency=metrics.summary()))
    (line,) = (line for line in text.splitlines() if "gate" in line)
    assert line.split() == ["gate", "4", "1.5", "us", *["3.0", "s"] * 3]
    assert "tick_to_order" not in text


NUMBER = st.floats(allow_nan=True, allow_infinity=True)


@given(
    NUMBER, NUMBER, NUMBER, st.lists(NUMBER, max_size=9), st.text(max_size=60), st.integers(30, 200)
)
@budget(max_examples=40, deadline=None)
def test_any_snapshot_can_be_drawn(
    bid: float, position: float, share: float, beliefs: list[float], text: str, width: int
) -> None:
    """No number and no text from outside breaks the drawing, however narrow the terminal."""
    one = InstrumentView(
        symbol=text, verdict=Verdict.GAP, bid_quote=bid, ask_quote=bid, position_base=position
    )
    view = replace(
        VIEW,
        instruments=(one,),
        drawdown_frac=share,
        regime_K=beliefs,
        weights_N=beliefs,
        log_lines=(text, "\x1b]8;;x\x07" + text),
        orders={text: 1},
    )
    assert _drawn(view, width)


def test_screen_is_taken_and_given_back() -> None:
    """The alternate screen is entered, drawn on and left again, also after an error."""
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=120, height=50)

    def fail_while_drawing() -> None:
        with TerminalView(console) as terminal:
            terminal.update(VIEW)
            terminal.update(replace(VIEW, breaker="HALTED"))
            raise RuntimeError("the run failed")

    with pytest.raises(RuntimeError, match="the run failed"):
        fail_while_drawing()
    text = output.getvalue()
    assert text.index("\x1b[?1049h") < text.index("NORMAL") < text.index("HALTED")
    assert text.rindex("\x1b[?1049l") > text.rindex("HALTED")
