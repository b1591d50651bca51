"""The one JSON object that ends ``metaensemble run --json``; its keys are a contract.

Keys may be added, never renamed: benchmarks and acceptance checks read them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daemon.engine import Engine
from daemon.metrics import StageSummary
from kernels.events import REGIMES, AccountState
from kernels.units import from_e8

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What the shell knows of a run beside the engine's own state."""

    run_id: str
    mode: str
    venue: str
    duration_s: float
    exit: str
    events: Mapping[str, int]
    feed: Mapping[str, Any]
    latency_ns: Mapping[str, StageSummary]
    model: Mapping[str, Any]
    settings_sha256: str
    alerts: Sequence[Mapping[str, Any]]
    venue_account: AccountState | None
    venue_report: Mapping[str, Any] | None


def summarise(engine: Engine, facts: RunFacts) -> dict[str, Any]:
    """Build the summary object of one run."""
    symbols = [state.instrument.symbol for state in engine.markets]
    ledger = engine.desk.ledger
    counts = engine.desk.orders.counts
    account = facts.venue_account
    return {
        "schema": SCHEMA,
        "run_id": facts.run_id,
        "mode": facts.mode,
        "venue": facts.venue,
        "instruments": symbols,
        "duration_s": round(facts.duration_s, 3),
        "exit": facts.exit,
        "events": dict(facts.events),
        "feed": dict(facts.feed) | _book_agreement(engine),
        "decisions": engine.decision_count,
        "decisions_skipped": dict(engine.skip_counts),
        "orders": {
            "intents": engine.intent_count,
            "approved": engine.desk.approved_count,
            "denied": dict(engine.desk.denied_counts),
            **counts,
            "open_at_end": len(engine.desk.orders.open_orders()),
        },
        "position_lots": {
            symbol: ledger.position_lots(index) for index, symbol in enumerate(symbols)
        },
        "venue_position_lots": {
            symbol: (account.position_lots[index] if account else None)
            for index, symbol in enumerate(symbols)
        },
        "equity_quote": from_e8(ledger.equity_quote_e8),
        "fees_quote": from_e8(ledger.fees_quote_e8),
        "realised_quote": from_e8(ledger.realised_quote_e8),
        "drawdown_frac": ledger.drawdown_frac,
        "regime_share": _shares(engine.regime_counts, REGIMES),
        "weights": engine.named_weights,
        "latency_ns": {stage: dict(figures) for stage, figures in facts.latency_ns.items()},
        "model": dict(facts.model),
        "settings_sha256": facts.settings_sha256,
        "restarts": 0,
        "breaker": engine.desk.breaker.state.name,
        "alerts": list(facts.alerts),
        "exchange": dict(facts.venue_report) if facts.venue_report else None,
    }


def closing_lines(summary: Mapping[str, Any]) -> str:
    """Say in a few lines for a person what the summary says for machines."""
    orders, events = summary["orders"], summary["events"]
    denied = sum(orders["denied"].values())
    lines = [
        f"run {summary['run_id']} ended {summary['exit']} after {summary['duration_s']:.1f} s "
        f"on {summary['venue']} ({summary['mode']})",
        f"  market     {events['quote']:,} quotes, {events['trade']:,} trades, "
        f"{events['depth']:,} book updates; {events['lost']:,} lost",
        f"  decisions  {summary['decisions']:,}",
        f"  orders     {orders['sent']:,} sent, {orders['filled']:,} filled, {denied:,} denied, "
        f"{orders['rejected']:,} rejected, {orders['open_at_end']:,} left open",
        f"  equity     {summary['equity_quote']}, fees {summary['fees_quote']}, "
        f"drawdown {summary['drawdown_frac']:.3%}, breaker {summary['breaker']}",
    ]
    for symbol, lots in summary["position_lots"].items():
        theirs = summary["venue_position_lots"][symbol]
        agreement = "the venue says the same" if lots == theirs else f"THE VENUE SAYS {theirs}"
        lines.append(f"  position   {symbol} {lots} lots, {agreement}")
    return "\n".join(lines)


def _book_agreement(engine: Engine) -> dict[str, int]:
    return {
        "book_tops_checked": sum(state.top_checked_count for state in engine.markets),
        "book_tops_different": sum(state.top_mismatch_count for state in engine.markets),
    }


def _shares(counts: Sequence[int], names: Sequence[str]) -> dict[str, float]:
    total = sum(counts)
    return {
        name: (count / total if total else 0.0) for name, count in zip(names, counts, strict=True)
    }
