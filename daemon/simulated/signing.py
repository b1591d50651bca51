"""The venue's half of request signing: HMAC-SHA256 over the exact query and body, and its clock.

Source: Binance USD-M general documentation, "SIGNED endpoint security" and "Timing security".
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl

from daemon.simulated import venue_errors

RECV_WINDOW_MS = 5_000
RECV_WINDOW_MS_MAX = 60_000
AHEAD_MS_MAX = 1_000
PARAMETERS_MAX = 64


def sign(secret: str, payload: str) -> str:
    """Return the lower-case hex HMAC-SHA256 of a payload."""
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


def parse_parameters(query: str, body: str) -> dict[str, str]:
    """Read query and form body into one mapping; VenueError for repeats and garbage."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=PARAMETERS_MAX)
        pairs += parse_qsl(body, keep_blank_values=True, max_num_fields=PARAMETERS_MAX)
    except ValueError:
        raise venue_errors.duplicate_parameter() from None
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise venue_errors.duplicate_parameter()
    return parameters


def check_signed(
    query: str, body: str, parameters: Mapping[str, str], secret: str, now_ms: int
) -> None:
    """Accept a signed request or raise VenueError (-1102, -1021, -1022).

    The signature is the last parameter of the body when there is one, else of the query; it covers
    query and body joined without separator, itself and its ``&`` left out.
    """
    signature = parameters.get("signature", "")
    if not signature:
        raise venue_errors.missing("signature")
    check_timing(parameters, now_ms)
    total = query + body
    payload, found, tail = total.rpartition("signature=")
    if not found or tail != signature:
        raise venue_errors.bad_signature()
    expected = sign(secret, payload.removesuffix("&"))
    if not hmac.compare_digest(expected.encode(), signature.lower().encode()):
        raise venue_errors.bad_signature()


def check_timing(parameters: Mapping[str, str], now_ms: int) -> None:
    """Refuse a request that is too old for its recvWindow or too far ahead (-1021)."""
    timestamp_ms = _milliseconds(parameters, "timestamp", None)
    window_ms = min(_milliseconds(parameters, "recvWindow", RECV_WINDOW_MS), RECV_WINDOW_MS_MAX)
    if timestamp_ms >= now_ms + AHEAD_MS_MAX:
        raise venue_errors.early_timestamp()
    if now_ms - timestamp_ms > window_ms:
        raise venue_errors.stale_timestamp()


def _milliseconds(parameters: Mapping[str, str], name: str, default: int | None) -> int:
    text = parameters.get(name, "")
    if not text and default is not None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise venue_errors.missing(name)
    return int(text)
