"""What orders cost, read from a journal; the model is judged as given and as fitted."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from daemon.cli import main
from daemon.cost_report import fit, report
from daemon.event_frames import MAGIC, RecordKind, frame
from daemon.event_log import DIRECTORY, SUFFIX
from daemon.event_words import encode
from daemon.executed_orders import NoOrdersError, executed_orders
from daemon.journal_tables import (
    INSERT_DECISION,
    INSERT_FILL,
    INSERT_INTENT,
    SCHEMA,
    decision_row,
    fill_row,
    intent_row,
)
from kernels.events import Fill, OrderIntent, OrderType, Side
from strategy.evaluation.cost_figures import ExecutedOrder
from strategy.evaluation.execution import Costs
from tests.fakes.recorded_run import make_facts

RUN = "000000000001"
MID_TICKS = 100_000
ORDERS = 40
FEE_BPS, PRICE_TICKS = 5.0, 2
"""Every fill is two ticks beyond the mid, 0.2 bps."""


def write_run(folder: Path, *, orders: int = ORDERS, undecided: int = 0) -> int:
    """Write a journal of buys and sells that fill in two parts; return a tick of a lot's value."""
    facts = make_facts(RUN)
    instrument = facts.instruments[0]
    value_e8 = instrument.tick_lot_quote_e8
    (folder / DIRECTORY).mkdir(parents=True)
    head = MAGIC + frame(RecordKind.FACTS, 0, encode(facts))
    (folder / DIRECTORY / f"{RUN}-000001{SUFFIX}").write_bytes(head)
    with closing(sqlite3.connect(folder / "journal.sqlite")) as journal:
        journal.executescript(SCHEMA)
        for n in range(orders + undecided):
            side = Side.BUY if n % 2 else Side.SELL
            decided_ns, name = 10**18 + n, f"me-{RUN}-{n}"
            intent = OrderIntent(
                sequence=n,
                instrument=0,
                side=side,
                quantity_lots=10,
                price_ticks=MID_TICKS,
                order_type=OrderType.IOC,
                reduce_only=False,
                decided_ns=decided_ns,
                reason="target",
                agent_share_A=(),
            )
            journal.execute(INSERT_INTENT, intent_row(name, RUN, instrument.symbol, intent, 1))
            if n < orders:
                row = decision_row(RUN, decided_ns, 0, lambda: {"mid_ticks": float(MID_TICKS)})
                journal.execute(INSERT_DECISION, row)
            price = MID_TICKS + int(side) * PRICE_TICKS
            for part, lots in enumerate((6, 3)):
                fill = Fill(
                    instrument=0,
                    event_ns=1,
                    received_ns=decided_ns + 2_000_000,
                    client_order_id=name,
                    trade_id=2 * n + part,
                    side=side,
                    price_ticks=price,
                    quantity_lots=lots,
                    fee_quote_e8=round(FEE_BPS * 1e-4 * MID_TICKS * lots * value_e8),
                    is_maker=part == 1,
                )
                journal.execute(INSERT_FILL, fill_row(RUN, fill))
        journal.commit()
    return value_e8


def test_every_order_is_measured_against_its_own_decision(tmp_path: Path) -> None:
    """Price and fee in bps, what did not fill, who made; orders without a decision are counted."""
    value_e8 = write_run(tmp_path, undecided=3)
    found = executed_orders(tmp_path)
    assert (found.runs, len(found.orders), found.undecided) == ((RUN,), ORDERS, 3)
    assert {round(order.price_bps, 9) for order in found.orders} == {0.2}
    assert found.orders[0].fee_bps == pytest.approx(FEE_BPS)
    assert found.orders[0].notional_quote == pytest.approx(MID_TICKS * 9 * value_e8 / 1e8)
    assert set(found.delays_ms) == {2.0}
    assert found.unfilled_frac == pytest.approx(0.1)
    assert found.maker_frac == pytest.approx(1.0 / 3.0)


def test_orders_without_a_value_are_not_priced(tmp_path: Path) -> None:
    """A run whose event log is gone is counted; a log that is none is refused."""
    write_run(tmp_path)
    (segment,) = (tmp_path / DIRECTORY).iterdir()
    segment.write_bytes(b"something else")
    with pytest.raises(NoOrdersError, match="does not say what was traded"):
        executed_orders(tmp_path)
    segment.unlink()
    found = executed_orders(tmp_path)
    assert (len(found.orders), found.unvalued) == (0, ORDERS)


def test_the_command_says_met_or_missed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """5.35 bps charged for 5.2 paid are met; twice as much is missed, with exit code 1."""
    write_run(tmp_path / "sim")
    assert main(["costs", str(tmp_path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["all"]["total"]["bps"] == pytest.approx(5.2)
    assert answer["all"]["error_frac"] == pytest.approx(5.35 / 5.2 - 1.0)
    assert main(["costs", str(tmp_path / "sim"), "--slippage-bps", "6"]) == 1
    assert "MISSED R8" in capsys.readouterr().out
    assert main(["costs", str(tmp_path / "sim"), "--half-ticks", "40"]) == 1  # a half one: 0.05 bps
    assert "7.25" in capsys.readouterr().out


def test_what_cannot_be_read_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No journal, two of them, and a file that is none; costs out of range."""
    assert main(["costs", str(tmp_path)]) == 2
    assert "holds no journal" in capsys.readouterr().err
    for mode in ("sim", "paper"):
        write_run(tmp_path / mode)
    assert main(["costs", str(tmp_path)]) == 2
    assert "holds 2 journals: name one" in capsys.readouterr().err
    (tmp_path / "text").write_text("no database")
    assert main(["costs", str(tmp_path / "text")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert main(["costs", str(tmp_path / "sim"), "--fee-bps", "-1"]) == 2


def test_the_fit_is_judged_on_later_orders() -> None:
    """What the earlier half shows is charged to the later one, which became dearer here."""
    orders = tuple(
        ExecutedOrder(
            symbol="BTC/USDT:USDT",
            notional_quote=100.0,
            price_bps=0.5 if n < 40 else 2.0,
            fee_bps=4.0,
            half_tick_bps=0.05,
        )
        for n in range(80)
    )
    fitted = fit(orders, Costs())
    assert fitted is not None
    assert fitted.costs.trade_frac == pytest.approx(4.5e-4)
    assert fitted.later.error_frac == pytest.approx(4.5 / 6.0 - 1.0)
    assert fitted.later.is_met is False
    assert fit(orders[:50], Costs()) is None


def test_the_report_is_json(tmp_path: Path) -> None:
    """By instrument and for all; nothing that JSON does not know."""
    write_run(tmp_path, orders=70)
    answer = report(executed_orders(tmp_path), Costs())
    json.dumps(answer, allow_nan=False)
    assert list(answer["instruments"]) == [make_facts(RUN).instruments[0].symbol]
    assert answer["fitted"]["later_half"]["error_frac"] == pytest.approx(0.0, abs=1e-6)
