"""Signatures of bundles: who must sign, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from config.settings import LiveSettings, ModelSettings, Settings
from daemon.model_signature import check_signature
from strategy.bundle import BundleError

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw().hex()
MANIFEST = b'{"name": "some"}'
SIGNED = Settings(model=ModelSettings(public_key=PUBLIC))


def test_signed_bundle_passes_and_nothing_else_does(tmp_path: Path) -> None:
    """Missing, cut, longer, foreign or moved signatures are refused with the file's name."""
    path, beside = tmp_path / "some", tmp_path / "some.sig"
    with pytest.raises(BundleError, match=r"unsigned: some\.sig"):
        check_signature(path, MANIFEST, SIGNED)
    good = KEY.sign(MANIFEST)
    beside.write_bytes(good)
    check_signature(path, MANIFEST, SIGNED)
    other = Ed25519PrivateKey.from_private_bytes(bytes(32)).sign(MANIFEST)
    for content in (b"", good[:-1], good + b"x", other, KEY.sign(b"another manifest")):
        beside.write_bytes(content)
        with pytest.raises(BundleError, match=r"some\.sig is no signature"):
            check_signature(path, MANIFEST, SIGNED)


def test_live_takes_no_unsigned_bundle(tmp_path: Path) -> None:
    """Without a key live refuses every new bundle; elsewhere signing is optional."""
    check_signature(tmp_path / "some", MANIFEST, Settings())
    live = Settings(mode="live", venue="binanceusdm", live=LiveSettings(armed=True))
    with pytest.raises(BundleError, match=r"set model\.public_key"):
        check_signature(tmp_path / "some", MANIFEST, live)


@pytest.mark.parametrize("key", ["zz", PUBLIC[:-1], PUBLIC + "00"])
def test_malformed_key_is_refused_by_the_settings(key: str) -> None:
    """A key is 32 bytes in hexadecimal."""
    with pytest.raises(ValidationError, match="public_key"):
        ModelSettings(public_key=key)
