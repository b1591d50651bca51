"""The wire stage: a venue of one blocking socket, a trading side in a process of its own."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from daemon.bench.wire_client import ECHO, NOTHING, ORDER_WORDS, answers_of
from daemon.bench.wire_stage import (
    FREE,
    SAME_CORE,
    TradingSide,
    WireError,
    frame_parts,
    text_frame,
)


@given(st.text(max_size=2_000), st.binary(max_size=20))
def test_a_frame_is_whole_where_the_library_ends_it(text: str, behind: bytes) -> None:
    """Its length is known from its head on, whatever follows, and never before."""
    framed = Frame(Opcode.TEXT, text.encode()).serialize(mask=True)
    payload_bytes = len(text.encode())
    parts = frame_parts(bytearray(framed + behind))
    assert parts == (len(framed) - payload_bytes, payload_bytes)
    head = 2 if payload_bytes < 126 else 4
    for cut in range(head):
        assert frame_parts(bytearray(framed[:cut])) == (0, 0)


def test_the_echo_answers_ticks_and_words_in_both_placements() -> None:
    """A tick comes back as long as an order, the stage's words as a sign; cores are as before."""
    cores = os.sched_getaffinity(0)
    with closing(TradingSide(ECHO)) as side:
        for placement in (SAME_CORE, FREE):
            side.place(placement)
            side.tell("reset")
            for number in range(20):
                side.tell(str(number))
                assert side.ask(text_frame("a tick" * (number + 1))) == len(ORDER_WORDS)
        side.place(SAME_CORE)
    assert os.sched_getaffinity(0) == cores
    with pytest.raises(WireError, match="closed"):
        side.ask(b"")


def test_a_side_that_never_speaks_is_an_error_and_leaves_nothing() -> None:
    """A form that does not exist ends its process: that is told, and nobody waits for ever."""
    with pytest.raises(WireError, match="'mirror' did not connect"):
        TradingSide("mirror")


async def test_an_unknown_form_and_an_order_that_is_none_are_told_apart() -> None:
    """Nobody times a form that does not exist, and no order is as short as the word for none."""
    async with AsyncExitStack() as stack:
        with pytest.raises(ValueError, match="no form 'mirror'"):
            answers_of("mirror", stack)
    assert len(NOTHING) < 10 < len(ORDER_WORDS)
