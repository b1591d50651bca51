"""An account whose margin goes: called, liquidated by the venue itself, its debt cleared."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.fakes.fault_rig import FaultRig, Stream, fault_rig

pytestmark = pytest.mark.asyncio(loop_scope="module")
QUANTITY = "0.100"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def rig() -> AsyncIterator[FaultRig]:
    """One exchange with a small wallet."""
    async with fault_rig(wallet_quote=2_000.0) as running:
        async with running.stream("/public/ws/btcusdt@bookTicker") as stream:
            await stream.next_of("bookTicker")
        yield running


async def leave(rig: FaultRig, margin_share: float) -> None:
    """Take money out until the equity is this multiple of the maintenance margin."""
    account = await rig.account()
    left = float(account["totalMaintMargin"]) * margin_share
    amount = left - float(account["totalMarginBalance"])
    await rig.arm("change_balance", target="futures", amount_quote=amount, is_told=False)


async def fund(rig: FaultRig) -> None:
    """Bring the wallet back to 2,000."""
    wallet = float((await rig.account())["totalWalletBalance"])
    await rig.arm("change_balance", target="futures", amount_quote=2_000.0 - wallet, is_told=False)


async def liquidation(user: Stream) -> dict[str, str]:
    """Skip to the order event of a liquidation."""
    return dict((await user.next_of("ORDER_TRADE_UPDATE", x="CALCULATED"))["o"])


async def test_margin_call_comes_once_and_takes_nothing(rig: FaultRig) -> None:
    """At 90 % of the equity used the venue calls, and the position stays."""
    await rig.place("called", quantity=QUANTITY)
    async with rig.user_stream() as user:
        await leave(rig, 1.11)
        call = await user.next_of("MARGIN_CALL")
        assert [(row["s"], row["pa"]) for row in call["p"]] == [("BTCUSDT", QUANTITY)]
        assert float(call["p"][0]["mm"]) > 0.8 * float(call["cw"]) * 0.9
        assert await user.is_silent(0.3)
    assert await rig.position() == float(QUANTITY)
    await fund(rig)
    await rig.flatten()


async def test_margin_gone_is_liquidated(rig: FaultRig) -> None:
    """Orders are cancelled, the position is closed under an autoclose id, the rest is kept."""
    await rig.place("doomed", quantity=QUANTITY)
    await rig.rest_far("resting")
    async with rig.user_stream() as user:
        await leave(rig, 0.99)
        words = await liquidation(user)
    assert words["c"].startswith("autoclose-")
    assert (words["S"], words["l"]) == ("SELL", QUANTITY)
    assert await rig.position() == 0.0
    assert (await rig.order("resting")).document["status"] == "CANCELED"
    assert float((await rig.account())["totalWalletBalance"]) >= 0.0
    await fund(rig)


async def test_debt_is_cleared_by_the_insurance_fund(rig: FaultRig) -> None:
    """A loss beyond the wallet ends at exactly zero, told as INSURANCE_CLEAR."""
    await rig.place("ruined", quantity=QUANTITY)
    async with rig.user_stream() as user:
        await leave(rig, -5.0)
        await liquidation(user)
        cleared = await user.next_of("ACCOUNT_UPDATE")
        while cleared["a"]["m"] != "INSURANCE_CLEAR":
            cleared = await user.next_of("ACCOUNT_UPDATE")
    assert cleared["a"]["B"][0]["wb"] == "0.00000000"
    assert float(cleared["a"]["B"][0]["bc"]) > 0.0
    assert float((await rig.account())["totalWalletBalance"]) == 0.0
