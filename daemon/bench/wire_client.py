"""The trading side of the wire stage, in a process of its own: ``python -m`` with FORM and ADDRESS.

It holds one websocket through ccxt's client as the daemon does (``Tap.open_stream``), on uvloop,
with the collector held as in the daemon. Texts that begin with ``!`` are the stage's own words and
are answered with ``!``: ``!reset`` between rounds, ``!7`` before tick 7. Every other text is a
tick's frame and is answered with an order, or by ``echo`` with words of an order's length.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack

import uvloop

from daemon.kernel_cache import prepare

ECHO, OURS, PROTOTYPE = "echo", "ours", "prototype"
ORDER_WORDS = "x" * 420
"""As long as a signed order."""

CONTROL = "!"
ANSWER = "!"
NOTHING = "!none"
"""Said of a tick that led to no order: the stage counts them."""


class Answers:
    """One form: what it does before a tick, and what it answers to one."""

    def __init__(self, prepare_tick: Callable[[str], object], answer: Callable[[str], str]) -> None:
        """Take both."""
        self.prepare_tick = prepare_tick
        self.answer = answer


def answers_of(form: str, stack: AsyncExitStack) -> Answers:
    """Build a form; ``stack`` closes what it opened. ValueError for an unknown one."""
    if form == ECHO:
        return Answers(lambda words: None, lambda text: ORDER_WORDS)
    if form not in (OURS, PROTOTYPE):
        raise ValueError(f"no form {form!r}")
    from daemon.bench.tick_stage import KEY, SECRET, Tick, TickRig
    from daemon.venues.socketless import text_message

    rig = stack.enter_context(TickRig())
    stack.push_async_callback(rig.venue.close)
    ticks = rig.ticks
    now: list[Tick] = ticks[:1]

    def prepare_tick(words: str) -> None:
        if words == "reset":
            rig.reset()
            return
        now[0] = ticks[int(words)]
        if form == OURS:
            rig.prepare(now[0])

    if form == OURS:

        def answer(text: str) -> str:
            tick = Tick(frame=now[0].frame, message=text_message(text), before=())
            return rig.tick(tick) or NOTHING

        return Answers(prepare_tick, answer)
    from daemon.bench.prototype import Prototype

    prototype = Prototype(rig.frames, KEY, SECRET)
    return Answers(
        prepare_tick, lambda text: prototype.tick(text, now[0].frame.received_ns) or NOTHING
    )


async def serve(form: str, address: str) -> None:
    """Answer until the other side closes."""
    from daemon.venues.tap import TapBinanceUsdm

    async with AsyncExitStack() as stack:
        answers = answers_of(form, stack)
        exchange = TapBinanceUsdm({}, None)
        stack.push_async_callback(exchange.close)
        sending: set[asyncio.Task[None]] = set()

        def say(words: str) -> None:
            sending.add(task := asyncio.ensure_future(stream.send(words)))
            task.add_done_callback(sending.discard)

        def read(text: str) -> bool:
            if text.startswith(CONTROL):
                answers.prepare_tick(text[len(CONTROL) :])
                say(ANSWER)
            else:
                say(answers.answer(text))
            return True

        gc.collect()
        gc.freeze()
        gc.disable()
        stream = await exchange.open_stream(address, read)
        stack.push_async_callback(stream.close)
        await stream.lost()


if __name__ == "__main__":
    prepare()
    uvloop.run(serve(sys.argv[1], sys.argv[2]))
