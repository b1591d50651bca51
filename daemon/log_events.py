"""The fixed list of everything the daemon may say, each with a code that never changes.

Codes: ME1xx life of a run, ME2xx feed, ME3xx decisions and models, ME4xx orders, ME5xx risk and
breaker, ME6xx the shell around, ME7xx the guard. An operator filters by code and is woken by
``alert``. A code is never given to another event, not even after its event is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["debug", "info", "warning", "error", "critical"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSpec:
    """One event: its stable code, how bad it is, whether it wakes somebody, what it means."""

    name: str
    code: str
    severity: Severity
    alert: bool
    sentence: str


def _index(
    rows: tuple[tuple[str, str, Severity, bool, str], ...],
) -> dict[str, EventSpec]:
    specs = [
        EventSpec(name=name, code=code, severity=severity, alert=alert, sentence=sentence)
        for name, code, severity, alert, sentence in rows
    ]
    index = {spec.name: spec for spec in specs}
    assert len(index) == len({spec.code for spec in specs}) == len(specs), "name or code twice"
    return index


_ROWS: tuple[tuple[str, str, Severity, bool, str], ...] = (
    # the life of a run
    ("run_started", "ME101", "info", False, "the daemon is starting"),
    ("run_ready", "ME102", "info", False, "every feed is fresh, decisions begin"),
    ("run_stopping", "ME103", "info", False, "no new intents, open orders are being cancelled"),
    ("run_stopped", "ME104", "info", False, "the run has ended"),
    ("shutdown_forced", "ME105", "error", True, "stopped before orders and journal had settled"),
    ("config_loaded", "ME106", "info", False, "configuration accepted"),
    ("config_refused", "ME107", "error", True, "configuration refused, the old one stays in force"),
    ("command_received", "ME108", "info", False, "an operator or a signal asked for something"),
    ("command_refused", "ME109", "warning", False, "a command was refused"),
    ("heartbeat", "ME110", "info", False, "alive, with the counters so far"),
    ("warm_up_finished", "ME111", "info", False, "kernels and model are compiled and warm"),
    ("run_failed", "ME112", "critical", True, "the run ends because of an error"),
    ("recovery_started", "ME113", "info", False, "settling the orders of earlier runs"),
    ("recovery_finished", "ME114", "info", False, "orders of earlier runs are settled"),
    ("config_reloaded", "ME116", "info", False, "changed settings are in force"),
    ("run_continued", "ME117", "info", False, "an earlier run is continued where it stood"),
    ("key_checked", "ME118", "info", False, "the venue says what the API key may do"),
    ("key_worry", "ME119", "warning", True, "the API key may do more than it should"),
    ("instruments_absent", "ME115", "info", False, "the recording lacks configured instruments"),
    # the feed
    ("feed_connected", "ME201", "info", False, "a socket to the venue is open"),
    ("feed_disconnected", "ME202", "warning", False, "a socket to the venue is closed"),
    ("feed_reconnecting", "ME203", "info", False, "a new connection will be tried"),
    ("feed_verdict_changed", "ME204", "info", False, "the feed of an instrument changed its state"),
    ("feed_gap", "ME205", "warning", False, "updates of a book are missing, it is loaded anew"),
    ("feed_resynced", "ME206", "info", False, "a book is whole again"),
    ("feed_trades_lost", "ME207", "warning", False, "trades were missed and could not be fetched"),
    ("feed_frame_refused", "ME208", "warning", False, "a frame could not be understood"),
    (
        "lane_overflow",
        "ME209",
        "error",
        True,
        "too many events waited, the book is reloaded",
    ),
    ("feed_down", "ME210", "error", True, "an instrument has had no usable feed for long"),
    ("user_stream_expired", "ME211", "warning", False, "the account stream is opened anew"),
    (
        "book_top_differs",
        "ME212",
        "warning",
        False,
        "the book's top contradicts the quote of the same update",
    ),
    ("feed_trades_recovered", "ME213", "info", False, "missed trades were fetched by REST"),
    (
        "feed_audit_failed",
        "ME214",
        "error",
        True,
        "a book contradicts the venue, it is loaded anew",
    ),
    # decisions and models
    ("bundle_loaded", "ME301", "info", False, "a model bundle is verified and loaded"),
    ("bundle_refused", "ME302", "error", True, "a model bundle failed its verification"),
    ("decision", "ME303", "info", False, "one decision in full (meta.detailed_logging)"),
    ("decision_skipped", "ME304", "warning", False, "no decision could be taken"),
    ("regime_changed", "ME305", "info", False, "the market regime changed"),
    ("agent_unhealthy", "ME306", "error", True, "an agent gave no usable answer and has no weight"),
    ("agent_recovered", "ME307", "info", False, "an agent gives usable answers again"),
    ("ensemble_abstained", "ME308", "warning", False, "too few healthy agents to form weights"),
    ("model_failed", "ME310", "error", True, "the model raised an error instead of an answer"),
    ("model_shadowing", "ME311", "info", False, "a verified bundle judges beside the one in force"),
    ("model_canary", "ME312", "info", False, "a new bundle decides at reduced size"),
    ("model_promoted", "ME313", "info", False, "a new bundle decides in full, on probation"),
    ("model_settled", "ME314", "info", False, "a bundle is the last known good one now"),
    ("model_rolled_back", "ME315", "error", True, "the last good bundle decides again"),
    ("model_dropped", "ME316", "warning", True, "a bundle did not pass its shadow"),
    ("models_unwatched", "ME317", "error", True, "the models directory cannot be watched"),
    ("model_store_error", "ME318", "error", True, "copies or records of bundles cannot be kept"),
    ("bundle_known", "ME319", "info", False, "a bundle that was dropped in is known already"),
    ("weights_updated", "ME309", "info", False, "weights of the agents (meta_learning_debug)"),
    # orders
    ("order_denied", "ME401", "warning", False, "the gate refused an intent"),
    ("order_sent", "ME402", "info", False, "an order left for the venue"),
    ("order_acknowledged", "ME403", "info", False, "the venue accepted an order"),
    ("order_filled", "ME404", "info", False, "an order was executed, in part or in full"),
    ("order_cancelled", "ME405", "info", False, "an order was cancelled"),
    ("order_rejected", "ME406", "warning", False, "the venue refused an order"),
    ("order_unknown", "ME407", "error", True, "sent, but its fate is not proven"),
    ("order_expired", "ME408", "info", False, "an order ended unfilled, or filled in part"),
    ("order_illegal_transition", "ME409", "error", True, "the venue said what cannot be"),
    ("order_settled", "ME410", "info", False, "the fate of an unknown order is proven"),
    ("cancel_sent", "ME411", "info", False, "a cancel left for the venue"),
    ("cancel_failed", "ME412", "warning", False, "a cancel did not get through"),
    ("order_amended", "ME414", "info", False, "a resting order is moved to the touch"),
    ("amend_failed", "ME415", "warning", False, "an order could not be moved, so it is cancelled"),
    ("order_foreign", "ME413", "warning", True, "the account has an order that is not ours"),
    # risk
    ("position_mismatch", "ME501", "error", True, "our position differs from the venue's"),
    ("breaker_changed", "ME502", "warning", True, "the breaker changed what may be sent"),
    ("limit_breached", "ME503", "error", True, "a loss limit was reached"),
    ("account_adopted", "ME504", "info", False, "the venue's account became the opening balance"),
    ("drawdown_warning", "ME505", "warning", True, "drawdown comes near its limit"),
    ("account_unreadable", "ME506", "warning", False, "the venue's account could not be read"),
    ("breaker_trigger", "ME507", "warning", True, "one more cause for a breaker already tripped"),
    ("breaker_latched", "ME508", "warning", True, "an earlier run's breaker is still in force"),
    ("sharpe_low", "ME509", "warning", True, "the recent Sharpe ratio is low"),
    ("drawdown_recent", "ME510", "warning", True, "the recent drawdown is large"),
    ("regime_unstable", "ME511", "warning", True, "the regime changes too often to be of use"),
    ("agent_disarmed", "ME512", "error", True, "an agent may not ask for new risk until resumed"),
    # the guard
    ("guard_started", "ME701", "info", False, "the guard watches this daemon"),
    ("guard_lost", "ME702", "error", True, "nobody watches this daemon any more"),
    ("guard_acting", "ME703", "critical", True, "the guard cancels in the daemon's place"),
    ("guard_retrying", "ME704", "warning", False, "the venue did not do what the guard asked"),
    ("guard_closing", "ME705", "warning", False, "the guard sent an order that closes a position"),
    ("guard_done", "ME706", "critical", True, "the venue's own word: nothing is left open"),
    ("guard_failed", "ME707", "critical", True, "the guard gave up, something may be open"),
    ("guard_stopped", "ME708", "info", False, "the guard has ended"),
    ("guard_refused", "ME709", "warning", False, "the guard refused what it was asked"),
    ("daemon_lost", "ME710", "critical", True, "the daemon is gone or makes no progress"),
    ("countdown_failed", "ME711", "warning", True, "the venue's dead-man switch is not renewed"),
    # the shell
    ("journal_error", "ME601", "critical", True, "the journal cannot be written"),
    ("exchange_started", "ME602", "info", False, "the simulated exchange is serving"),
    ("exchange_exited", "ME603", "error", True, "the simulated exchange ended before the run"),
    (
        "library_message",
        "ME604",
        "warning",
        False,
        "a library or the interpreter has a warning",
    ),
    ("log_lines_dropped", "ME605", "error", True, "the reader of the log was too slow"),
    ("task_failed", "ME606", "error", True, "a background task ended with an error"),
    ("health_unreachable", "ME607", "warning", False, "systemd does not take our messages"),
    ("alert_undelivered", "ME609", "error", False, "an alert did not get through"),
    ("latch_error", "ME610", "critical", True, "the breaker's state could not be put on disk"),
    ("disk_full", "ME611", "error", True, "the disk of the journal is nearly full"),
    ("control_opened", "ME612", "info", False, "operators can reach this daemon"),
    ("journal_torn", "ME613", "warning", True, "a log ends in a record that is not whole"),
    ("views_opened", "ME614", "info", False, "live page and metrics are served on loopback"),
    ("views_unavailable", "ME615", "warning", True, "live page and metrics cannot be served"),
    ("life_sign_sent", "ME616", "info", False, "somebody outside hears that this daemon lives"),
    ("life_sign_failed", "ME617", "warning", True, "nobody outside hears that this daemon lives"),
    ("alert_recovered", "ME618", "info", True, "the cause of an earlier alert is gone"),
    ("unit_failed", "ME619", "critical", True, "a service of ours has failed and stays down"),
    ("alert_tried", "ME621", "info", True, "somebody tries whether alerts arrive"),
    ("log_repeated", "ME622", "info", False, "the same line came more often than it was written"),
    ("cpu_high", "ME620", "warning", True, "the process uses nearly a whole core"),
    ("latency_high", "ME623", "warning", True, "a stage took longer than its budget"),
    ("memory_high", "ME608", "warning", True, "the process uses more memory than promised"),
)

EVENTS: dict[str, EventSpec] = _index(_ROWS)
"""Every event by name; ``Note.event`` must be one of these."""
