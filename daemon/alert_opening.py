"""Opens the way out for a process's alerts: secrets are hidden, then the log is connected."""

from __future__ import annotations

from config.safety import AlertSettings
from daemon.alert_delivery import AlertDelivery
from daemon.clock import Clock
from daemon.logs import Log


def open_delivery(
    settings: AlertSettings, clock: Clock, log: Log, smtp_password: str
) -> AlertDelivery:
    """Return a delivery that takes every alert of ``log``; enter it inside the running loop."""
    log.hide(settings.webhook_url, settings.heartbeat_url, smtp_password)
    delivery = AlertDelivery(
        settings,
        clock,
        run_id=log.run_id,
        redact=log.redact,
        note=log.note,
        smtp_password=smtp_password,
    )
    log.on_alert = delivery.offer
    return delivery
