"""Run and order names: unique, sortable, reversible, inside the venue's rules."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.identity import (
    CLIENT_ORDER_ID_LENGTH_MAX,
    OrderIdentity,
    client_order_id,
    new_run_id,
    parse_client_order_id,
)

VENUE_RULE = re.compile(r"^[\.A-Z\:/a-z0-9_-]{1,36}$")  # Binance USD-M, newClientOrderId
RUN_ID = st.text("0123456789abcdefghijklmnopqrstuvwxyz", min_size=12, max_size=12)
SEQUENCE = st.integers(0, 2**63 - 1)
TIME_NS = st.integers(0, 10**19)


@given(RUN_ID, SEQUENCE)
def test_order_name_fits_the_venue_and_comes_apart_again(run_id: str, sequence: int) -> None:
    """Every order name obeys the venue's rule and returns the run and sequence it was made of."""
    name = client_order_id(run_id, sequence)
    assert len(name) <= CLIENT_ORDER_ID_LENGTH_MAX
    assert VENUE_RULE.match(name)
    assert parse_client_order_id(name) == OrderIdentity(run_id=run_id, sequence=sequence)


@given(st.text(max_size=40))
def test_foreign_names_are_not_ours(text: str) -> None:
    """Whatever parses is exactly what the writer would write; all else is None."""
    identity = parse_client_order_id(text)
    assert identity is None or client_order_id(identity.run_id, identity.sequence) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "me-",
        "me-abcdefghijkl-",
        "me-abcdefghijkl-01",
        "me-abcdefghijkl--1",
        "me-abcdefghijk-1",
        "me-ABCDEFGHIJKL-1",
        "x-abcdefghijkl-1",
        "me-abcdefghijkl-1\n",
        "me-abcdefghijkl-\u0661",
        f"me-abcdefghijkl-{2**63}",
    ],
)
def test_near_misses_are_refused(text: str) -> None:
    """Leading zeros, foreign digits, wrong lengths and overflow are no names of ours."""
    assert parse_client_order_id(text) is None


@given(TIME_NS, TIME_NS, st.binary(min_size=4, max_size=16), st.binary(min_size=4, max_size=16))
def test_runs_sort_by_start(early_ns: int, late_ns: int, one: bytes, other: bytes) -> None:
    """A run that started at least one step later sorts after the earlier one."""
    early_ns, late_ns = sorted((early_ns, late_ns))
    early, late = new_run_id(early_ns, one), new_run_id(late_ns, other)
    assert re.fullmatch(r"[0-9a-z]{12}", early)
    if late_ns // 10_000_000 > early_ns // 10_000_000:
        assert early < late


def test_known_run_id() -> None:
    """One hand-computed name: 36**2 steps of 10 ms, and a draw of 37."""
    assert new_run_id(1296 * 10_000_000, bytes([0, 0, 0, 37])) == "000001000011"


def test_entropy_separates_runs_of_one_moment() -> None:
    """At one instant, different draws give different names."""
    names = {new_run_id(10**18, draw.to_bytes(4, "big")) for draw in range(1000)}
    assert len(names) == 1000


def test_bad_input_is_refused() -> None:
    """Too little entropy, times off the scale, foreign run ids and negative sequences raise."""
    with pytest.raises(ValueError, match="random bytes"):
        new_run_id(0, b"abc")
    with pytest.raises(ValueError, match="does not fit"):
        new_run_id(-1, b"abcd")
    with pytest.raises(ValueError, match="does not fit"):
        new_run_id(36**8 * 10_000_000, b"abcd")
    with pytest.raises(ValueError, match="not a run id"):
        client_order_id("ABCDEFGHIJKL", 1)
    with pytest.raises(ValueError, match="outside 0"):
        client_order_id("abcdefghijkl", -1)
