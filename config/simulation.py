"""Knobs of the built-in exchange: its market, its fees and latency, its limits."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from config.section import PositiveFloat, PositiveInt, Section


class PaperSettings(Section):
    """Mode paper: the live public feed, and an account that exists here only."""

    wallet_quote: PositiveFloat = Field(
        100_000.0, description="opening balance; the account outlives the run"
    )
    latency: Literal["measured", "drawn"] = Field(
        "measured", description="round trips of orders: as pings to the venue take, or drawn"
    )
    round_trip_ms: Annotated[float, Field(ge=0.0, le=60_000.0)] = Field(
        50.0, description="median of drawn round trips, also before five are measured"
    )
    round_trip_sigma: Annotated[float, Field(ge=0.0, le=3.0)] = Field(
        0.3, description="of the logarithm of drawn round trips; 0: constant"
    )
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = Field(7, description="of the draws")


class SimulatedSettings(Section):
    """The built-in exchange, used when venue is sim."""

    market: Literal[
        "trending",
        "calm",
        "volatile",
        "regimes",
        "matched",
        "misspecified",
        "martingale",
        "flash_crash",
    ] = Field("regimes", description="synthetic market; ignored when capture or bars are given")
    attach: str = Field(
        "", description="file written by `metaensemble exchange --json`: use that exchange"
    )
    capture: str = Field("", description="recorded streams to replay instead of a synthetic market")
    bars: tuple[str, ...] = Field(
        (), description="parquet files of bars, one per instrument in order; ignored with capture"
    )
    bars_from: str = Field("", description="first bar, as 2022-05-12 or 2022-05-12T08:30; UTC")
    bars_volume: Literal["base", "quote"] = Field("base", description="unit of the volume column")
    speed: Annotated[float, Field(gt=0.0, le=1000.0)] = Field(1.0, description="times real time")
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = Field(
        7, description="of the synthetic market"
    )
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(0, description="0: any free port")
    wallet_quote: PositiveFloat = Field(100_000.0, description="opening balance")
    maker_fee_bps: Annotated[float, Field(ge=-10.0, le=100.0)] = Field(
        2.0, description="of perpetuals; negative is a rebate"
    )
    taker_fee_bps: Annotated[float, Field(ge=0.0, le=100.0)] = Field(
        5.0, description="of perpetuals"
    )
    spot_fee_bps: Annotated[float, Field(ge=0.0, le=100.0)] = Field(
        10.0, description="of spot pairs, maker and taker alike"
    )
    latency_ms: Annotated[float, Field(ge=0.0, le=10_000.0)] = Field(
        1.0, description="order in and answer out, each way; the median where it varies"
    )
    latency_kind: Literal["constant", "lognormal"] = Field(
        "constant", description="how latency_ms varies from order to order"
    )
    latency_sigma: Annotated[float, Field(ge=0.0, le=3.0)] = Field(
        0.5, description="standard deviation of the logarithm of a lognormal latency"
    )
    faults: str = Field("", description="YAML script of faults that the exchange starts with")
    key_can_withdraw: bool = Field(
        False, description="its key may withdraw, which makes a run refuse it"
    )
    weight_1m_max: PositiveInt = Field(
        2_400, description="request weight per minute; beyond: 429, and 418 when that is ignored"
    )
    orders_10s_max: PositiveInt = Field(300, description="new orders in ten seconds; then -1015")
    orders_1m_max: PositiveInt = Field(1_200, description="new orders in a minute; then -1015")
    spot_weight_1m_max: PositiveInt = Field(
        6_000, description="request weight per minute on spot, counted apart from futures"
    )
    spot_orders_10s_max: PositiveInt = Field(
        100, description="new spot orders in ten seconds; then -1015"
    )
    spot_orders_1d_max: PositiveInt = Field(
        200_000, description="new spot orders in a day; then -1015"
    )
