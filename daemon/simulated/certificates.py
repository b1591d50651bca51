"""A throw-away certificate authority, so that an unmodified client can speak TLS to loopback."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

HOST_NAMES: tuple[str, ...] = (
    "*.binance.com",
    "*.binance.vision",
    "*.testnet.binance.vision",
    "*.binancefuture.com",
    "localhost",
    "127.0.0.1",
)
"""Subject alternative names; a wildcard covers one label, hence the third."""

VALID_DAYS = 30
CA_FILE_NAME = "simulated-exchange-ca.pem"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerIdentity:
    """What the server presents and where a client finds the authority that signed it."""

    context: ssl.SSLContext
    ca_pem_path: Path


def make_identity(directory: Path, now_ns: int) -> ServerIdentity:
    """Create authority and server certificate, valid from now for ``VALID_DAYS``.

    Only the authority's public certificate is written, to ``directory``; its key is forgotten.
    """
    expires = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC) + timedelta(days=VALID_DAYS)
    authority = trustme.CA(organization_name="metaensemble simulated exchange")
    certificate = authority.issue_cert(*HOST_NAMES, not_after=expires)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    path = directory / CA_FILE_NAME
    authority.cert_pem.write_to_path(str(path))
    return ServerIdentity(context=context, ca_pem_path=path)
