"""Faults of stream messages, seen by a client on the wire."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio

from tests.fakes.fault_rig import FaultRig, Stream, fault_rig

pytestmark = pytest.mark.asyncio(loop_scope="module")
QUOTES, DEPTH = "btcusdt@bookTicker", "btcusdt@depth@0ms"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def rig() -> AsyncIterator[FaultRig]:
    """One exchange for all tests of this file."""
    async with fault_rig() as running:
        yield running


async def chain(stream: Stream, count: int) -> list[dict[str, Any]]:
    """Read depth updates."""
    return [await stream.next_of("depthUpdate") for _ in range(count)]


def is_linked(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Tell whether one depth update follows the other without a gap."""
    return bool(second["pu"] == first["u"])


async def test_depth_gap_breaks_the_chain_once(rig: FaultRig) -> None:
    """One missing update: a break between two received ones, and whole before and after."""
    async with rig.stream(f"/public/ws/{DEPTH}") as stream:
        before = await chain(stream, 3)
        async with rig.armed("depth_gap", skip=2) as name:
            after = await chain(stream, 20)
            assert (await rig.fault(name))["fired"] == 1
    updates = before + after
    breaks = [not is_linked(*pair) for pair in itertools.pairwise(updates)]
    assert breaks.count(True) == 1


async def test_dropped_frames_are_those_of_the_seed(rig: FaultRig) -> None:
    """A third of a stream's messages is lost by chance; other streams lose none."""
    async with (
        rig.stream(f"/public/ws/{DEPTH}") as stream,
        rig.stream("/public/ws/ethusdt@depth@0ms") as other,
        rig.armed("drop_frames", target=DEPTH, count=0, chance=0.34, seed=3) as name,
    ):
        updates, others = await asyncio.gather(chain(stream, 40), chain(other, 40))
        fault = await rig.fault(name)
    assert 0.15 < fault["fired"] / fault["seen"] < 0.55
    assert not all(is_linked(*pair) for pair in itertools.pairwise(updates))
    assert all(is_linked(*pair) for pair in itertools.pairwise(others))


async def test_duplicated_frames_come_twice(rig: FaultRig) -> None:
    """Each second message is followed by itself, byte for byte."""
    async with (
        rig.stream(f"/public/ws/{DEPTH}") as stream,
        rig.armed("duplicate_frames", target=DEPTH, every=2, count=3),
    ):
        texts = [await stream.text() for _ in range(20)]
    repeats = [a == b for a, b in itertools.pairwise(texts)]
    assert repeats.count(True) == 3


async def test_reordered_frames_swap_places(rig: FaultRig) -> None:
    """One message comes after its successor; nothing is lost."""
    async with (
        rig.stream(f"/public/ws/{DEPTH}") as stream,
        rig.armed("reorder_frames", target=DEPTH, skip=2),
    ):
        updates = await chain(stream, 15)
    in_order = sorted(updates, key=lambda update: int(update["u"]))
    assert updates != in_order
    assert all(is_linked(*pair) for pair in itertools.pairwise(in_order))


async def test_delayed_frame_comes_late_and_whole(rig: FaultRig) -> None:
    """A message held for a while arrives after younger ones, with its own old time."""
    async with (
        rig.stream(f"/public/ws/{DEPTH}") as stream,
        rig.armed("delay_frames", target=DEPTH, delay_ms=300.0),
    ):
        updates = await chain(stream, 40)
    late = [b for a, b in itertools.pairwise(updates) if b["u"] < a["u"]]
    assert len(late) == 1
    neighbour = updates[updates.index(late[0]) - 1]
    assert neighbour["E"] - late[0]["E"] >= 250


async def test_corrupt_frames_are_no_json(rig: FaultRig) -> None:
    """A cut or blotted message cannot be read; the next one can."""
    async with (
        rig.stream(f"/public/ws/{QUOTES}") as stream,
        rig.armed("corrupt_frames", target=QUOTES, every=2, count=6, seed=1),
    ):
        texts = [await stream.text() for _ in range(30)]
    unreadable = 0
    for text in texts:
        try:
            orjson.loads(text)
        except orjson.JSONDecodeError:
            unreadable += 1
    assert unreadable == 6


async def test_stalled_stream_is_silent_on_a_live_socket(rig: FaultRig) -> None:
    """Nothing of the stream comes while pings are answered; then it goes on."""
    async with rig.stream(f"/public/ws/{QUOTES}") as stream:
        await stream.next_of("bookTicker")
        async with rig.armed("stall_stream", target="btcusdt@*"):
            async with asyncio.timeout(5):
                while not await stream.is_silent(0.2):
                    pass
            await stream.websocket.send_str('{"method":"LIST_SUBSCRIPTIONS","id":9}')
            assert (await stream.event())["id"] == 9
            assert await stream.is_silent(0.3)
        await stream.next_of("bookTicker")


async def test_stall_ends_by_itself(rig: FaultRig) -> None:
    """A fault with an end of its own needs no disarming."""
    async with (
        rig.stream(f"/public/ws/{QUOTES}") as stream,
        rig.armed("stall_stream", target=QUOTES, for_s=0.5) as name,
    ):
        async with asyncio.timeout(5):
            while (await rig.fault(name))["fired"] == 0:
                await asyncio.sleep(0.02)
        await stream.next_of("bookTicker")


class Shadow:
    """A client's own book of one depth stream, best prices only."""

    def __init__(self) -> None:
        self.sides: dict[str, dict[float, float]] = {"b": {}, "a": {}}

    def take(self, document: dict[str, Any]) -> None:
        """Apply levels; zero removes."""
        for key, rows in self.sides.items():
            for price, quantity in document[key]:
                rows[float(price)] = float(quantity)
                if float(quantity) == 0.0:
                    del rows[float(price)]

    @property
    def is_crossed(self) -> bool:
        bids, asks = self.sides["b"], self.sides["a"]
        return bool(bids and asks) and max(bids) >= min(asks)


async def shadow_book(rig: FaultRig, stream: Stream) -> Shadow:
    """Join a book from REST to the stream."""
    await stream.next_of("depthUpdate")
    words = {"symbol": "BTCUSDT", "limit": 1000}
    answer = await rig.call("GET", "/fapi/v1/depth", words, is_signed=False)
    shadow = Shadow()
    shadow.take({"b": answer.document["bids"], "a": answer.document["asks"]})
    return shadow


@pytest.mark.parametrize("kind", ["cross_book", "empty_book"])
async def test_false_book_shows_and_heals(rig: FaultRig, kind: str) -> None:
    """The client's book is crossed or empty after one update, and honest after the next."""
    async with rig.stream(f"/public/ws/{DEPTH}") as stream:
        shadow = await shadow_book(rig, stream)
        false = []
        async with rig.armed(kind, target=DEPTH, skip=3):
            for _ in range(20):
                shadow.take(await stream.next_of("depthUpdate"))
                is_empty = not (shadow.sides["b"] or shadow.sides["a"])
                false.append(shadow.is_crossed if kind == "cross_book" else is_empty)
        assert false.count(True) == 1
        assert shadow.sides["b"]
        assert shadow.sides["a"]
        assert not shadow.is_crossed


async def test_false_quotes(rig: FaultRig) -> None:
    """Best prices are crossed, or a side shows nothing."""
    async with rig.stream(f"/public/ws/{QUOTES}") as stream:
        async with rig.armed("cross_book", target=QUOTES, count=2):
            quotes = [await stream.next_of("bookTicker") for _ in range(10)]
        assert sum(float(q["b"]) > float(q["a"]) for q in quotes) == 2
        async with rig.armed("empty_book", target=QUOTES, side="bids"):
            quotes = [await stream.next_of("bookTicker") for _ in range(10)]
        empty = [quote for quote in quotes if float(quote["B"]) == 0.0]
        assert len(empty) == 1
        assert float(empty[0]["a"]) > 0.0
