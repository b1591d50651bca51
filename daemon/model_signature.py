"""The signature of a bundle: Ed25519 over its manifest, which names the hashes of all the rest.

``NAME.sig`` beside the directory ``NAME`` holds the 64 bytes. Where a key is configured every new
bundle must be signed; in mode live a key must be configured.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from config.settings import Settings
from strategy.bundle import BundleError

SIGNATURE_BYTES = 64


def check_signature(path: Path, manifest: bytes, settings: Settings) -> None:
    """Refuse a bundle that must be signed and is not; raises BundleError."""
    key_hex = settings.model.public_key
    if not key_hex:
        if settings.mode == "live":
            raise BundleError(path, "mode live takes signed bundles only: set model.public_key")
        return
    beside = path.with_name(f"{path.name}.sig")
    try:
        with beside.open("rb") as file:
            signature = file.read(SIGNATURE_BYTES + 1)
    except OSError as error:
        raise BundleError(path, f"unsigned: {beside.name} ({error.strerror})") from error
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key_hex)).verify(signature, manifest)
    except (InvalidSignature, ValueError) as error:
        raise BundleError(path, f"{beside.name} is no signature by model.public_key") from error
