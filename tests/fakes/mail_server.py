"""A real SMTP server on loopback: with or without STARTTLS and login, keeping what it gets."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword

from tests.fakes.free_port import free_port

PASSWORD = "open-sesame-4711"


class Mailbox:
    """What arrived, and how the server answers; ``codes`` are given before mails are taken."""

    def __init__(self) -> None:
        self.got: list[EmailMessage] = []
        self.codes: list[str] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's own name
        """Take a mail or refuse it."""
        if self.codes:
            return self.codes.pop(0)
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.got.append(message)
        return "250 taken"


def _login(server: Any, session: Any, envelope: Any, mechanism: str, words: Any) -> AuthResult:
    is_right = isinstance(words, LoginPassword) and words.password == PASSWORD.encode()
    return AuthResult(success=is_right, handled=False)


@contextmanager
def mail_server(folder: Path, *, is_closed: bool = False) -> Iterator[tuple[Mailbox, int, Path]]:
    """Serve; ``is_closed`` demands STARTTLS and login. Yields mailbox, port and authority."""
    mailbox = Mailbox()
    authority = trustme.CA()
    path = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    context = None
    if is_closed:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    controller = Controller(
        mailbox,
        hostname="127.0.0.1",
        port=free_port(),
        tls_context=context,
        require_starttls=is_closed,
        authenticator=_login if is_closed else None,
        auth_required=is_closed,
    )
    controller.start()
    try:
        yield mailbox, controller.port, path
    finally:
        controller.stop()
