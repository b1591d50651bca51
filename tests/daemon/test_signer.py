"""Our signature of a ws-api request is ccxt's, byte for byte."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from daemon.venues.signer import HmacSigner, request_text, signs_for
from daemon.venues.tap import TapBinanceUsdm

NOW_MS = 1_764_000_000_123
WORDS = st.text("ABCXYZabcxyz0189._-", min_size=1, max_size=24)
REQUESTS = st.dictionaries(WORDS, WORDS | st.integers(-(10**15), 10**15), max_size=8)
KEYS = st.text("abcdefABCDEF0123456789", min_size=1, max_size=64)
SECRETS = st.text("abcdefABCDEF0123456789+/=", min_size=1, max_size=200)


def exchange_with(api_key: str, secret: str) -> TapBinanceUsdm:
    """Make ccxt's object, offline, at a standing clock."""
    options = {"recvWindow": 5_000, "timeDifference": 250}
    exchange = TapBinanceUsdm({"apiKey": api_key, "secret": secret, "options": options}, None)
    exchange.milliseconds = lambda: NOW_MS
    return exchange


async def _both(api_key: str, secret: str, request: dict[str, Any]) -> tuple[str, str]:
    exchange = exchange_with(api_key, secret)
    try:
        theirs = exchange.sign_params(dict(request))
        ours = signs_for(exchange)(dict(request))
    finally:
        await exchange.close()
    return json.dumps(ours), json.dumps(theirs)


@given(api_key=KEYS, secret=SECRETS, request=REQUESTS)
def test_signed_parameters_are_those_of_ccxt(
    api_key: str, secret: str, request: dict[str, Any]
) -> None:
    """Any key, secret and request: names, order, values and signature are equal."""
    ours, theirs = asyncio.run(_both(api_key, secret, request))
    assert ours == theirs


@given(secret=st.text(min_size=1, max_size=200), text=st.text(max_size=300))
def test_digest_is_the_standard_one(secret: str, text: str) -> None:
    """The pre-hashed key gives what the standard library gives, also for long secrets."""
    signer = HmacSigner("key", secret, 5_000, lambda: NOW_MS)
    expected = hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    assert signer.digest(text) == expected


@pytest.mark.parametrize("value", [0.001, True, None])
def test_value_without_one_text_is_refused(value: object) -> None:
    """A float, a truth value or nothing is never signed as some text of Python's."""
    signer = HmacSigner("key", "secret", 5_000, lambda: NOW_MS)
    with pytest.raises(TypeError, match="quantity"):
        signer.sign({"quantity": value})


def test_other_kinds_of_key_are_signed_by_ccxt() -> None:
    """An Ed25519 key is no HMAC secret: ccxt signs with it."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    ours, theirs = asyncio.run(_both("key", pem.decode(), {"symbol": "BTCUSDT"}))
    assert ours == theirs


def test_request_reads_back() -> None:
    """The frame is JSON with id, method and parameters in their order."""
    text = request_text("00000001", "order.place", {"b": "2", "a": 1})
    assert text == '{"id":"00000001","method":"order.place","params":{"b":"2","a":1}}'


def test_signer_shows_no_secret() -> None:
    """Neither its text form nor its attributes hold the secret."""
    signer = HmacSigner("key", "very-secret-words", 5_000, lambda: NOW_MS)
    assert "very-secret-words" not in repr(signer) + repr(vars(signer))
