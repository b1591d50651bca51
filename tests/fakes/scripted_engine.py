"""A real engine under a judge that says what the test wants, fed second by second."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from config.settings import DecisionSettings, Settings
from daemon.decisions import Decider, Model
from daemon.effects import Effect, SendOrder
from daemon.engine import Engine
from kernels.events import (
    AGENTS,
    AccountState,
    DayVolume,
    DrainEnd,
    Event,
    FeedStatus,
    Fill,
    MarkPrice,
    OrderStatus,
    OrderUpdate,
    Quote,
    Side,
    Trade,
    Verdict,
)
from kernels.features import DEFAULT_FEATURE_NAMES
from kernels.units import E8, Instrument
from strategy.observation import Normalisation
from strategy.runtime import Judgement

S = 1_000_000_000
START = 1_700_000_000 * S
SELL, HOLD, BUY = 0, 1, 2

INSTRUMENT = Instrument(
    index=0,
    symbol="BTC/USDT:USDT",
    venue_id="BTCUSDT",
    tick_size_e8=E8 // 10,
    lot_size_e8=E8 // 1000,
    lots_min=1,
    lots_max=1_000_000,
    notional_min_quote_e8=5 * E8,
    maker_fee_frac=0.0002,
    taker_fee_frac=0.0005,
)


class ScriptedJudge:
    """Answers what the test says: one action for all agents, and their health."""

    def __init__(self, action: int = BUY) -> None:
        self.action = action
        self.healthy_A = np.ones(len(AGENTS), np.bool_)
        self.raises = False
        self.seen: list[NDArray[np.float32]] = []

    def decide(self, obs_BF: NDArray[np.float32], held_BA: NDArray[np.int64]) -> Judgement:
        if self.raises:
            raise RuntimeError("scripted")
        rows = obs_BF.shape[0]
        self.seen.append(obs_BF.copy())
        regime_BK = np.full((rows, 7), 0.02, np.float32)
        regime_BK[:, 2] = 0.88
        return Judgement(
            preference_BA3=np.zeros((rows, len(AGENTS), 3), np.float32),
            action_BA=np.where(self.healthy_A, self.action, -1)[None, :].repeat(rows, axis=0),
            confidence_BA=np.ones((rows, len(AGENTS)), np.float32),
            regime_BK=regime_BK,
            predicted_BA=np.zeros((rows, len(AGENTS)), np.float32),
            healthy_BA=self.healthy_A[None, :].repeat(rows, axis=0),
            regime_healthy_B=np.ones(rows, np.bool_),
        )


def make_engine(judge: ScriptedJudge, **changes: Any) -> Engine:
    fields: dict[str, Any] = {
        "instruments": ("BTC/USDT:USDT",),
        "decision": DecisionSettings(warm_up_bars=2),
    }
    settings = Settings(**(fields | changes))
    count = len(DEFAULT_FEATURE_NAMES)
    model = Model(
        judge=judge,
        normalisation=Normalisation(mean_F=np.zeros(count), scale_F=np.ones(count)),
        feature_names=DEFAULT_FEATURE_NAMES,
        agent_names=AGENTS,
        exposure_frac_max=1.0,
    )
    return Engine(
        instruments=(INSTRUMENT,),
        settings=settings,
        run_id="0123456789ab",
        decider=Decider(model, settings, 1),
        opening=AccountState(received_ns=START, wallet_quote_e8=100_000 * E8, position_lots=(0,)),
    )


def status(at_ns: int, verdict: Verdict = Verdict.OK) -> FeedStatus:
    return FeedStatus(instrument=0, received_ns=at_ns, verdict=verdict, reason="test")


def quote(at_ns: int, bid_ticks: int = 600_000) -> Quote:
    return Quote(
        instrument=0,
        event_ns=at_ns,
        received_ns=at_ns,
        update_id=at_ns,
        bid_ticks=bid_ticks,
        bid_lots=4000,
        ask_ticks=bid_ticks + 1,
        ask_lots=5000,
    )


def mark(at_ns: int, mark_ticks: int = 600_000) -> MarkPrice:
    return MarkPrice(
        instrument=0,
        event_ns=at_ns,
        received_ns=at_ns,
        mark_ticks=mark_ticks,
        funding_rate_frac=0.0001,
    )


def trade(at_ns: int) -> Trade:
    return Trade(
        instrument=0,
        event_ns=at_ns,
        received_ns=at_ns,
        trade_id=at_ns // S,
        price_ticks=600_001,
        quantity_lots=7,
        aggressor=Side.BUY,
    )


def second(number: int, bid_ticks: int = 600_000) -> list[Event]:
    """One second of market: a quote, a trade, a mark and the end of the drain."""
    at_ns = START + number * S
    return [
        quote(at_ns, bid_ticks),
        trade(at_ns + 1),
        mark(at_ns + 2, bid_ticks),
        DayVolume(instrument=0, received_ns=at_ns + 2, volume_lots=10_000_000),
        DrainEnd(received_ns=at_ns + 3, drained_count=3),
    ]


def fold(engine: Engine, events: list[Event]) -> list[Effect]:
    return [effect for event in events for effect in engine.step(event)]


def warm(engine: Engine, seconds: int = 3) -> list[Effect]:
    events: list[Event] = [status(START)]
    for number in range(seconds):
        events.extend(second(number))
    return fold(engine, events)


def of(effects: list[Effect], kind: type[Any]) -> list[Any]:
    return [effect for effect in effects if isinstance(effect, kind)]


def fill_of(send: SendOrder, at_ns: int) -> list[Event]:
    intent = send.approved.intent
    return [
        Fill(
            instrument=0,
            event_ns=at_ns,
            received_ns=at_ns,
            client_order_id=send.client_order_id,
            trade_id=1,
            side=intent.side,
            price_ticks=intent.price_ticks,
            quantity_lots=intent.quantity_lots,
            fee_quote_e8=E8,
            is_maker=False,
        ),
        OrderUpdate(
            instrument=0,
            event_ns=at_ns,
            received_ns=at_ns,
            client_order_id=send.client_order_id,
            status=OrderStatus.FILLED,
            filled_lots=intent.quantity_lots,
            code=0,
            reason="",
        ),
    ]
