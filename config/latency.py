"""Knobs of the latency contract: what each stage may take, and where the trading thread runs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from config.section import Section

Budget = Annotated[int, Field(ge=1, le=60_000_000)]
Core = Annotated[int, Field(ge=0, le=4_095)]


class LatencySettings(Section):
    """Microseconds that the p99 of a stage may take between two looks; beyond: an alert.

    The defaults are wide on purpose, so that only a stage gone wrong wakes somebody; narrow them to
    what your own machine measures. A stage's name is that of ``latency_ns`` in the summary.
    """

    decode: Budget = Field(250, description="one frame, text to event")
    book: Budget = Field(500, description="one depth update applied, with its features")
    features: Budget = Field(250, description="one quote or trade folded into the features")
    decide: Budget = Field(10_000, description="agents, regimes, weights and plan of one decision")
    gate: Budget = Field(1_000, description="review of one decision's orders")
    journal: Budget = Field(20_000, description="intents written down before they are sent")
    send: Budget = Field(20_000, description="approved order to bytes handed to the socket")
    tick_to_order: Budget = Field(50_000, description="frame in hand to order's bytes out")
    data_age: Budget = Field(500_000, description="age of the newest market data at a decision")
    collect: Budget = Field(50_000, description="one collection of garbage, between two turns")
    cpu_affinity: tuple[Core, ...] = Field(
        (), description="cores that the trading thread may use; none: all, as the system likes"
    )

    @classmethod
    def stages(cls) -> tuple[str, ...]:
        """Name the stages that have a budget."""
        return tuple(name for name in cls.model_fields if name != "cpu_affinity")
