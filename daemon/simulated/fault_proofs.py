"""Which test shows each fault on the wire: the last column of the README's table of faults.

``tests/house/test_reference.py`` holds every entry to a test that exists and that arms the fault.
"""

from __future__ import annotations

from collections.abc import Mapping

FRAMES, REST = "test_frame_faults", "test_rest_faults"
ACCOUNT, SPOT = "test_account_faults", "test_spot_user_faults"
SPOT_FRAMES = (SPOT, "spot_user_events_are_lost_repeated_and_late")

FAULT_PROOFS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "drop_frames": (
        (FRAMES, "dropped_frames_are_those_of_the_seed"),
        (ACCOUNT, "lost_and_repeated_user_events"),
        SPOT_FRAMES,
    ),
    "duplicate_frames": ((FRAMES, "duplicated_frames_come_twice"), SPOT_FRAMES),
    "reorder_frames": ((FRAMES, "reordered_frames_swap_places"), SPOT_FRAMES),
    "delay_frames": ((FRAMES, "delayed_frame_comes_late_and_whole"), SPOT_FRAMES),
    "corrupt_frames": (
        (FRAMES, "corrupt_frames_are_no_json"),
        (SPOT, "spot_user_event_is_corrupt"),
    ),
    "depth_gap": ((FRAMES, "depth_gap_breaks_the_chain_once"),),
    "stall_stream": ((FRAMES, "stalled_stream_is_silent_on_a_live_socket"), SPOT_FRAMES),
    "cross_book": ((FRAMES, "false_book_shows_and_heals"), (FRAMES, "false_quotes")),
    "empty_book": ((FRAMES, "false_book_shows_and_heals"), (FRAMES, "false_quotes")),
    "duplicate_fill": ((ACCOUNT, "duplicate_fill"), (SPOT, "spot_duplicate_fill")),
    "fill_before_ack": (
        (ACCOUNT, "fill_before_acknowledgement"),
        (SPOT, "spot_fill_before_acknowledgement"),
    ),
    "fill_after_cancel": ((ACCOUNT, "fill_after_cancel"), (SPOT, "spot_fill_after_cancel")),
    "overfill": ((ACCOUNT, "overfill"), (SPOT, "spot_overfill")),
    "rest_error": (
        (REST, "server_error_before_acceptance"),
        (REST, "requests_over_ws_api_fail_too"),
    ),
    "rest_error_after": ((REST, "server_error_after_acceptance"),),
    "unknown_status": ((REST, "unknown_status"), (REST, "requests_over_ws_api_fail_too")),
    "no_answer": ((REST, "no_answer"), (REST, "requests_over_ws_api_fail_too")),
    "drop_connection": ((REST, "connection_dropped_after_the_request"),),
    "truncate_answer": ((REST, "truncated_answer"),),
    "slow_answer": ((REST, "slow_answer"),),
    "rate_limited": ((REST, "limits_come_with_retry_after"),),
    "banned": ((REST, "limits_come_with_retry_after"),),
    "maintenance": ((REST, "maintenance_closes_everything_until_it_ends"),),
    "refuse_orders": ((REST, "order_refused_though_sent_twice"),),
    "refuse_takers": ((REST, "takers_refused"), (SPOT, "spot_orders_are_refused")),
    "close_streams": ((ACCOUNT, "clean_close"),),
    "reset_streams": ((ACCOUNT, "reset"), (ACCOUNT, "reset_reaches_the_ccxt_client_over_tls")),
    "mute_streams": ((ACCOUNT, "half_open_socket"),),
    "expire_listen_key": ((ACCOUNT, "listen_key_expires"),),
    "change_balance": (
        (ACCOUNT, "balance_changed_from_outside"),
        (SPOT, "spot_balance_changed_from_outside"),
    ),
    "change_position": ((ACCOUNT, "position_changed_from_outside"),),
    "liquidate": ((ACCOUNT, "liquidation_cancels_and_closes"),),
    "deleverage": ((ACCOUNT, "deleveraging_closes_a_share"),),
    "charge_funding": ((ACCOUNT, "funding_is_charged"),),
    "jump_clock": ((REST, "clock_jumps_and_runs_wrong"),),
    "skew_clock": ((REST, "clock_jumps_and_runs_wrong"),),
}
"""File and test of ``tests/daemon/simulated``, without ``test_`` before the test's name."""
