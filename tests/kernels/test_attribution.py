"""Attribution: every lot, fee and result belongs to somebody, and they sum to the account."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.attribution import (
    SHARE_UNIT,
    AgentLedger,
    in_proportion,
    share_lots,
    whole_shares,
)
from kernels.events import AccountState, Fill, Funding, Side
from kernels.ledger import NS_PER_DAY, Ledger
from kernels.units import E8, Instrument

AGENT_COUNT = 5
ROWS = (*range(AGENT_COUNT), -1)
OPENING_E8 = 100_000 * E8


def make_instrument(index: int) -> Instrument:
    """Build an instrument of which only the grid matters."""
    return Instrument(
        index=index,
        symbol=f"I{index}",
        venue_id=f"I{index}",
        tick_size_e8=E8 // 10,
        lot_size_e8=E8 // 1000,
        lots_min=1,
        lots_max=10**9,
        notional_min_quote_e8=0,
        maker_fee_frac=0.0,
        taker_fee_frac=0.0,
    )


INSTRUMENTS = (make_instrument(0), make_instrument(1))


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


def funding(instrument: int, amount_e8: int) -> Funding:
    """Build a funding payment."""
    return Funding(instrument=instrument, event_ns=0, received_ns=0, amount_quote_e8=amount_e8)


SHARES = st.one_of(
    st.just(()),
    st.lists(st.floats(0.0, 1.0), min_size=AGENT_COUNT, max_size=AGENT_COUNT)
    .filter(lambda shares: sum(shares) > 0.01)
    .map(lambda shares: tuple(share / sum(shares) for share in shares)),
)
STEP = st.one_of(
    st.tuples(
        st.just("fill"),
        st.integers(0, 1),
        st.integers(-40, 40).filter(bool),
        st.integers(1, 900_000),
        st.integers(-(10**6), 10**9),
        SHARES,
    ),
    st.tuples(st.just("mark"), st.integers(0, 1), st.integers(1, 900_000)),
    st.tuples(st.just("funding"), st.integers(0, 1), st.integers(-(10**9), 10**9)),
)


def play(account: Ledger, agents: AgentLedger, step: tuple[object, ...]) -> None:
    """Apply one random step to account and agents."""
    match step:
        case ("fill", int(at), int(lots), int(price), int(fee), tuple(shares)):
            fill = make_fill(at, lots, price, fee)
            account.apply_fill(fill)
            agents.apply_fill(fill, shares)
        case ("mark", int(at), int(price)):
            account.mark(at, price)
            agents.mark(at, price)
        case ("funding", int(at), int(amount)):
            account.apply_funding(funding(at, amount))
            agents.apply_funding(funding(at, amount))


@settings(max_examples=120)
@given(st.lists(STEP, max_size=40))
def test_rows_sum_to_the_account(steps: list[tuple[object, ...]]) -> None:
    """Positions and marked results of agents and house sum to the account's, to the last 1e-8.

    Nobody ever holds against the account.
    """
    account, agents = Ledger(INSTRUMENTS, OPENING_E8), AgentLedger(INSTRUMENTS, AGENT_COUNT)
    for step in steps:
        play(account, agents, step)
        for at in range(2):
            held = [agents.position_lots(row, at) for row in ROWS]
            assert sum(held) == account.position_lots(at)
            assert all(lots * account.position_lots(at) >= 0 for lots in held)
            assert any(held) == bool(account.position_lots(at))
        if any(account.position_lots(at) and not account.is_marked(at) for at in range(2)):
            continue  # at cost, and each has its own
        gained_e8 = account.equity_quote_e8 - OPENING_E8
        assert sum(agents.result_quote_e8(row) for row in ROWS) == gained_e8


@given(
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=9).filter(lambda s: sum(s) > 1e-6),
)
def test_shares_become_whole_millionths(shares: list[float]) -> None:
    """Millionths sum exactly, are off by one at most, and give nothing to who has no share."""
    whole = whole_shares(shares)
    assert sum(whole) == SHARE_UNIT
    for share, millionths in zip(shares, whole, strict=True):
        assert abs(millionths - share / sum(shares) * SHARE_UNIT) <= 1.001
        assert share > 0.0 or millionths == 0


@given(st.lists(st.integers(1, 50), min_size=1, max_size=200), SHARES.filter(bool))
def test_rounding_favours_nobody(fills: list[int], shares: tuple[float, ...]) -> None:
    """However the fills are cut, every agent ends within a lot of its share of the whole."""
    millionths = whole_shares(shares)
    carried = [0] * AGENT_COUNT
    got = [0] * AGENT_COUNT
    for lots in fills:
        given_lots = share_lots(lots, millionths, carried)
        assert sum(given_lots) == lots
        assert min(given_lots) >= 0
        for agent in range(AGENT_COUNT):
            got[agent] += given_lots[agent]
            carried[agent] += lots * millionths[agent] - given_lots[agent] * SHARE_UNIT
        assert sum(carried) == 0
    for agent in range(AGENT_COUNT):
        exact = sum(fills) * millionths[agent] / SHARE_UNIT
        assert abs(got[agent] - exact) < AGENT_COUNT
        assert millionths[agent] or not got[agent]


@pytest.mark.parametrize("shares", [(), (0.0, 0.0), (-0.5, 1.5), (float("nan"), 1.0)])
def test_shares_that_are_none_are_refused(shares: tuple[float, ...]) -> None:
    """No share at all, a negative one and one that is no number cannot be made whole."""
    with pytest.raises(ValueError, match="no shares"):
        whole_shares(shares)


@given(st.integers(-(10**12), 10**12), st.lists(st.integers(0, 10**6), min_size=1, max_size=7))
def test_proportions_sum_and_leave_out_the_weightless(amount: int, weights: list[int]) -> None:
    """Parts sum to the amount and are within one of the exact share."""
    parts = in_proportion(amount, weights)
    assert sum(parts) == amount
    total = sum(weights)
    for part, weight in zip(parts, weights, strict=True):
        if total:
            assert abs(part * total - amount * weight) < total
            assert weight or not part


def test_by_hand() -> None:
    """Two agents open 3:1, the house closes half, the price falls: the loss is theirs 3:1."""
    agents = AgentLedger(INSTRUMENTS, AGENT_COUNT)
    agents.roll_day(NS_PER_DAY)
    agents.apply_fill(make_fill(0, 100, 600_000, 4 * E8), (0.75, 0.25, 0.0, 0.0, 0.0))
    assert [agents.position_lots(row, 0) for row in ROWS] == [75, 25, 0, 0, 0, 0]
    agents.apply_fill(make_fill(0, -40, 600_000), ())
    assert [agents.position_lots(row, 0) for row in ROWS] == [45, 15, 0, 0, 0, 0]
    agents.mark(0, 590_000)
    assert agents.day_losses_quote_e8() == [48 * E8, 16 * E8, 0, 0, 0]
    agents.apply_funding(funding(0, -8 * E8))
    assert agents.day_losses_quote_e8() == [54 * E8, 18 * E8, 0, 0, 0]
    agents.forget_losses()
    assert agents.day_losses_quote_e8() == [0] * AGENT_COUNT
    agents.mark(0, 580_000)
    assert agents.day_losses_quote_e8() == [45 * E8, 15 * E8, 0, 0, 0]
    agents.roll_day(2 * NS_PER_DAY)
    assert agents.day_losses_quote_e8() == [0] * AGENT_COUNT
    assert agents.result_quote_e8(0) == -99 * E8


def test_a_flip_closes_for_the_holders_and_opens_for_the_wishers() -> None:
    """A fill through zero is two: what it closes, what it opens."""
    agents = AgentLedger(INSTRUMENTS, AGENT_COUNT)
    agents.apply_fill(make_fill(1, 10, 1000), (1.0, 0.0, 0.0, 0.0, 0.0))
    agents.apply_fill(make_fill(1, -16, 1100), (0.0, 0.0, 0.5, 0.5, 0.0))
    assert [agents.position_lots(row, 1) for row in ROWS] == [0, 0, -3, -3, 0, 0]
    assert agents.result_quote_e8(0) == 10 * 100 * 10**4


@pytest.mark.parametrize("is_marked", [False, True])
def test_what_the_venue_says_is_the_house_s(is_marked: bool) -> None:
    """A position taken over belongs to the house, without result until the price moves."""
    account, agents = Ledger(INSTRUMENTS, 0), AgentLedger(INSTRUMENTS, AGENT_COUNT)
    if is_marked:
        account.mark(0, 600_000)
        agents.mark(0, 600_000)
    theirs = AccountState(received_ns=0, wallet_quote_e8=OPENING_E8, position_lots=(-30, 0))
    account.adopt(theirs)
    agents.adopt(account)
    agents.adopt(account)
    agents.mark(0, 600_000)
    assert [agents.position_lots(row, 0) for row in ROWS] == [0, 0, 0, 0, 0, -30]
    assert agents.result_quote_e8(-1) == 0
    agents.mark(0, 590_000)
    assert agents.result_quote_e8(-1) == 30 * 10_000 * 10**4


def test_state_goes_round() -> None:
    """A restored ledger continues exactly, carried lots included; a foreign one is refused."""
    agents, twin = (AgentLedger(INSTRUMENTS, AGENT_COUNT) for _ in range(2))
    shares = (0.5, 0.3, 0.2, 0.0, 0.0)
    agents.apply_fill(make_fill(0, 1, 1000), shares)
    twin.restore(agents.state)
    for each in (agents, twin):
        each.apply_fill(make_fill(0, 1, 1000), shares)
    for ours, theirs in zip(agents.state, twin.state, strict=True):
        assert np.array_equal(ours, theirs)
    assert [agents.position_lots(row, 0) for row in ROWS] == [1, 1, 0, 0, 0, 0]
    with pytest.raises(ValueError, match="shape"):
        AgentLedger(INSTRUMENTS[:1], AGENT_COUNT).restore(agents.state)
