"""A small market, a stateless judge and a venue that fills: an engine that trades in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from config.load import settings_sha256
from config.settings import DecisionSettings, Settings
from daemon.decisions import Decider, Model
from daemon.effects import Effect, SendOrder
from daemon.engine import Engine
from daemon.event_log import FORMAT, EventLog, Retention
from daemon.event_words import RunFacts
from kernels.events import (
    AGENTS,
    AccountState,
    DayVolume,
    DepthDiff,
    DepthSnapshot,
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

MS = 1_000_000
S = 1_000 * MS
START_NS = 1_700_000_000 * S
RUN_ID = "0123456789ab"
BAR_MS = 100
WIDE = Retention(segment_bytes=10**9, total_bytes=10**9, age_ns=10**18, state_interval_ns=5 * S)
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
SETTINGS = Settings(
    instruments=(INSTRUMENT.symbol,),
    decision=DecisionSettings(warm_up_bars=2, interval_ms=BAR_MS),
)


class FeatureJudge:
    """Every agent votes by the sign of other features: no memory, so any order gives the same."""

    def decide(self, obs_BF: NDArray[np.float32], held_BA: NDArray[np.int64]) -> Judgement:
        """Judge the rows one by one."""
        rows, agents = obs_BF.shape[0], len(AGENTS)
        sums_BA = np.stack(
            [obs_BF[:, a::agents].sum(axis=1, dtype=np.float32) for a in range(agents)], axis=1
        )
        regime_BK = np.full((rows, 7), 0.02, np.float32)
        regime_BK[np.arange(rows), (np.abs(sums_BA[:, 0]).astype(np.int64)) % 7] = 0.88
        return Judgement(
            preference_BA3=np.zeros((rows, agents, 3), np.float32),
            action_BA=1 + np.sign(sums_BA).astype(np.int64),
            confidence_BA=np.ones((rows, agents), np.float32),
            regime_BK=regime_BK,
            predicted_BA=(sums_BA / 100).astype(np.float32),
            healthy_BA=np.ones((rows, agents), np.bool_),
            regime_healthy_B=np.ones(rows, np.bool_),
        )


def make_model() -> Model:
    """Return a model around the judge; features enter as they are."""
    count = len(DEFAULT_FEATURE_NAMES)
    return Model(
        judge=FeatureJudge(),
        normalisation=Normalisation(mean_F=np.zeros(count), scale_F=np.ones(count)),
        feature_names=DEFAULT_FEATURE_NAMES,
        agent_names=AGENTS,
        exposure_frac_max=1.0,
    )


def make_facts(run_id: str = RUN_ID) -> RunFacts:
    """Return the facts of a run that started from a flat account."""
    return RunFacts(
        format=FORMAT,
        run_id=run_id,
        segment=0,
        started_ns=START_NS,
        settings=SETTINGS.model_dump(mode="json"),
        settings_sha256=settings_sha256(SETTINGS),
        bundle_path="",
        runtime="compiled",
        bundle_sha256="",
        instruments=(INSTRUMENT,),
        opening=opening_account(),
        versions={},
        account="fake",
    )


def opening_account() -> AccountState:
    """Return a flat account."""
    return AccountState(received_ns=START_NS, wallet_quote_e8=100_000 * E8, position_lots=(0,))


def make_engine(run_id: str = RUN_ID) -> Engine:
    """Return an engine before its first event."""
    return Engine(
        instruments=(INSTRUMENT,),
        settings=SETTINGS,
        run_id=run_id,
        decider=Decider(make_model(), SETTINGS, 1),
        opening=opening_account(),
    )


@dataclass(slots=True)
class MemoryVenue:
    """Fills every order at its limit one turn after it was sent."""

    waiting: list[Event] = field(default_factory=list)
    trade_id: int = 0

    def take(self, effects: tuple[Effect, ...], now_ns: int) -> None:
        """Answer what was sent."""
        for effect in effects:
            if not isinstance(effect, SendOrder):
                continue
            intent = effect.approved.intent
            self.trade_id += 1
            self.waiting.append(
                OrderUpdate(
                    instrument=0,
                    event_ns=now_ns,
                    received_ns=now_ns,
                    client_order_id=effect.client_order_id,
                    status=OrderStatus.FILLED,
                    filled_lots=intent.quantity_lots,
                    code=0,
                    reason="trade",
                )
            )
            self.waiting.append(
                Fill(
                    instrument=0,
                    event_ns=now_ns,
                    received_ns=now_ns,
                    client_order_id=effect.client_order_id,
                    trade_id=self.trade_id,
                    side=intent.side,
                    price_ticks=intent.price_ticks,
                    quantity_lots=intent.quantity_lots,
                    fee_quote_e8=12_345,
                    is_maker=False,
                )
            )


def market_batches(turns: int, seed: int = 1, start_ns: int = START_NS) -> Iterator[list[Event]]:
    """Yield the market events of that many turns, 10 ms each."""
    draws = np.random.default_rng(seed)
    now_ns, bid_ticks, update_id = start_ns, 600_000, 10
    yield [
        FeedStatus(instrument=0, received_ns=now_ns, verdict=Verdict.OK, reason="test"),
        DepthSnapshot(
            instrument=0,
            event_ns=now_ns,
            received_ns=now_ns,
            last_update_id=update_id,
            bid_levels_n2=np.array([[bid_ticks - i, 50 + i] for i in range(20)], np.int64),
            ask_levels_n2=np.array([[bid_ticks + 1 + i, 60 + i] for i in range(20)], np.int64),
        ),
    ]
    for number in range(turns - 1):
        now_ns += 10 * MS
        bid_ticks += int(draws.integers(-3, 4))
        update_id += 1
        lots = int(draws.integers(1, 90))
        stamps = {"instrument": 0, "event_ns": now_ns, "received_ns": now_ns}
        events: list[Event] = [
            Quote(
                **stamps,
                update_id=update_id,
                bid_ticks=bid_ticks,
                bid_lots=lots,
                ask_ticks=bid_ticks + 1,
                ask_lots=91 - lots,
            ),
            DepthDiff(
                **stamps,
                first_update_id=update_id,
                last_update_id=update_id,
                previous_update_id=update_id - 1,
                bid_levels_n2=np.array([[600_000 - lots, lots]], np.int64),
                ask_levels_n2=np.zeros((0, 2), np.int64),
            ),
        ]
        if number % 3 == 0:
            side = Side.BUY if draws.random() < 0.5 else Side.SELL
            events.append(
                Trade(
                    **stamps,
                    trade_id=number,
                    price_ticks=bid_ticks,
                    quantity_lots=lots,
                    aggressor=side,
                )
            )
        if number % 50 == 0:
            events.append(MarkPrice(**stamps, mark_ticks=bid_ticks, funding_rate_frac=1e-4))
        if number % 400 == 0:
            events.append(DayVolume(instrument=0, received_ns=now_ns, volume_lots=10_000_000))
        yield events


def trade_in_memory(
    engine: Engine,
    batches: Iterator[list[Event]],
    log: EventLog | None = None,
    venue: MemoryVenue | None = None,
) -> list[tuple[Effect, ...]]:
    """Fold batches as the daemon does, recording them; return all effects that were not empty."""
    venue = venue or MemoryVenue()
    seen: list[tuple[Effect, ...]] = []
    if log is not None:
        log.put_state(engine)
    for batch in batches:
        events = [*venue.waiting, *batch]
        venue.waiting = []
        now_ns = batch[-1].received_ns
        events.append(DrainEnd(received_ns=now_ns, drained_count=len(events)))
        answers: list[tuple[int, tuple[Effect, ...]]] = []
        for place, event in enumerate(events):
            effects = engine.step(event)
            if effects:
                answers.append((place, effects))
                seen.append(effects)
                venue.take(effects, now_ns)
        if log is not None:
            log.put(events, answers, engine)
            if log.is_state_due():
                log.put_state(engine)
    return seen


def record_run(
    directory: Path, turns: int = 1_500, retention: Retention = WIDE, run_id: str = RUN_ID
) -> Engine:
    """Trade and record that many turns into ``directory``; return the engine at its end."""
    engine = make_engine(run_id)
    log = EventLog(directory, make_facts(run_id), retention, started_ns=START_NS)
    trade_in_memory(engine, market_batches(turns), log)
    log.put_state(engine, is_last=True)
    assert log.close(), log.error
    return engine
