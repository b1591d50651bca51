"""What the live page shows of the past: a ring of samples in columns, and the newest fills."""

from __future__ import annotations

from daemon.dashboard.history import FILLS_MAX, History
from daemon.effects import SendOrder
from daemon.meta_memory import expert_names
from kernels.events import Fill
from tests.fakes.scripted_engine import (
    INSTRUMENT,
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

MS = 1_000_000


def test_what_is_unknown_goes_out_as_null_and_the_rest_as_it_was() -> None:
    """Before the market: no price, no regime; after it: mid, regime, weights and account."""
    engine = make_engine(ScriptedJudge())
    names = expert_names(engine.decider.agent_names)
    history = History((INSTRUMENT,), names, samples_max=10)
    assert history.newest_ms() == 0
    history.add(engine, START)
    warm(engine, 4)
    history.add(engine, START + 5 * S)
    words = history.words()
    assert words["t_ms"] == [START // MS, (START + 5 * S) // MS]
    symbol = INSTRUMENT.symbol
    mid_quote = engine.markets[0].mid_ticks * INSTRUMENT.tick_size
    assert words["mid"][symbol] == [None, mid_quote]
    assert words["regime"][symbol] == [None, engine.history[-1].regime]
    assert [column[1] for column in words["weights"].values()] == [
        round(weight, 4) for weight in engine.weights_N.tolist()
    ]
    assert list(words["weights"]) == list(names)
    assert words["equity"][1] == engine.desk.ledger.equity_quote_e8 / 1e8
    assert words["drawdown"][1] == engine.desk.ledger.drawdown_frac


def test_only_the_newest_samples_stay_and_only_later_ones_are_sent() -> None:
    """Of 25 seconds in a ring of ten the last ten are told; after one of them, what followed."""
    engine = make_engine(ScriptedJudge())
    history = History((INSTRUMENT,), ("d3qn",), samples_max=10)
    for number in range(25):
        fold(engine, second(number, bid_ticks=600_000 + number))
        history.add(engine, START + number * S)
    times_ms = [(START + number * S) // MS for number in range(15, 25)]
    words = history.words()
    assert words["t_ms"] == times_ms
    mids = words["mid"][INSTRUMENT.symbol]
    assert mids == sorted(mids)
    assert len(set(mids)) == 10
    assert history.newest_ms() == times_ms[-1]
    assert history.words(after_ms=times_ms[6])["t_ms"] == times_ms[7:]
    assert history.words(after_ms=times_ms[-1])["t_ms"] == []


def test_a_fill_is_shown_once_and_the_oldest_are_forgotten() -> None:
    """Told twice it counts once; beyond the bound only the newest are kept, the count goes on."""
    engine = make_engine(ScriptedJudge())
    (send,) = of(warm(engine, 4), SendOrder)
    (first,) = (event for event in fill_of(send, START + 4 * S) if isinstance(event, Fill))
    history = History((INSTRUMENT,), ("d3qn",), samples_max=10)
    history.add_fill(first)
    history.add_fill(first)
    assert history.fill_count == 1
    for number in range(FILLS_MAX + 5):
        history.add_fill(_renumbered(first, first.trade_id + 1 + number))
    assert history.fill_count == FILLS_MAX + 6
    fills = history.words()["fills"]
    assert len(fills) == FILLS_MAX
    assert len(history.words(after_fill=FILLS_MAX + 4)["fills"]) == 2


def _renumbered(fill: Fill, trade_id: int) -> Fill:
    words = {name: getattr(fill, name) for name in Fill.__dataclass_fields__}
    return Fill(**(words | {"trade_id": trade_id}))
