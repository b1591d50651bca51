"""Signing: what the client signs is what the venue accepts, and nothing else is."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.simulated.signing import check_signed, parse_parameters, sign
from daemon.simulated.venue_errors import VenueError

SECRET = "a" * 64
NOW_MS = 1_700_000_000_000
NAMES = st.sampled_from(["symbol", "side", "price", "quantity", "newClientOrderId", "limit"])
PARAMETERS = st.dictionaries(NAMES, st.text(min_size=1, max_size=12), max_size=5)


def signed(parameters: dict[str, str], timestamp_ms: int = NOW_MS) -> str:
    """Sign as the client does: urlencoded, timestamp and window appended, signature last."""
    text = urlencode(parameters | {"timestamp": str(timestamp_ms), "recvWindow": "5000"})
    return f"{text}&signature={sign(SECRET, text)}"


def code_of(query: str, body: str = "", secret: str = SECRET) -> int:
    """Return 0 when the venue accepts, else its error code."""
    try:
        check_signed(query, body, parse_parameters(query, body), secret, NOW_MS)
    except VenueError as error:
        return error.code
    return 0


def test_signature_is_the_documented_example() -> None:
    """The venue's own documentation prints this secret, payload and signature."""
    secret = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
    payload = (
        "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1"
        "&recvWindow=5000&timestamp=1499827319559"
    )
    expected = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"
    assert sign(secret, payload) == expected


@given(parameters=PARAMETERS, in_body=st.booleans())
def test_signed_request_is_accepted_once_untouched(
    parameters: dict[str, str], in_body: bool
) -> None:
    """Query or body, any text: accepted; with another secret or one more byte: -1022."""
    text = signed(parameters)
    query, body = ("", text) if in_body else (text, "")
    assert code_of(query, body) == 0
    assert code_of(query, body, secret="b" * 64) == -1022
    assert code_of("x=1&" + text if not in_body else "x=1", body) == -1022


@given(at=st.integers(min_value=0), digit=st.sampled_from("0123456789abcdef"))
def test_tampered_signature_is_refused(at: int, digit: str) -> None:
    """One other hex digit in the signature is one too many."""
    text = signed({"symbol": "BTCUSDT"})
    start = text.index("signature=") + len("signature=")
    at = start + at % 64
    tampered = text[:at] + digit + text[at + 1 :]
    assert code_of(tampered) == (0 if tampered == text else -1022)


@pytest.mark.parametrize(
    ("timestamp_ms", "code"),
    [
        (NOW_MS - 5_000, 0),
        (NOW_MS - 5_001, -1021),
        (NOW_MS + 999, 0),
        (NOW_MS + 1_000, -1021),
        (0, -1021),
    ],
)
def test_window_of_time_is_enforced(timestamp_ms: int, code: int) -> None:
    """Too old for the window and more than a second ahead are refused, to the millisecond."""
    assert code_of(signed({}, timestamp_ms)) == code


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("symbol=BTCUSDT", -1102),
        (f"timestamp={NOW_MS}&signature=", -1102),
        (f"timestamp=soon&signature={'0' * 64}", -1102),
        (f"signature={'0' * 64}", -1102),
        (f"timestamp={NOW_MS}&signature={'ü' * 8}", -1022),
        (f"timestamp={NOW_MS}&timestamp={NOW_MS}&signature={'0' * 64}", -1101),
        ("&".join(f"a{i}=1" for i in range(100)), -1101),
    ],
)
def test_incomplete_request_is_refused(query: str, code: int) -> None:
    """What is missing, malformed or doubled gets its own code."""
    assert code_of(query) == code
