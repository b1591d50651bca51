"""Random faults of the simulated exchange, one after the other, until told to stop."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np

FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "drop_frames", "count": 3},
    {"kind": "duplicate_frames", "count": 5},
    {"kind": "reorder_frames", "count": 5},
    {"kind": "delay_frames", "count": 5, "delay_ms": 300.0},
    {"kind": "corrupt_frames", "count": 2},
    {"kind": "depth_gap", "count": 1},
    {"kind": "stall_stream", "for_s": 4.0},
    {"kind": "cross_book", "count": 2, "target": "*@depth*"},
    {"kind": "empty_book", "count": 2, "target": "*@depth*"},
    {"kind": "duplicate_fill", "count": 2},
    {"kind": "fill_before_ack", "count": 2},
    {"kind": "rest_error", "count": 2},
    {"kind": "rest_error_after", "count": 2},
    {"kind": "unknown_status", "count": 2, "target": "POST /fapi/v1/order"},
    {"kind": "unknown_status", "count": 2, "accepted": False, "target": "POST /fapi/v1/order"},
    {"kind": "unknown_status", "count": 1, "target": "DELETE /fapi/v1/order"},
    {"kind": "no_answer", "count": 1, "target": "POST /fapi/v1/order"},
    {"kind": "drop_connection", "count": 2},
    {"kind": "drop_connection", "count": 2, "accepted": False},
    {"kind": "truncate_answer", "count": 2},
    {"kind": "slow_answer", "count": 3, "delay_ms": 700.0},
    {"kind": "rate_limited", "count": 2},
    {"kind": "banned", "count": 1},
    {"kind": "maintenance", "for_s": 3.0},
    {"kind": "refuse_orders", "for_s": 3.0},
    {"kind": "refuse_takers", "for_s": 3.0},
    {"kind": "close_streams", "target": "market"},
    {"kind": "close_streams", "target": "public"},
    {"kind": "close_streams", "target": "private"},
    {"kind": "reset_streams"},
    {"kind": "mute_streams", "target": "public"},
    {"kind": "expire_listen_key"},
    {"kind": "charge_funding", "rate_bps": 1.0},
)
"""What may strike: everything that leaves the account's books explainable.

Not among them: a position or balance changed behind our back, and fills that the venue owes nobody
(``change_position``, ``overfill``): there a mismatch is the right answer.
"""

PAUSE_S = (4.0, 16.0)
ARMED_S = 12.0


@dataclass(slots=True)
class Storm:
    """Arms drawn faults through the exchange's control port; counts what it armed."""

    control: str
    generator: np.random.Generator
    armed: Counter[str] = field(default_factory=Counter)

    async def blow(self, calm: asyncio.Event) -> None:
        """Go on until ``calm`` is set, then take every fault away."""
        async with aiohttp.ClientSession() as http:
            while not calm.is_set():
                await self._arm(http, FAULTS[int(self.generator.integers(len(FAULTS)))])
                try:
                    await asyncio.wait_for(calm.wait(), self.generator.uniform(*PAUSE_S))
                except TimeoutError:
                    continue
            await http.delete(f"{self.control}/faults")

    async def _arm(self, http: aiohttp.ClientSession, fault: dict[str, Any]) -> None:
        """Arm one, without whatever is older than it should be."""
        async with http.get(f"{self.control}/faults") as answer:
            standing = (await answer.json())["faults"]
        for old in standing[:-2]:
            await http.delete(f"{self.control}/faults/{old['name']}")
        seed = int(self.generator.integers(2**31))
        async with http.post(
            f"{self.control}/faults", json={"for_s": ARMED_S, "seed": seed, **fault}
        ) as answer:
            assert answer.status == 200, await answer.text()
        self.armed[fault["kind"]] += 1

    async def report(self) -> dict[str, Any]:
        """Return what the exchange would report now."""
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{self.control}/report") as answer,
        ):
            document: dict[str, Any] = await answer.json()
            return document
