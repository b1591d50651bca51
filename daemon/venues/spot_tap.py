"""Binance spot through ccxt, tapped like USD-M: to be watched and recorded, not to be traded on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ccxt.pro.binance import binance

from daemon.venues.spot_rules import SpotRules
from daemon.venues.tap import Tap


class TapBinanceSpot(Tap, binance):  # type: ignore[misc]  # ccxt ships no types
    """ccxt's client of Binance with spot's rules."""

    def __init__(self, config: Mapping[str, Any], allowed_hosts: frozenset[str] | None) -> None:
        """Configure ccxt; the session in ``config`` belongs to this object and is closed by it."""
        super().__init__(config, allowed_hosts)
        self.rules = SpotRules(self)
