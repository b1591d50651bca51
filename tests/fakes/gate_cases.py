"""Scenes that exactly one check of the gate denies: one or more for every check and code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from config.settings import RiskLimits
from kernels.events import OrderType, Side, Verdict
from kernels.ledger import NS_PER_DAY, Ledger
from kernels.units import E8
from risk.agent_latches import DisarmCause
from risk.breaker import NS_PER_MS, BreakerState
from risk.gate import Gate
from risk.reasons import DenialCode
from risk.views import ModelVerdict
from risk.working_tally import tally
from tests.fakes.gate_scene import (
    BTC,
    BTC_TICKS,
    ETH,
    ETH_TICKS,
    INSTRUMENTS,
    NOW_NS,
    GateScene,
    make_instrument,
    make_intent,
    make_ledger,
    make_market,
    make_order,
)


@dataclass(frozen=True)
class Case:
    """A scene that exactly one check denies: without that check it would be approved."""

    check: str
    code: DenialCode
    scene: Callable[[], GateScene]


def losing_ledger(loss_quote: int, *, days_ago: int) -> Ledger:
    """Build an account of 100000 that lost so much, today or some days ago."""
    ledger = make_ledger((1000, 0))
    ledger.roll_day(NOW_NS - days_ago * NS_PER_DAY)
    ledger.mark(BTC, BTC_TICKS - loss_quote * 10)  # 1 BTC: 10 ticks are one quote
    if days_ago:
        ledger.roll_day(NOW_NS + NS_PER_DAY)
    return ledger


def small_limits(**changes: float) -> RiskLimits:
    """Build the default limits with changes."""
    return RiskLimits.model_validate(changes)


WIDE = {
    "order_notional_quote_max": 1e6,
    "position_notional_quote_max": 1e6,
    "net_notional_quote_max": 1e6,
    "gross_notional_quote_max": 1e6,
}
WIDE_POSITION = small_limits(**WIDE)
FIRST_ONLY = (1.0, 0.0, 0.0, 0.0, 0.0)
LAST_ONLY = (0.0, 0.0, 0.0, 0.0, 1.0)
LONG = (100, 0)
SELL = {"side": Side.SELL}
REDUCE = {"side": Side.SELL, "reduce_only": True}
COARSE = (make_instrument(BTC, E8 // 10, lots_min=10, lots_max=99), INSTRUMENTS[ETH])
COSTLY = (make_instrument(BTC, E8 // 10, notional_min_quote_e8=100 * E8), INSTRUMENTS[ETH])
TIGHT_BUDGET = small_limits(messages_burst_max=2, messages_reserve=1, messages_per_s_max=1e-6)


def reducing(**changes: object) -> GateScene:
    """Build a scene in which 0.1 BTC long is closed; fields can be bent."""
    scene = GateScene(intent=make_intent(**REDUCE), ledger=make_ledger(LONG))
    for name, value in changes.items():
        setattr(scene, name, value)
    return scene


class DisarmedScene(GateScene):
    """A scene whose gate has disarmed the first agent for its losses."""

    def gate(self) -> Gate:
        """Build the gate and disarm the agent."""
        gate = super().gate()
        assert gate.agents.disarm(0, DisarmCause.LOSS)
        return gate


def resting(side: Side, price_ticks: int, **changes: object) -> GateScene:
    """Build a scene with an order of ours at rest that may be crossed."""
    order = make_order(BTC, side, 1, resting_ticks=price_ticks)
    return GateScene(working=tally(2, [order]), **changes)  # type: ignore[arg-type]  # a mixed dict


def on_model(verdict: ModelVerdict) -> Callable[[], GateScene]:
    """Build a maker of scenes in which the models judged BTC so."""
    return lambda: GateScene(model=(verdict, ModelVerdict.OK))


def on_feed(verdict: Verdict | None) -> Callable[[], GateScene]:
    """Build a maker of scenes on a feed of this verdict."""
    return lambda: GateScene(market=make_market(verdict=(verdict, Verdict.OK)))


CASES = (
    Case(
        "instrument_known",
        DenialCode.INSTRUMENT_UNKNOWN,
        lambda: GateScene(intent=make_intent(instrument=-1, price_ticks=ETH_TICKS)),
    ),
    Case(
        "well_formed",
        DenialCode.MALFORMED,
        lambda: GateScene(intent=make_intent(price_ticks=float(BTC_TICKS))),
    ),
    Case(
        "well_formed",
        DenialCode.MALFORMED,
        lambda: GateScene(intent=make_intent(quantity_lots=1.5)),
    ),
    Case(
        "well_formed", DenialCode.MALFORMED, lambda: GateScene(intent=make_intent(order_type=None))
    ),
    Case("well_formed", DenialCode.MALFORMED, lambda: GateScene(intent=make_intent(reduce_only=0))),
    *(
        Case(
            "well_formed",
            DenialCode.MALFORMED,
            lambda shares=shares: GateScene(intent=make_intent(agent_share_A=shares)),  # type: ignore[misc]  # mypy knows no defaults of lambdas
        )
        for shares in (
            (1.0,),
            (1.0, 1.0, 0.0, 0.0, 0.0),
            (1.5, -0.5, 0.0, 0.0, 0.0),
            (float("nan"), 1.0, 0.0, 0.0, 0.0),
        )
    ),
    Case(
        "sequence_fresh",
        DenialCode.SEQUENCE_REUSED,
        lambda: GateScene(
            earlier=(make_intent(5),), intent=make_intent(5, price_ticks=BTC_TICKS + 1)
        ),
    ),
    Case(
        "breaker_permits",
        DenialCode.BREAKER_REDUCE_ONLY,
        lambda: GateScene(breaker=BreakerState.REDUCE_ONLY),
    ),
    Case(
        "breaker_permits",
        DenialCode.BREAKER_REDUCE_ONLY,
        lambda: GateScene(breaker=BreakerState.FLATTEN),
    ),
    Case(
        "breaker_permits",
        DenialCode.BREAKER_CANCEL,
        lambda: reducing(
            breaker=BreakerState.CANCEL, intent=make_intent(**REDUCE, order_type=OrderType.GTC)
        ),
    ),
    Case(
        "breaker_permits",
        DenialCode.BREAKER_HALTED,
        lambda: reducing(breaker=BreakerState.HALTED),
    ),
    Case(
        "truly_reduces",
        DenialCode.REDUCE_FROM_FLAT,
        lambda: GateScene(intent=make_intent(reduce_only=True)),
    ),
    Case(
        "truly_reduces",
        DenialCode.REDUCE_WRONG_SIDE,
        lambda: reducing(intent=make_intent(reduce_only=True)),
    ),
    Case(
        "truly_reduces",
        DenialCode.REDUCE_TOO_LARGE,
        lambda: reducing(intent=make_intent(**REDUCE, quantity_lots=101)),
    ),
    Case(
        "truly_reduces",
        DenialCode.REDUCE_TOO_LARGE,
        lambda: reducing(working=tally(2, [make_order(BTC, Side.SELL, 1, reduce_only=True)])),
    ),
    Case(
        "truly_reduces",
        DenialCode.REDUCE_TOO_LARGE,
        lambda: reducing(working=tally(2, [make_order(BTC, Side.SELL, 1, is_unknown=True)])),
    ),
    Case(
        "lots_filter",
        DenialCode.LOTS_FILTER,
        lambda: GateScene(instruments=COARSE, intent=make_intent(quantity_lots=9)),
    ),
    Case(
        "lots_filter",
        DenialCode.LOTS_FILTER,
        lambda: GateScene(instruments=COARSE, intent=make_intent(quantity_lots=100)),
    ),
    Case(
        "notional_filter",
        DenialCode.NOTIONAL_FILTER,
        lambda: GateScene(instruments=COSTLY, intent=make_intent(quantity_lots=1)),
    ),
    *(
        Case("feed_ok", DenialCode.FEED_NOT_OK, on_feed(verdict))
        for verdict in (*(each for each in Verdict if each is not Verdict.OK), None)
    ),
    Case(
        "price_known",
        DenialCode.QUOTE_MISSING,
        lambda: GateScene(market=make_market(bid_lots=(0, 1))),
    ),
    Case(
        "price_known",
        DenialCode.QUOTE_MISSING,
        lambda: GateScene(market=make_market(ask_ticks=(0, ETH_TICKS))),
    ),
    Case(
        "price_known",
        DenialCode.QUOTE_MISSING,
        lambda: GateScene(market=make_market(bid_ticks=(BTC_TICKS + 1, ETH_TICKS))),
    ),
    Case(
        "price_known",
        DenialCode.QUOTE_MISSING,
        lambda: GateScene(market=make_market(bid_ticks=(float("nan"), ETH_TICKS))),
    ),
    *(
        Case("model_ok", DenialCode.MODEL_NOT_OK, on_model(verdict))
        for verdict in ModelVerdict
        if verdict is not ModelVerdict.OK
    ),
    Case("model_ok", DenialCode.MODEL_NOT_OK, lambda: GateScene(model=None)),
    Case("model_ok", DenialCode.MODEL_NOT_OK, lambda: GateScene(model=())),
    Case(
        "agents_armed",
        DenialCode.AGENT_DISARMED,
        lambda: DisarmedScene(intent=make_intent(agent_share_A=FIRST_ONLY)),
    ),
    Case(
        "agents_armed",
        DenialCode.AGENT_DISARMED,
        lambda: GateScene(
            limits=small_limits(agent_executions_max=2),
            earlier=tuple(
                make_intent(n, price_ticks=BTC_TICKS + n, agent_share_A=FIRST_ONLY)
                for n in range(2)
            ),
            intent=make_intent(2, price_ticks=BTC_TICKS + 2, agent_share_A=(0.5, 0.5, 0, 0, 0)),
        ),
    ),
    Case(
        "agents_armed",
        DenialCode.AGENT_DISARMED,
        lambda: GateScene(
            limits=small_limits(agent_executions_max=0),
            intent=make_intent(agent_share_A=LAST_ONLY),
        ),
    ),
    Case(
        "last_price_known",
        DenialCode.QUOTE_MISSING,
        lambda: reducing(market=make_market(bid_ticks=(0, 0), mark_ticks=(0, 0))),
    ),
    Case(
        "quote_fresh",
        DenialCode.QUOTE_STALE,
        lambda: GateScene(
            market=make_market(quote_received_ns=(NOW_NS - 3000 * NS_PER_MS - 1, NOW_NS))
        ),
    ),
    Case(
        "quote_fresh",
        DenialCode.QUOTE_STALE,
        lambda: GateScene(market=make_market(quote_received_ns=(NOW_NS + 1, NOW_NS))),
    ),
    Case(
        "quote_fresh",
        DenialCode.QUOTE_STALE,
        lambda: GateScene(market=make_market(quote_received_ns=(0, NOW_NS)), now_ns=NOW_NS),
    ),
    Case(
        "marks_known",
        DenialCode.MARK_MISSING,
        lambda: GateScene(market=make_market(mark_ticks=(0, ETH_TICKS))),
    ),
    Case(
        "marks_known",
        DenialCode.MARK_MISSING,
        lambda: GateScene(ledger=make_ledger((0, 10), marks=(BTC_TICKS, 0))),
    ),
    Case(
        "marks_fresh",
        DenialCode.MARK_STALE,
        lambda: GateScene(
            market=make_market(mark_received_ns=(NOW_NS - 5000 * NS_PER_MS - 1, NOW_NS))
        ),
    ),
    Case(
        "marks_fresh",
        DenialCode.MARK_STALE,
        lambda: GateScene(
            ledger=make_ledger(marked_ns=(NOW_NS, 0)),
            working=tally(2, [make_order(ETH, Side.BUY, 10)]),
        ),
    ),
    Case(
        "collar_mid",
        DenialCode.COLLAR_MID,
        lambda: GateScene(
            market=make_market(mark_ticks=(BTC_TICKS + 1000, ETH_TICKS)),
            intent=make_intent(price_ticks=BTC_TICKS + 3001),
        ),
    ),
    Case(
        "collar_mid",
        DenialCode.COLLAR_MID,
        lambda: reducing(intent=make_intent(**REDUCE, price_ticks=BTC_TICKS - 3001)),
    ),
    Case(
        "collar_mark",
        DenialCode.COLLAR_MARK,
        lambda: GateScene(
            market=make_market(
                bid_ticks=(BTC_TICKS + 999, 1), ask_ticks=(BTC_TICKS + 1001, ETH_TICKS)
            ),
            intent=make_intent(price_ticks=BTC_TICKS + 3001),
        ),
    ),
    Case(
        "marks_fresh",
        DenialCode.MARK_STALE,
        lambda: GateScene(market=make_market(mark_received_ns=(NOW_NS + 1, NOW_NS))),
    ),
    Case(
        "no_self_trade",
        DenialCode.SELF_TRADE,
        lambda: resting(Side.SELL, BTC_TICKS),
    ),
    Case(
        "no_self_trade",
        DenialCode.SELF_TRADE,
        lambda: resting(Side.BUY, BTC_TICKS, intent=make_intent(**SELL)),
    ),
    Case(
        "no_self_trade",
        DenialCode.SELF_TRADE,
        lambda: resting(
            Side.BUY, BTC_TICKS, intent=make_intent(**REDUCE), ledger=make_ledger(LONG)
        ),
    ),
    Case(
        "depth_share",
        DenialCode.DEPTH_SHARE,
        lambda: GateScene(market=make_market(ask_depth_lots=(399, 1))),
    ),
    Case(
        "depth_share",
        DenialCode.DEPTH_SHARE,
        lambda: GateScene(market=make_market(bid_depth_lots=(399, 1)), intent=make_intent(**SELL)),
    ),
    Case(
        "depth_share",
        DenialCode.DEPTH_SHARE,
        lambda: GateScene(market=make_market(ask_depth_lots=(float("nan"), 1))),
    ),
    Case(
        "day_volume_known",
        DenialCode.DAY_VOLUME_STALE,
        lambda: GateScene(market=make_market(day_volume_received_ns=(0, NOW_NS))),
    ),
    Case(
        "day_volume_known",
        DenialCode.DAY_VOLUME_STALE,
        lambda: GateScene(
            market=make_market(day_volume_received_ns=(NOW_NS - 901 * 10**9, NOW_NS))
        ),
    ),
    Case(
        "day_volume_known",
        DenialCode.DAY_VOLUME_STALE,
        lambda: GateScene(market=make_market(day_volume_received_ns=(NOW_NS + 1, NOW_NS))),
    ),
    Case(
        "day_volume_share",
        DenialCode.DAY_VOLUME_SHARE,
        lambda: GateScene(market=make_market(day_volume_lots=(9_999, 10**9))),
    ),
    Case(
        "day_volume_share",
        DenialCode.DAY_VOLUME_SHARE,
        lambda: GateScene(market=make_market(day_volume_lots=(float("nan"), 10**9))),
    ),
    Case(
        "last_collar_mark",
        DenialCode.COLLAR_MARK,
        lambda: reducing(
            market=make_market(bid_ticks=(0, 0)),
            intent=make_intent(**REDUCE, price_ticks=BTC_TICKS - 3001),
        ),
    ),
    Case(
        "fate_known",
        DenialCode.UNKNOWN_ORDER,
        lambda: GateScene(working=tally(2, [make_order(BTC, Side.SELL, 1, is_unknown=True)])),
    ),
    Case(
        "equity_known",
        DenialCode.EQUITY_MISSING,
        lambda: GateScene(ledger=make_ledger((10, 0), marks=(0, ETH_TICKS))),
    ),
    Case(
        "order_notional",
        DenialCode.ORDER_NOTIONAL,
        lambda: GateScene(limits=small_limits(order_notional_quote_max=5999.99)),
    ),
    Case(
        "position_notional",
        DenialCode.POSITION_NOTIONAL,
        lambda: GateScene(
            ledger=make_ledger((400, 0)), working=tally(2, [make_order(BTC, Side.BUY, 334)])
        ),
    ),
    Case(
        "position_notional",
        DenialCode.POSITION_NOTIONAL,
        lambda: GateScene(
            intent=make_intent(**SELL),
            ledger=make_ledger((-400, 0)),
            working=tally(2, [make_order(BTC, Side.SELL, 334)]),
        ),
    ),
    Case(
        "gross_notional",
        DenialCode.GROSS_NOTIONAL,
        lambda: GateScene(
            ledger=make_ledger((700, 0)),  # 42000, with the order 48000
            working=tally(2, [make_order(ETH, Side.SELL, 16154)]),  # 42000.4
        ),
    ),
    Case(
        "net_notional",
        DenialCode.NET_NOTIONAL,
        lambda: GateScene(
            ledger=make_ledger((600, 13_000)),  # 36000 and 33800, with the order 75800
        ),
    ),
    Case(
        "net_notional",
        DenialCode.NET_NOTIONAL,
        lambda: GateScene(
            intent=make_intent(**SELL),
            ledger=make_ledger((-600, 0)),
            working=tally(2, [make_order(ETH, Side.SELL, 13_000)]),
        ),
    ),
    Case(
        "margin",
        DenialCode.MARGIN,
        lambda: GateScene(
            ledger=make_ledger(wallet_quote=599), limits=small_limits(leverage_max=50.0)
        ),
    ),
    Case(
        "leverage",
        DenialCode.LEVERAGE,
        lambda: GateScene(ledger=make_ledger(wallet_quote=5999)),
    ),
    Case(
        "daily_loss",
        DenialCode.DAILY_LOSS,
        lambda: GateScene(ledger=losing_ledger(5_000, days_ago=0), limits=WIDE_POSITION),
    ),
    Case(
        "drawdown",
        DenialCode.DRAWDOWN,
        lambda: GateScene(ledger=losing_ledger(15_000, days_ago=1), limits=WIDE_POSITION),
    ),
    Case(
        "not_duplicate",
        DenialCode.DUPLICATE,
        lambda: GateScene(earlier=(make_intent(1),), intent=make_intent(2)),
    ),
    Case(
        "message_budget",
        DenialCode.MESSAGE_BUDGET,
        lambda: GateScene(
            limits=TIGHT_BUDGET,
            earlier=(make_intent(1),),
            intent=make_intent(2, price_ticks=BTC_TICKS + 1),
        ),
    ),
)
