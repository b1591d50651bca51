"""Everything that Prometheus may ask of a running daemon, read from the live parts as plain values.

``CATALOGUE`` is the fixed list; the README's table and the dashboard are held against it by tests.
Label values come from fixed words, instruments and codes, so the number of series is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from daemon.metrics import Buckets
from kernels.events import REGIMES, Verdict
from kernels.units import E8
from risk.breaker import BreakerState

if TYPE_CHECKING:
    from daemon.assembly import Parts
    from daemon.effects import Decided

Kind = Literal["gauge", "counter", "histogram"]
NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSpec:
    """One metric: name as in Prometheus, kind, label names, and what it says."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric with its samples: label values in the order of ``spec.labels``, and a number."""

    spec: MetricSpec
    samples: Sequence[tuple[tuple[str, ...], float | Buckets]]


_ROWS: tuple[tuple[str, Kind, str, str], ...] = (
    # process and run
    ("info", "gauge", "run_id mode venue preset settings_sha256", "always 1; says what runs"),
    ("uptime_seconds", "gauge", "", "since the run began to trade"),
    ("is_stopping", "gauge", "", "1 while the run winds down"),
    # latency
    ("stage_duration_seconds", "histogram", "stage", "time in one stage, exact below each bound"),
    # feed
    ("events_total", "counter", "kind", "market and account events taken from the venue"),
    ("events_lost_total", "counter", "", "events the venue sent and the engine never saw"),
    ("events_waiting", "gauge", "", "events between socket and engine now"),
    ("feed_gaps_total", "counter", "", "breaks found in the chain of book updates"),
    ("feed_resyncs_total", "counter", "", "books loaded anew"),
    ("feed_reconnects_total", "counter", "", "sockets opened again"),
    ("feed_audits_total", "counter", "result", "books compared with a REST snapshot"),
    ("feed_skew_seconds", "gauge", "", "venue clock against ours"),
    ("feed_verdict", "gauge", "instrument verdict", "1 for the verdict in force, else 0"),
    ("feed_not_ok_seconds_total", "counter", "instrument verdict", "time with another verdict"),
    ("quote_age_seconds", "gauge", "instrument", "age of the newest best bid and ask"),
    # decisions
    ("decisions_total", "counter", "", "decisions taken, one per instrument and interval"),
    ("decisions_skipped_total", "counter", "reason", "decision points without a decision"),
    ("regime_decisions_total", "counter", "regime", "decisions by most probable regime"),
    ("regime_probability", "gauge", "instrument regime", "posterior at the newest decision"),
    ("agent_weight", "gauge", "agent", "weight in the newest decision"),
    ("regime_transition_rate", "gauge", "", "share of decisions in another regime than the last"),
    ("weight_diversity", "gauge", "", "mean of 1 / sum of squared weights: experts that count"),
    ("decision_share", "gauge", "action", "share of decisions that wanted that position"),
    ("agent_armed", "gauge", "agent", "1 while the agent may ask for new risk"),
    ("target_exposure", "gauge", "instrument", "-1 to 1, before sizing"),
    ("disagreement", "gauge", "instrument", "weighted deviation of votes, 0 to 1"),
    ("model_info", "gauge", "bundle sha256 stage", "always 1; which bundle decides, how far it is"),
    ("model_stage_decisions", "gauge", "", "decisions of the newcomer in its present stage"),
    # orders
    ("orders_total", "counter", "status", "orders by what became of them"),
    ("orders_approved_total", "counter", "", "intents that passed the gate"),
    ("orders_denied_total", "counter", "code", "intents the gate refused"),
    ("orders_open", "gauge", "", "orders that may still move a position"),
    ("orders_unknown", "gauge", "", "open orders whose fate is not proven"),
    # account and risk
    ("equity_quote", "gauge", "", "wallet plus unrealised result"),
    ("realised_quote", "gauge", "", "result of closed lots before fees and funding"),
    ("unrealised_quote", "gauge", "", "result of open lots at their marks"),
    ("fees_quote", "gauge", "", "fees paid; negative where rebates prevail"),
    ("drawdown_frac", "gauge", "", "loss from the peak of equity"),
    ("day_loss_frac", "gauge", "", "loss since 00:00 UTC"),
    ("position_base", "gauge", "instrument", "signed quantity held"),
    ("position_notional_quote", "gauge", "instrument", "signed value held, at the mark"),
    ("mark_price_quote", "gauge", "instrument", "the venue's valuation price"),
    ("gross_notional_quote", "gauge", "", "sum of absolute position values"),
    ("net_notional_quote", "gauge", "", "sum of signed position values"),
    ("limit", "gauge", "limit", "the limits in force, under their names in the settings"),
    ("breaker_state", "gauge", "state", "1 for the state in force, else 0"),
    ("guard_armed", "gauge", "", "1 while the guard watches; 0 also where there is none"),
    # operations
    ("alerts_total", "counter", "code", "alerts noted, by log code"),
    ("alert_deliveries_total", "counter", "result", "alerts brought out, failed, or held back"),
    ("log_lines_dropped_total", "counter", "", "log lines the reader was too slow for"),
    ("journal_rows_waiting", "gauge", "", "rows between engine and journal file"),
)

CATALOGUE: dict[str, MetricSpec] = {
    name: MetricSpec(
        name=f"metaensemble_{name}", kind=kind, labels=tuple(labels.split()), sentence=sentence
    )
    for name, kind, labels, sentence in _ROWS
}
"""Every metric of ours, by its name without the prefix."""


def collect(parts: Parts, *, uptime_ns: int, deliveries: Mapping[str, int]) -> Iterator[Family]:
    """Yield every family of ``CATALOGUE`` with the values of now, in its order.

    ``deliveries`` counts alerts by result. Lazy, so that a caller may let the loop breathe between
    two families.
    """
    readings = {
        **dict(_run(parts, uptime_ns)),
        **dict(_feed(parts)),
        **dict(_decisions(parts)),
        **dict(_account(parts)),
        **dict(_operations(parts, deliveries)),
    }
    for name, spec in CATALOGUE.items():
        if name == "stage_duration_seconds":
            for stage in parts.metrics.stages:
                buckets = parts.metrics.histogram(stage).buckets()
                yield Family(spec=spec, samples=[((stage,), buckets)])
        else:
            yield Family(spec=spec, samples=readings[name])


Samples = list[tuple[tuple[str, ...], float | Buckets]]
Reading = tuple[str, Samples]


def _one(name: str, value: float) -> Reading:
    return name, [((), value)]


def _by(name: str, values: Mapping[str, float]) -> Reading:
    return name, [((key,), value) for key, value in values.items()]


def _run(parts: Parts, uptime_ns: int) -> Iterator[Reading]:
    settings = parts.settings
    said = (
        *(parts.run_id, settings.mode, settings.venue, settings.preset),
        parts.settings_sha256,
    )
    yield "info", [(said, 1.0)]
    yield _one("uptime_seconds", uptime_ns / NS_PER_S)
    yield _one("is_stopping", float(parts.engine.is_stopping))


def _feed(parts: Parts) -> Iterator[Reading]:
    counters = parts.feed.counters
    counts = parts.event_counts()
    yield _by("events_total", {k: n for k, n in counts.items() if k != "lost"})
    yield _one("events_lost_total", counters.lost_count)
    yield _one("events_waiting", parts.lanes.waiting_count)
    yield _one("feed_gaps_total", counters.gap_count)
    yield _one("feed_resyncs_total", counters.resync_count)
    yield _one("feed_reconnects_total", counters.reconnect_count)
    failed = counters.audit_failed_count
    yield _by("feed_audits_total", {"same": counters.audit_count - failed, "different": failed})
    yield _one("feed_skew_seconds", counters.skew_ns / NS_PER_S)
    markets = parts.engine.markets
    yield (
        "feed_verdict",
        [
            ((market.instrument.symbol, verdict.name.lower()), float(market.verdict is verdict))
            for market in markets
            for verdict in Verdict
        ],
    )
    yield (
        "feed_not_ok_seconds_total",
        [
            ((symbol, str(verdict)), spent_ns / NS_PER_S)
            for symbol, by_verdict in counters.not_ok_ns.items()
            for verdict, spent_ns in by_verdict.items()
        ],
    )
    now_ns = parts.clock.now_ns()
    ages = {
        market.instrument.symbol: max(now_ns - market.quote_received_ns, 0) / NS_PER_S
        for market in markets
        if market.quote_received_ns
    }
    yield _by("quote_age_seconds", ages)


def _decisions(parts: Parts) -> Iterator[Reading]:
    engine = parts.engine
    yield _one("decisions_total", engine.decision_count)
    yield _by("decisions_skipped_total", engine.skip_counts)
    yield _by("regime_decisions_total", dict(zip(REGIMES, engine.regime_counts, strict=True)))
    newest: dict[str, Decided] = {}
    for decided in reversed(engine.history):
        newest.setdefault(parts.instruments[decided.instrument].symbol, decided)
        if len(newest) == len(parts.instruments):
            break
    yield (
        "regime_probability",
        [
            ((symbol, regime), share)
            for symbol, decided in newest.items()
            for regime, share in zip(REGIMES, decided.regime_K, strict=True)
        ],
    )
    agents = engine.decider.expert_names
    yield _by("agent_weight", dict(zip(agents, map(float, engine.weights_N), strict=True)))
    tracker = parts.dispatcher.tracker
    for name, value in (
        ("regime_transition_rate", tracker.regime_transition_rate),
        ("weight_diversity", tracker.weight_diversity),
    ):
        yield name, [] if value is None else [((), value)]
    yield _by("decision_share", tracker.decision_distribution)
    armed = map(float, engine.desk.armed_agents)
    yield _by("agent_armed", dict(zip(agents, armed, strict=True)))
    yield _by("target_exposure", {symbol: one.exposure for symbol, one in newest.items()})
    yield _by("disagreement", {symbol: one.disagreement for symbol, one in newest.items()})
    rollout = engine.decider.rollout
    bundle = rollout.active.bundle
    yield "model_info", [((bundle.name, bundle.sha256, str(rollout.stage)), 1.0)]
    yield _one("model_stage_decisions", rollout.newcomer.decisions)
    desk = engine.desk
    yield _by("orders_total", desk.orders.counts)
    yield _one("orders_approved_total", desk.approved_count)
    yield _by("orders_denied_total", {str(code): n for code, n in desk.denied_counts.items()})
    open_orders = desk.orders.open_orders()
    yield _one("orders_open", len(open_orders))
    unknown = sum(order.status.name == "UNKNOWN" for order in open_orders)
    yield _one("orders_unknown", unknown)


def _account(parts: Parts) -> Iterator[Reading]:
    desk = parts.engine.desk
    ledger = desk.ledger
    for name, amount_e8 in (
        ("equity_quote", ledger.equity_quote_e8),
        ("realised_quote", ledger.realised_quote_e8),
        ("unrealised_quote", ledger.unrealised_quote_e8),
        ("fees_quote", ledger.fees_quote_e8),
        ("gross_notional_quote", ledger.gross_notional_quote_e8),
        ("net_notional_quote", ledger.net_notional_quote_e8),
    ):
        yield _one(name, amount_e8 / E8)
    yield _one("drawdown_frac", ledger.drawdown_frac)
    yield _one("day_loss_frac", ledger.day_loss_frac)
    held, worth, marks = {}, {}, {}
    for market in parts.engine.markets:
        instrument = market.instrument
        lots = ledger.position_lots(instrument.index)
        held[instrument.symbol] = lots * instrument.lot_size
        worth[instrument.symbol] = instrument.notional_quote_e8(market.mark_ticks, lots) / E8
        if market.mark_ticks > 0:
            marks[instrument.symbol] = market.mark_ticks * instrument.tick_size
    yield _by("position_base", held)
    yield _by("position_notional_quote", worth)
    yield _by("mark_price_quote", marks)
    limits = parts.settings.limits
    yield _by("limit", {name: float(getattr(limits, name)) for name in type(limits).model_fields})
    state = desk.breaker.state
    yield _by("breaker_state", {one.name: float(one is state) for one in BreakerState})
    guard = parts.guard
    yield _one("guard_armed", float(guard is not None and guard.describe()["state"] == "armed"))


def _operations(parts: Parts, deliveries: Mapping[str, int]) -> Iterator[Reading]:
    yield _by("alerts_total", parts.log.alert_counts())
    yield _by("alert_deliveries_total", deliveries)
    yield _one("log_lines_dropped_total", parts.log.dropped_count)
    yield _one("journal_rows_waiting", parts.journal.queued_count)
