"""Decimal texts of the wire as integers, held against the decimal module."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.units import E8, from_e8, to_e8

DECIMALS = st.from_regex(r"[-+]?[0-9]{1,12}(\.[0-9]{0,8}0{0,4})?", fullmatch=True)


@given(DECIMALS)
def test_text_is_read_exactly(text: str) -> None:
    """Every decimal that fits comes out as Decimal says, with sign and trailing zeros."""
    assert to_e8(text) == Decimal(text) * E8


@given(st.integers(-(2**62), 2**62))
def test_printed_amount_comes_back(amount_e8: int) -> None:
    """Printing and reading are inverse."""
    assert to_e8(from_e8(amount_e8)) == amount_e8


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever the text, the answer is exact or a ValueError, never another error."""
    try:
        amount_e8 = to_e8(text)
    except ValueError:
        return
    assert amount_e8 == Decimal(text.strip("+-") or "0") * E8 * (-1 if text[:1] == "-" else 1)


@pytest.mark.parametrize(
    "text", ["", ".", "1e5", "0x1", "١", "1_0", " 1", "1.000000001", "1.2.3", "nan", "-", "--1.-2"]
)
def test_what_is_no_decimal_is_refused(text: str) -> None:
    """Exponents, other digits, blanks and a ninth decimal are refused."""
    with pytest.raises(ValueError, match="decimal"):
        to_e8(text)
