"""Values made fast are the frozen values themselves."""

from __future__ import annotations

import copy
from dataclasses import FrozenInstanceError, dataclass, fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.events import DepthDiff, Quote, Side, Trade
from kernels.fast_values import positional_maker

INTEGERS = st.integers(-(2**62), 2**62)


@given(numbers=st.lists(INTEGERS, min_size=8, max_size=8))
def test_made_value_is_the_frozen_one(numbers: list[int]) -> None:
    """Equal, of the same class, hash and text, copied alike, and closed to every change."""
    made = positional_maker(Quote)(*numbers)
    names = [field.name for field in fields(Quote)]
    wanted = Quote(**dict(zip(names, numbers, strict=True)))
    assert type(made) is Quote
    assert made == wanted
    assert hash(made) == hash(wanted)
    assert repr(made) == repr(wanted)
    assert copy.deepcopy(made) == wanted
    with pytest.raises(FrozenInstanceError):
        made.bid_ticks = 1  # type: ignore[misc]  # that it cannot is what is tested
    with pytest.raises(FrozenInstanceError):
        del made.bid_ticks


@pytest.mark.parametrize("event_class", [Quote, Trade, DepthDiff])
def test_every_field_takes_its_place(event_class: type[Any]) -> None:
    """Fields come in the order of the class, also where a value is an array or an enum."""
    names = [field.name for field in fields(event_class)]
    values = [np.arange(2), Side.SELL, *range(len(names))][: len(names)]
    made = positional_maker(event_class)(*values)
    assert [getattr(made, name) for name in names] == values
    with pytest.raises(TypeError):
        positional_maker(event_class)(*values[1:])


def test_class_with_checks_is_refused() -> None:
    """A class whose checks would be skipped, or that has no slots of its own, is refused."""

    @dataclass(frozen=True, slots=True)
    class Checked:
        count: int

        def __post_init__(self) -> None:
            raise ValueError(self.count)

    @dataclass(frozen=True)
    class Loose:
        count: int

    for refused in (Checked, Loose, int):
        with pytest.raises(TypeError, match="no plain slotted dataclass"):
            positional_maker(refused)
