"""Knobs of breaker, guard and alerts: what contradicts itself is refused with both keys named."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from config.safety import AlertSettings, GuardSettings
from config.settings import LiveSettings, Settings


@pytest.mark.parametrize(
    ("section", "fields", "named"),
    [
        (GuardSettings, {"flatten_bps_first": 50.0, "flatten_bps_max": 40.0}, "flatten_bps_first"),
        (GuardSettings, {"timeout_ms": 500, "heartbeat_ms": 200}, "heartbeat_ms"),
        (AlertSettings, {"samples_max": 10, "sharpe_samples_min": 11}, "samples_max"),
        (AlertSettings, {"webhook_url": "file:///etc/passwd"}, "webhook_url"),
    ],
)
def test_contradiction_is_refused_by_name(section: Any, fields: dict[str, Any], named: str) -> None:
    """The message names the knob, so that it can be found."""
    with pytest.raises(ValidationError, match=named):
        section(**fields)


@pytest.mark.parametrize("mode", ["testnet", "live"])
def test_real_venue_needs_its_guard(mode: str) -> None:
    """Without somebody who watches, nothing but the simulated exchange may be traded."""
    words: dict[str, Any] = {"mode": mode, "venue": "binanceusdm", "live": LiveSettings(armed=True)}
    assert Settings(**words).guard.enabled
    with pytest.raises(ValidationError, match="guard"):
        Settings(**words, guard=GuardSettings(enabled=False))
