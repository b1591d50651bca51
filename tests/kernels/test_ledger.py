"""The ledger against a Decimal oracle, and its conservation laws, on random sequences."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.events import AccountState, Fill, Funding, Side
from kernels.ledger import LOTS_BOUND, NS_PER_DAY, Ledger, fold_fill, new_state
from kernels.units import E8, Instrument


def make_instrument(index: int, tick_size_e8: int, lot_size_e8: int) -> Instrument:
    """Build an instrument of which only the grid matters."""
    return Instrument(
        index=index,
        symbol=f"I{index}",
        venue_id=f"I{index}",
        tick_size_e8=tick_size_e8,
        lot_size_e8=lot_size_e8,
        lots_min=1,
        lots_max=10**9,
        notional_min_quote_e8=0,
        maker_fee_frac=0.0,
        taker_fee_frac=0.0,
    )


# BTC-like, ETH-like, and one whose lot is a whole coin of 1e-5 quote
INSTRUMENTS = (
    make_instrument(0, E8 // 10, E8 // 1000),
    make_instrument(1, E8 // 100, E8 // 1000),
    make_instrument(2, 1000, E8),
)
OPENING_E8 = 100_000 * E8


def make_fill(instrument: int, lots: int, price_ticks: int, fee_e8: int = 0) -> Fill:
    """Build a fill; negative lots are a sale."""
    return Fill(
        instrument=instrument,
        event_ns=0,
        received_ns=0,
        client_order_id="me-x",
        trade_id=1,
        side=Side.BUY if lots > 0 else Side.SELL,
        price_ticks=price_ticks,
        quantity_lots=abs(lots),
        fee_quote_e8=fee_e8,
        is_maker=False,
    )


def adopted(wallet_e8: int, *lots: int) -> AccountState:
    """Build the venue's account."""
    return AccountState(received_ns=0, wallet_quote_e8=wallet_e8, position_lots=lots)


@dataclass
class Oracle:
    """Average-cost accounting in Decimal coins and quote, written without looking at lots."""

    wallet: Decimal = Decimal(OPENING_E8) / E8
    position: list[Decimal] = field(default_factory=lambda: [Decimal(0)] * 3)
    cost: list[Decimal] = field(default_factory=lambda: [Decimal(0)] * 3)
    mark: dict[int, Decimal] = field(default_factory=dict)
    spent: Decimal = Decimal(0)
    realised: Decimal = Decimal(0)

    def fill(self, fill: Fill) -> None:
        """Book a fill, cutting the released cost to 1e-8 quote toward zero."""
        spec = INSTRUMENTS[fill.instrument]
        at = fill.instrument
        price = Decimal(spec.price_text(fill.price_ticks))
        amount = Decimal(spec.quantity_text(fill.quantity_lots)) * int(fill.side)
        held = self.position[at]
        if held * amount < 0:
            closed = min(abs(held), abs(amount)).copy_sign(held)
            share = (self.cost[at] * closed / held).quantize(Decimal("1e-8"), ROUND_DOWN)
            self.realised += closed * price - share
            self.wallet += closed * price - share
            self.cost[at] -= share
            self.position[at] -= closed
            amount += closed
        self.position[at] += amount
        self.cost[at] += amount * price
        fee = Decimal(fill.fee_quote_e8) / E8
        self.wallet -= fee
        self.spent += Decimal(spec.quantity_text(fill.quantity_lots)) * int(fill.side) * price + fee

    def unrealised(self) -> Decimal:
        """Value open positions at their marks; unmarked ones at cost."""
        return sum(
            (self.position[at] * mark - self.cost[at] for at, mark in self.mark.items()), Decimal(0)
        )

    def worth(self) -> Decimal:
        """Equity."""
        return self.wallet + self.unrealised()


STEP = st.one_of(
    st.tuples(
        st.just("fill"),
        st.integers(0, 2),
        st.integers(-500, 500).filter(bool),
        st.integers(1, 900_000),
        st.integers(-(10**6), 10**9),
    ),
    st.tuples(st.just("mark"), st.integers(0, 2), st.integers(1, 900_000)),
    st.tuples(st.just("funding"), st.integers(-(10**9), 10**9)),
    st.tuples(st.just("close"), st.integers(0, 2), st.integers(1, 900_000)),
)


def play(ledger: Ledger, oracle: Oracle, step: tuple[object, ...]) -> None:
    """Apply one random step to both."""
    match step:
        case ("fill", int(at), int(lots), int(price), int(fee)):
            fill = make_fill(at, lots, price, fee)
            ledger.apply_fill(fill)
            oracle.fill(fill)
        case ("close", int(at), int(price)) if ledger.position_lots(at):
            fill = make_fill(at, -ledger.position_lots(at), price)
            ledger.apply_fill(fill)
            oracle.fill(fill)
        case ("mark", int(at), int(price)):
            ledger.mark(at, price)
            oracle.mark[at] = Decimal(INSTRUMENTS[at].price_text(price))
        case ("funding", int(amount)):
            ledger.apply_funding(
                Funding(instrument=0, event_ns=0, received_ns=0, amount_quote_e8=amount)
            )
            oracle.wallet += Decimal(amount) / E8
            oracle.spent -= Decimal(amount) / E8


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=50))
def test_ledger_equals_decimal_oracle(steps: list[tuple[object, ...]]) -> None:
    """Position, cost, result, wallet, equity and peak equal the oracle's after every step."""
    ledger, oracle = Ledger(INSTRUMENTS, OPENING_E8), Oracle()
    peak = Decimal(OPENING_E8) / E8
    with localcontext() as context:
        context.prec = 60
        for step in steps:
            play(ledger, oracle, step)
            for at, spec in enumerate(INSTRUMENTS):
                lots = ledger.position_lots(at)
                assert Decimal(spec.quantity_text(lots)) == oracle.position[at]
                assert Decimal(ledger.entry_quote_e8(at)) / E8 == oracle.cost[at]
            assert Decimal(ledger.realised_quote_e8) / E8 == oracle.realised
            assert Decimal(ledger.unrealised_quote_e8) / E8 == oracle.unrealised()
            assert Decimal(ledger.wallet_quote_e8) / E8 == oracle.wallet
            assert Decimal(ledger.equity_quote_e8) / E8 == oracle.worth()
            peak = max(peak, oracle.worth())
            assert Decimal(ledger.peak_quote_e8) / E8 == peak
            held = [oracle.position[at] * mark for at, mark in oracle.mark.items()]
            held += [cost for at, cost in enumerate(oracle.cost) if at not in oracle.mark]
            assert Decimal(ledger.net_notional_quote_e8) / E8 == sum(held)
            assert Decimal(ledger.gross_notional_quote_e8) / E8 == sum(abs(each) for each in held)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=50))
def test_nothing_is_created_or_lost(steps: list[tuple[object, ...]]) -> None:
    """Wallet less cost basis is the opening less all that was ever paid, to the last 1e-8."""
    ledger, oracle = Ledger(INSTRUMENTS, OPENING_E8), Oracle()
    with localcontext() as context:
        context.prec = 60
        for step in steps:
            play(ledger, oracle, step)
            basis_e8 = sum(ledger.entry_quote_e8(at) for at in range(3))
            left = Decimal(ledger.wallet_quote_e8 - basis_e8) / E8
            assert left == Decimal(OPENING_E8) / E8 - oracle.spent
            for at in range(3):
                assert ledger.position_lots(at) or not ledger.entry_quote_e8(at)
            reading = ledger.read()
            assert reading.position_lots == [ledger.position_lots(at) for at in range(3)]
            assert [mark > 0 for mark in reading.mark_ticks] == [
                ledger.is_marked(at) for at in range(3)
            ]
            assert reading.equity_quote_e8 == ledger.equity_quote_e8
            assert reading.day_loss_frac == ledger.day_loss_frac
            assert reading.drawdown_frac == ledger.drawdown_frac


@pytest.mark.parametrize(
    ("fills", "position", "entry_e8", "realised_e8"),
    [
        ([(10, 600_000), (-4, 610_000)], 6, 6 * 600_000 * 10**4, 4 * 10_000 * 10**4),
        ([(10, 600_000), (-10, 590_000)], 0, 0, -10 * 10_000 * 10**4),
        ([(10, 600_000), (-15, 610_000)], -5, -5 * 610_000 * 10**4, 10 * 10_000 * 10**4),
        ([(-10, 600_000), (4, 590_000)], -6, -6 * 600_000 * 10**4, 4 * 10_000 * 10**4),
        # 1 at 1 tick and 2 at 2 ticks cost 50000; a third of it is 16666, the cut stays in the rest
        ([(1, 1), (2, 2), (-1, 3)], 2, 50_000 - 16_666, 30_000 - 16_666),
    ],
)
def test_hand_computed_fills(
    fills: list[tuple[int, int]], position: int, entry_e8: int, realised_e8: int
) -> None:
    """Reductions, closes, flips and an uneven share give the numbers computed by hand."""
    ledger = Ledger(INSTRUMENTS, OPENING_E8)
    for lots, price_ticks in fills:
        ledger.apply_fill(make_fill(0, lots, price_ticks))
    assert ledger.position_lots(0) == position
    assert ledger.entry_quote_e8(0) == entry_e8
    assert ledger.realised_quote_e8 == realised_e8


def test_shares_of_huge_positions_are_exact() -> None:
    """The proportional share needs more than 64 bits and still is exact."""
    state_S = new_state((1,), 0)
    size, price, closed = 2_999_999_999, 700_000_001, 1_999_999_999
    fold_fill(state_S, 0, size, price, 0)
    fold_fill(state_S, 0, 1, price + 1, 0)
    cost = size * price + price + 1
    fold_fill(state_S, 0, -closed, price, 0)
    ledger = Ledger((make_instrument(0, 1, E8),), 0)
    ledger.restore(state_S)
    assert ledger.entry_quote_e8(0) == cost - cost * closed // (size + 1)


def test_loss_measures_follow_peak_and_day() -> None:
    """Drawdown counts from the peak for ever, day loss from the equity at 00:00 UTC."""
    ledger = Ledger(INSTRUMENTS, OPENING_E8)
    day_ns = 20_000 * NS_PER_DAY
    ledger.roll_day(day_ns)
    ledger.apply_fill(make_fill(0, 1000, 600_000))
    ledger.mark(0, 700_000)
    assert ledger.equity_quote_e8 == 110_000 * E8
    ledger.mark(0, 600_000)
    assert ledger.drawdown_frac == pytest.approx(1 / 11)
    assert ledger.day_loss_frac == 0.0
    ledger.roll_day(day_ns + NS_PER_DAY - 1)
    ledger.mark(0, 540_000)
    assert ledger.day_loss_frac == pytest.approx(0.06)
    ledger.roll_day(day_ns + NS_PER_DAY)
    assert ledger.day_loss_frac == 0.0
    ledger.mark(0, 530_000)
    ledger.roll_day(day_ns)
    assert ledger.day_loss_frac == pytest.approx(1 / 94), "a clock that runs back forgave a loss"
    assert ledger.drawdown_frac == pytest.approx(17 / 110)


def test_no_equity_is_a_total_loss() -> None:
    """An account that never had equity measures as lost, so that limits close."""
    ledger = Ledger(INSTRUMENTS, 0)
    assert (ledger.drawdown_frac, ledger.day_loss_frac) == (1.0, 1.0)


def test_adoption_enters_at_the_mark() -> None:
    """Taking over a position changes no equity, and only the first one starts peak and day."""
    ledger = Ledger(INSTRUMENTS, 0)
    ledger.mark(0, 600_000)
    ledger.adopt(adopted(50_000 * E8, 100, 0, 0))
    assert ledger.is_adopted
    assert ledger.equity_quote_e8 == ledger.peak_quote_e8 == 50_000 * E8
    assert ledger.entry_quote_e8(0) == 100 * 600_000 * 10**4
    ledger.mark(0, 500_000)
    loss_frac = ledger.drawdown_frac
    ledger.adopt(adopted(50_000 * E8, 40, 0, 0))
    assert ledger.position_lots(0) == 40
    assert ledger.wallet_quote_e8 == 50_000 * E8
    assert ledger.peak_quote_e8 == 50_000 * E8
    assert 0.0 < ledger.drawdown_frac < loss_frac


@pytest.mark.parametrize("first", ["mark", "fill"])
def test_adoption_without_price_waits_for_one(first: str) -> None:
    """A position taken over before any price gets its cost from the first mark or fill."""
    ledger = Ledger(INSTRUMENTS, 0)
    ledger.adopt(adopted(50_000 * E8, -100, 0, 0))
    assert not ledger.is_marked(0)
    assert ledger.equity_quote_e8 == 50_000 * E8
    if first == "mark":
        ledger.mark(0, 600_000)
    else:
        ledger.apply_fill(make_fill(0, 1, 600_000))
        ledger.apply_fill(make_fill(0, -1, 600_000))
        ledger.mark(0, 600_000)
    assert ledger.entry_quote_e8(0) == -100 * 600_000 * 10**4
    assert ledger.equity_quote_e8 == 50_000 * E8


@settings(max_examples=60, deadline=None)
@given(
    st.lists(STEP, max_size=20),
    st.lists(st.integers(-500, 500), min_size=3, max_size=3),
    st.integers(1, 10**13),
)
def test_adoption_is_the_truth(
    steps: list[tuple[object, ...]], lots: list[int], wallet_e8: int
) -> None:
    """After any history the wallet and positions are exactly what the venue said."""
    ledger, oracle = Ledger(INSTRUMENTS, OPENING_E8), Oracle()
    for step in steps:
        play(ledger, oracle, step)
    ledger.adopt(adopted(wallet_e8, *lots))
    assert ledger.read().position_lots == lots
    assert ledger.wallet_quote_e8 == wallet_e8
    assert ledger.peak_quote_e8 >= ledger.equity_quote_e8


def test_state_goes_round() -> None:
    """A restored state continues exactly, and a foreign one is refused."""
    ledger, twin = Ledger(INSTRUMENTS, OPENING_E8), Ledger(INSTRUMENTS, 0)
    ledger.apply_fill(make_fill(1, 7, 260_000, 5))
    twin.restore(ledger.state)
    for each in (ledger, twin):
        each.mark(1, 270_000)
    assert np.array_equal(ledger.state, twin.state)
    with pytest.raises(ValueError, match="shape"):
        twin.restore(ledger.state[:-1])
    with pytest.raises(ValueError, match="another grid"):
        Ledger((INSTRUMENTS[1], INSTRUMENTS[0], INSTRUMENTS[2]), 0).restore(ledger.state)


def test_input_without_exact_result_is_refused() -> None:
    """Unknown instruments, empty or absurd fills and prices raise and change nothing."""
    ledger = Ledger(INSTRUMENTS, OPENING_E8)
    before = ledger.state
    for fill in (
        make_fill(3, 1, 1),
        make_fill(-1, 1, 1),
        make_fill(0, 0, 1),
        make_fill(0, 1, 0),
        make_fill(0, LOTS_BOUND + 1, 1),
        make_fill(0, 10**9, 10**9),
    ):
        with pytest.raises(ValueError, match=r"instrument|quantity"):
            ledger.apply_fill(fill)
    with pytest.raises(ValueError, match="price of 0 ticks"):
        ledger.mark(0, 0)
    with pytest.raises(ValueError, match="names 1 positions"):
        ledger.adopt(adopted(1, 1))
    with pytest.raises(ValueError, match="beyond int64"):
        ledger.adopt(adopted(1, 5, 0, LOTS_BOUND + 1))
    assert np.array_equal(ledger.state, before)
