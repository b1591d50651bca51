"""Which test shows which scenario of reconciliation and of ambiguous outcomes.

The lists are those of the peers whose failures this daemon must not repeat: the execution matrix of
nautilus_trader (TC-E70 to 87), the lost orders of hummingbot's connector tests, what freqtrade's
bot does with orders that it finds, and the faults that their users reported. A scenario that is
renamed or removed is missed here. Not applicable: TC-E77 and 78 (no batches are sent), TC-E80 (no
position is opened because a run starts).
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DAEMON, SIMULATED = "tests/daemon", "tests/daemon/simulated"

SCENARIOS: tuple[tuple[str, str, str], ...] = (
    # rejections and ambiguous outcomes
    (
        "TC-E70 post-only order that would take",
        f"{DAEMON}/test_desk.py",
        "test_a_post_only_order_that_would_have_taken_is_no_sign_of_trouble",
    ),
    (
        "TC-E71 reduce-only order with nothing to reduce",
        f"{SIMULATED}/test_order_desk.py",
        "test_reduce_only_never_opens_or_flips",
    ),
    (
        "TC-E72 order type that is not supported: none can be written",
        f"{DAEMON}/test_orders.py",
        "test_an_intent_in_the_venues_words",
    ),
    (
        "TC-E73 time in force that is not supported",
        f"{SIMULATED}/test_order_request.py",
        "test_violation_has_its_own_code",
    ),
    (
        "order that the venue refuses leaves no trace there",
        f"{SIMULATED}/test_order_desk.py",
        "test_refusals_leave_no_trace",
    ),
    (
        "TC-E74 submit of unknown fate, REST",
        f"{DAEMON}/test_orders.py",
        "test_what_an_answer_proves",
    ),
    (
        "TC-E74 submit of unknown fate, ws-api",
        f"{DAEMON}/test_order_socket.py",
        "test_what_an_answer_over_the_socket_proves",
    ),
    (
        "TC-E74 submit without an answer",
        f"{DAEMON}/test_orders.py",
        "test_no_answer_in_time_is_unknown",
    ),
    (
        "TC-E75 cancel of unknown fate",
        f"{DAEMON}/test_orders.py",
        "test_a_cancel_that_did_not_say_asks",
    ),
    (
        "TC-E75 cancel that was never sent",
        f"{DAEMON}/test_orders.py",
        "test_a_refused_cancel_is_noted",
    ),
    (
        "TC-E76 amendment of unknown fate",
        f"{DAEMON}/test_order_socket.py",
        "test_what_cannot_be_moved_is_cancelled",
    ),
    (
        "connection cut at any byte of create or cancel",
        f"{DAEMON}/test_cut_connections.py",
        "test_cut_connection_leaves_one_order_or_none",
    ),
    (
        "answer that describes no order, id None",
        f"{DAEMON}/test_outcomes.py",
        "test_an_answer_that_describes_no_order",
    ),
    (
        "refused on evidence only, by code and status",
        f"{DAEMON}/test_outcomes.py",
        "test_refused_only_on_evidence",
    ),
    # lifecycle and reconciliation
    (
        "TC-E81 cancel orders on stop",
        f"{DAEMON}/test_end_to_end.py",
        "test_signal_cancels_what_rests_and_ends_within_five_seconds",
    ),
    (
        "TC-E82 close positions on stop",
        f"{DAEMON}/test_stop_policy.py",
        "test_policy_holds_at_the_venue",
    ),
    (
        "TC-E83 leave the streams on stop",
        f"{DAEMON}/test_feeds.py",
        "test_an_orderly_end_is_no_outage",
    ),
    ("TC-E84 reconcile open orders", f"{DAEMON}/test_recovery.py", "test_reconcile_open_orders"),
    (
        "TC-E85 reconcile filled orders",
        f"{DAEMON}/test_recovery.py",
        "test_reconcile_filled_orders",
    ),
    (
        "TC-E86 and 87 reconcile an open long and an open short",
        f"{DAEMON}/test_recovery.py",
        "test_reconcile_open_position",
    ),
    # lost orders
    (
        "lost order removed when it is not found, and not too early",
        f"{DAEMON}/test_recovery.py",
        "test_lost_order_that_never_arrived_is_closed_once_it_cannot_arrive",
    ),
    (
        "network errors are no not-found (hummingbot 8457)",
        f"{DAEMON}/test_recovery.py",
        "test_lost_order_is_not_given_up_when_the_venue_cannot_be_reached",
    ),
    (
        "lost order not found while it may still arrive",
        f"{DAEMON}/test_orders.py",
        "test_not_found_is_final_only_when_nothing_can_arrive_any_more",
    ),
    (
        "question about a lost order that fails",
        f"{DAEMON}/test_orders.py",
        "test_a_query_that_proves_nothing",
    ),
    (
        "fills of a lost order are fetched with its status",
        f"{DAEMON}/test_orders.py",
        "test_a_query_brings_status_and_fills",
    ),
    (
        "status without fills is asked about",
        f"{DAEMON}/test_desk.py",
        "test_answer_without_fills_is_asked_about",
    ),
    (
        "lost order is asked about on a schedule",
        f"{DAEMON}/test_desk.py",
        "test_unknown_order_is_asked_about_after_the_pause_and_not_before",
    ),
    (
        "doubled by a retry (freqtrade 4653, nautilus 4215)",
        f"{DAEMON}/test_kill.py",
        "test_killed_daemons_lose_and_double_nothing",
    ),
    # news in the wrong order, twice, or too much
    ("duplicate fill", f"{DAEMON}/test_desk.py", "test_fill_moves_the_position_once"),
    (
        "duplicate fill, by trade id",
        f"{DAEMON}/test_order_table.py",
        "test_fill_with_a_known_trade_id_is_applied_once",
    ),
    (
        "fill before the acknowledgement",
        f"{DAEMON}/test_order_table.py",
        "test_fills_before_the_answer_reduce_what_is_at_stake",
    ),
    ("fill after the cancel", f"{SIMULATED}/test_account_faults.py", "test_fill_after_cancel"),
    ("overfill", f"{DAEMON}/test_order_table.py", "test_overfill_is_reported"),
    (
        "transition that cannot be",
        f"{DAEMON}/test_order_table.py",
        "test_terminal_status_is_never_left",
    ),
    (
        "status that comes late on the slower channel",
        f"{DAEMON}/test_order_table.py",
        "test_slow_channel_repeating_an_earlier_status_is_no_alarm",
    ),
    # what others do to the account
    (
        "start with open orders of others: adopt, ignore, halt",
        f"{DAEMON}/test_recovery.py",
        "test_orders_of_others",
    ),
    (
        "order of another halts the start (freqtrade 7606)",
        f"{DAEMON}/test_recovery.py",
        "test_order_of_another_halts_the_start",
    ),
    (
        "fill of an order that is not ours (nautilus 4958)",
        f"{DAEMON}/test_desk.py",
        "test_fill_of_a_foreign_order_is_booked_and_stops_new_risk",
    ),
    (
        "position that drifted from the venue's (nautilus 3104)",
        f"{DAEMON}/test_desk.py",
        "test_account_that_differs_twice_at_rest_replaces_ours",
    ),
    (
        "difference that an open order may explain (nautilus 3622)",
        f"{DAEMON}/test_desk.py",
        "test_account_is_not_compared_while_orders_are_open",
    ),
    (
        "reconciliation repeated changes nothing",
        f"{DAEMON}/test_recovery.py",
        "test_recovery_twice_changes_nothing",
    ),
    (
        "account that cannot be read",
        f"{DAEMON}/test_reconcile.py",
        "test_an_account_that_is_none",
    ),
    (
        "reconciliation that fails keeps trading off",
        f"{DAEMON}/test_feeds.py",
        "test_a_failing_reconciliation_keeps_the_feed_from_ok",
    ),
    (
        "user event that cannot be read is reconciled",
        f"{DAEMON}/test_feeds.py",
        "test_an_unreadable_user_frame_calls_for_reconciliation",
    ),
    (
        "insufficient funds",
        f"{SIMULATED}/test_order_desk.py",
        "test_margin_of_working_orders_is_reserved",
    ),
    (
        "state that cannot be reloaded (nautilus 3081)",
        f"{DAEMON}/test_warm_start.py",
        "test_torn_tail_costs_only_what_is_torn",
    ),
    (
        "intent that the log did not get to",
        f"{DAEMON}/test_warm_start.py",
        "test_intent_that_the_log_did_not_get_to_counts_in_full",
    ),
    (
        "account of a paper run after a restart (nautilus 5023)",
        f"{DAEMON}/test_paper.py",
        "test_account_outlives_the_process",
    ),
)


@cache
def names_in(path: str) -> frozenset[str]:
    """Name the tests of one file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, functions))


@pytest.mark.parametrize(("scenario", "path", "name"), SCENARIOS, ids=[row[0] for row in SCENARIOS])
def test_scenario_has_its_test(scenario: str, path: str, name: str) -> None:
    """The test that shows a scenario is there, under the name that the table gives."""
    assert name in names_in(path), f"{scenario}: {path} has no {name}"
