"""The pipeline as a prototype writes it: the baseline that the daemon's way is measured by.

Dictionaries from json, the same features, the same networks as plain torch modules called in eager
mode, numpy between, limits in Python, HMAC and json for the order. No book, integrity, ledger,
journal or explanations: it does less than the daemon does.
"""

from __future__ import annotations

import hashlib
import hmac
import json

import numpy as np

from daemon.bench.bench_frames import FrameSet
from kernels.features import DEFAULT_FEATURE_NAMES, FeatureEngine
from strategy.export import demonstration_recipe
from strategy.observation import CLIP, EXTRA_COUNT, FLAT
from strategy.plain_torch import PlainTorch

BAR_NS = 1_000_000_000
SAMPLE_BARS = 400
NOTIONAL_MAX_QUOTE = 1e9
NS_PER_MS = 1_000_000


class Prototype:
    """One instrument, five agents, softmax weights, one limit order for every tick."""

    def __init__(self, frames: FrameSet, key: str, secret: str) -> None:
        """Make the demonstration's networks and features that know the market's first half."""
        instrument = frames.instruments[0]
        recipe = demonstration_recipe(seed=7, bars=SAMPLE_BARS)
        self._networks = PlainTorch(recipe.ensemble)
        self._features = FeatureEngine(
            DEFAULT_FEATURE_NAMES, BAR_NS, instrument.tick_size, instrument.lot_size
        )
        count = len(DEFAULT_FEATURE_NAMES)
        self._mean_F, self._scale_F = np.zeros(count), np.ones(count)
        self._extras_E = np.full(EXTRA_COUNT, 1.0 / EXTRA_COUNT, np.float32)
        self._held_BA = np.full((1, recipe.held_BA.shape[1]), FLAT, np.int64)
        self._instrument = instrument
        self._key, self._secret = key, secret.encode()
        self._sequence = 0

    def tick(self, text: str, now_ns: int) -> str:
        """Read one bookTicker, judge it and return a signed order."""
        document = json.loads(text)
        words = document.get("data", document)
        bid, ask = float(words["b"]), float(words["a"])
        tick, lot = self._instrument.tick_size, self._instrument.lot_size
        self._features.on_quote(
            now_ns,
            round(bid / tick),
            round(float(words["B"]) / lot),
            round(ask / tick),
            round(float(words["A"]) / lot),
        )
        self._features.close_bars(now_ns)
        row_F = (self._features.values_F - self._mean_F) / self._scale_F
        row_F = np.clip(np.nan_to_num(row_F), -CLIP, CLIP).astype(np.float32)
        obs_BF = np.concatenate((row_F, self._extras_E)).astype(np.float32)[None, :]
        _, action_BA, confidence_BA, _, predicted_BA = self._networks.decide(obs_BF, self._held_BA)
        weights_A = np.exp(predicted_BA[0] - predicted_BA[0].max())
        weights_A = weights_A / weights_A.sum()
        exposure = float((weights_A * (action_BA[0] - 1) * confidence_BA[0]).sum())
        quantity = max(round(abs(exposure) * 10.0), 1)
        price = ask if exposure >= 0.0 else bid
        if quantity * price > NOTIONAL_MAX_QUOTE or not bid < ask:
            return ""
        self._sequence += 1
        params = {
            "apiKey": self._key,
            "newClientOrderId": f"prototype{self._sequence:012d}",
            "price": f"{price:.1f}",
            "quantity": f"{quantity / 1000:.3f}",
            "recvWindow": 5000,
            "side": "BUY" if exposure >= 0.0 else "SELL",
            "symbol": self._instrument.venue_id,
            "timeInForce": "IOC",
            "timestamp": now_ns // NS_PER_MS,
            "type": "LIMIT",
        }
        query = "&".join(f"{name}={value}" for name, value in sorted(params.items()))
        params["signature"] = hmac.new(self._secret, query.encode(), hashlib.sha256).hexdigest()
        return json.dumps({"id": str(self._sequence), "method": "order.place", "params": params})
