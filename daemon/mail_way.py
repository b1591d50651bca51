"""Sends one mail through an SMTP server; blocking, so call it from a thread."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage

from config.safety import AlertSettings


def send_mail(settings: AlertSettings, password: str, message: EmailMessage) -> None:
    """Deliver a message; raises OSError or smtplib.SMTPException, whose text may name addresses.

    With ``smtp_security: tls`` the connection is encrypted from its first byte, with ``starttls``
    before anything is said; certificates are verified. A password never goes over a plain line.
    """
    timeout_s = settings.timeout_ms / 1000
    where = (settings.smtp_host, settings.smtp_port)
    trust = ssl.create_default_context()
    server = (
        smtplib.SMTP_SSL(*where, timeout=timeout_s, context=trust)
        if settings.smtp_security == "tls"
        else smtplib.SMTP(*where, timeout=timeout_s)
    )
    with server:
        if settings.smtp_security == "starttls":
            server.starttls(context=trust)
        if settings.smtp_user:
            server.login(settings.smtp_user, password)
        server.send_message(message)
