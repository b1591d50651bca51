"""The rescue against the simulated exchange at its worst: throttled, refusing, slow, half-deaf."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio

from config.safety import GuardSettings
from daemon.clock import SystemClock
from daemon.identity import is_foreign_id
from daemon.note import Note
from daemon.rescue import Rescue, Rescued
from daemon.venues.emergency import EmergencyClient, Loopback
from tests.fakes.fault_rig import FaultRig, fault_rig

pytestmark = pytest.mark.asyncio(loop_scope="module")
CANCEL = "DELETE /fapi/v1/allOpenOrders"
FLAT_S = 15.0


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def rig() -> AsyncIterator[FaultRig]:
    """One exchange for all tests of this file."""
    async with fault_rig() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(rig: FaultRig) -> AsyncIterator[EmergencyClient]:
    """The guard's own client."""
    access = rig.exchange.access
    opened = EmergencyClient(
        mode="sim",
        api_key=access.api_key,
        api_secret=access.api_secret,
        loopback=Loopback(host=access.host, port=access.port, ca_pem_path=access.ca_pem_path),
        clock=SystemClock(),
    )
    yield opened
    await opened.close()


async def rescue(rig: FaultRig, client: EmergencyClient, name: str) -> tuple[Rescued, list[Note]]:
    """Rescue, and let another client of the venue say that nothing is left."""
    notes: list[Note] = []
    instruments = await client.load_instruments(("BTC/USDT:USDT",))
    rescued = await Rescue(
        client,
        instruments,
        GuardSettings(),
        note=notes.append,
        clock=SystemClock(),
        generator=np.random.default_rng(7),
    ).run(is_flatten=True, silent_s_max=20.0)
    rows = (await rig.call("GET", "/fapi/v1/openOrders", {"symbol": "BTCUSDT"})).document
    assert rows == [], name
    assert await rig.position() == 0.0, name
    return rescued, notes


async def leave_behind(rig: FaultRig, name: str) -> None:
    """Hold a position and let two orders rest."""
    assert (await rig.place(f"{name}-p")).status == 200
    for number in range(2):
        assert (await rig.rest_far(f"{name}-{number}")).status == 200


async def test_storm_of_429_during_the_cancel(rig: FaultRig, client: EmergencyClient) -> None:
    """Three cancels are turned away with Retry-After 1: it waits as told and ends clean."""
    await leave_behind(rig, "storm")
    async with rig.armed("rate_limited", target=CANCEL, count=3, retry_after_s=1) as fault:
        rescued, notes = await rescue(rig, client, "storm")
        assert (await rig.fault(fault))["fired"] == 3
    assert rescued.is_clean
    assert 3.0 <= rescued.took_s < FLAT_S
    waits = [note.fields["pause_ms"] for note in notes if note.event == "guard_retrying"]
    assert waits[:3] == [1000, 1000, 1000]


async def test_venue_that_takes_no_market_and_no_ioc(
    rig: FaultRig, client: EmergencyClient
) -> None:
    """Every taking order is refused with PERCENT_PRICE: a resting limit closes the position."""
    await leave_behind(rig, "takers")
    async with rig.armed("refuse_takers"):
        rescued, notes = await rescue(rig, client, "takers")
    assert rescued.is_clean
    assert rescued.took_s < FLAT_S
    assert sum(note.event == "guard_closing" for note in notes) > 5


async def test_venue_that_refuses_market_orders(rig: FaultRig, client: EmergencyClient) -> None:
    """The first closing order is a limit anyway."""
    await leave_behind(rig, "market")
    async with rig.armed("refuse_orders", target="MARKET *"):
        rescued, notes = await rescue(rig, client, "market")
    assert rescued.is_clean
    assert [note.event for note in notes] == ["guard_closing"]


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("rest_error", "*"),
        ("rest_error_after", "*"),
        ("drop_connection", "*"),
        ("truncate_answer", "GET /fapi/v1/openOrders"),
        ("unknown_status", "POST /fapi/v1/order"),
        ("banned", "GET /fapi/v3/account"),
    ],
)
async def test_every_kind_of_failed_answer(
    rig: FaultRig, client: EmergencyClient, kind: str, target: str
) -> None:
    """Each of the next answers fails in its way; the end is the venue's own word all the same."""
    await leave_behind(rig, kind)
    async with rig.armed(kind, target=target, count=2, skip=1):
        rescued, _ = await rescue(rig, client, kind)
    assert rescued.is_clean
    assert rescued.took_s < FLAT_S


async def test_order_of_another_is_spared_where_it_is_to_be_ignored(rig: FaultRig) -> None:
    """Ours and a guard's are cancelled one by one, the stranger's stays, and the end is clean."""
    access = rig.exchange.access
    client = EmergencyClient(
        mode="sim",
        api_key=access.api_key,
        api_secret=access.api_secret,
        loopback=Loopback(host=access.host, port=access.port, ca_pem_path=access.ca_pem_path),
        clock=SystemClock(),
        spares=is_foreign_id,
    )
    names = ("web_by_hand", "me-0123456789ab-7", "meg-1700000000000-1")
    for name in names:
        assert (await rig.rest_far(name)).status == 200
    try:
        (btc,) = await client.load_instruments(("BTC/USDT:USDT",))
        rescue = Rescue(
            *(client, (btc,), GuardSettings()),
            note=lambda note: None,
            clock=SystemClock(),
            generator=np.random.default_rng(7),
        )
        rescued = await rescue.run(is_flatten=False, silent_s_max=20.0)
    finally:
        await client.close()
    assert rescued.is_clean
    statuses = [(await rig.order(name)).document["status"] for name in names]
    assert statuses == ["NEW", "CANCELED", "CANCELED"]
    await rig.flatten()
