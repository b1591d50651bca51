"""Level text: equal to the slow twin on every valid text, a typed refusal on everything else."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.levels import LevelsError, parse_levels
from kernels.units import Instrument
from tests.naive.naive_levels import parse_levels_naive

INSTRUMENT = Instrument(
    index=0,
    symbol="BTC/USDT:USDT",
    venue_id="BTCUSDT",
    tick_size_e8=10_000_000,
    lot_size_e8=100_000,
    lots_min=1,
    lots_max=1_000_000,
    notional_min_quote_e8=5_00000000,
    maker_fee_frac=0.0002,
    taker_fee_frac=0.0005,
)

_PRICES = st.integers(1, 10**9).map(INSTRUMENT.price_text)
_QUANTITIES = st.integers(0, 10**9).map(lambda lots: f"{lots // 1000}.{lots % 1000:03d}")
_LEVELS = st.lists(st.tuples(_PRICES, _QUANTITIES), max_size=60)


@settings(max_examples=100, deadline=None)
@given(levels=_LEVELS, spaced=st.booleans())
def test_equals_the_naive_twin(levels: list[tuple[str, str]], spaced: bool) -> None:
    """Valid text gives the same integers as json plus exact decimals, blanks or not."""
    text = json.dumps(levels, separators=(", ", ": ") if spaced else (",", ":")).encode()
    rows = parse_levels(text, INSTRUMENT)
    assert rows.dtype == np.int64
    assert rows.shape == (len(levels), 2)
    assert [tuple(row) for row in rows.tolist()] == parse_levels_naive(text, INSTRUMENT)


@settings(max_examples=300, deadline=None)
@given(text=st.binary(max_size=80))
def test_random_bytes_only_ever_raise_the_refusal(text: bytes) -> None:
    """No bytes raise anything but LevelsError."""
    try:
        parse_levels(text, INSTRUMENT)
    except LevelsError:
        return
    assert parse_levels_naive(text, INSTRUMENT) is not None


@settings(max_examples=300, deadline=None)
@given(
    levels=st.lists(st.tuples(_PRICES, _QUANTITIES), min_size=1, max_size=4),
    at=st.integers(0, 10_000),
    byte=st.integers(0, 255),
)
def test_one_changed_byte_is_refused_or_read_exactly(
    levels: list[tuple[str, str]], at: int, byte: int
) -> None:
    """A damaged text is refused, or means to the twin what it means to the kernel."""
    text = bytearray(json.dumps(levels, separators=(",", ":")).encode())
    text[at % len(text)] = byte
    damaged = bytes(text)
    try:
        rows = parse_levels(damaged, INSTRUMENT)
    except LevelsError:
        with pytest.raises(ValueError):  # noqa: PT011  # the twin's kinds of refusal are many
            parse_levels_naive(damaged, INSTRUMENT)
        return
    assert [tuple(row) for row in rows.tolist()] == parse_levels_naive(damaged, INSTRUMENT)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[",
        b"[[]]",
        b'[["1.0"]]',
        b'[["1.0","1"],]',
        b'[["1.0","1"]',
        b'[["1.0","1"]] x',
        b'[["-1.0","1"]]',
        b'[["1.0","-1"]]',
        b'[["1e3","1"]]',
        b'[["0.0","1"]]',
        b'[["1.05","1"]]',
        b'[["1.0","0.0001"]]',
        b'[["1.000000001","1"]]',
        b'[["99999999999999999999","1"]]',
        b'[["1.0","99999999999999999999"]]',
        b'[[1.0,"1"]]',
        b'[["1.0","1","2"]]',
        b'[["",""]]',
        b'[[".","1"]]',
    ],
)
def test_refuses(text: bytes) -> None:
    """Each kind of text that is not a list of positive on-grid pairs is refused."""
    with pytest.raises(LevelsError, match="BTC/USDT"):
        parse_levels(text, INSTRUMENT)


_ODD_QUANTITIES = st.integers(0, 10**9).map(lambda e8: f"{e8 // 10**6}.{e8 % 10**6:06d}")


@settings(max_examples=100, deadline=None)
@given(levels=st.lists(st.tuples(_PRICES, _ODD_QUANTITIES), max_size=20))
def test_old_lots_become_the_nearest_and_at_least_one(levels: list[tuple[str, str]]) -> None:
    """Where told so, a quantity between two lots is rounded as the twin does, never to nothing."""
    text = json.dumps(levels).encode()
    rows = parse_levels(text, INSTRUMENT, has_old_lots=True)
    twin = parse_levels_naive(text, INSTRUMENT, has_old_lots=True)
    assert [tuple(row) for row in rows.tolist()] == twin


def test_empty_list_is_no_levels() -> None:
    """An empty side of an update is valid."""
    assert parse_levels(b"[]", INSTRUMENT).shape == (0, 2)
