"""Every knob of the daemon: frozen, typed, unknown keys refused, the unit in the name.

``config.load`` builds a ``Settings`` from a preset, a file and overrides. The names in
``MetaLearningSettings`` are those of the product's specification; all others carry their unit.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from config.latency import LatencySettings
from config.safety import AlertSettings, BreakerSettings, GuardSettings, ViewSettings
from config.section import Frac, PositiveFloat, PositiveInt, Section
from config.simulation import PaperSettings as PaperSettings
from config.simulation import SimulatedSettings as SimulatedSettings

LimitInt = Annotated[int, Field(ge=0)]
LimitFloat = Annotated[float, Field(ge=0.0)]

AGENT_COUNT = 5
"""Agents in the ensemble; the weight cap must leave room for a sum of one over them."""


class DecisionSettings(Section):
    """When the ensemble is asked."""

    trigger: Literal["bar", "event"] = Field(
        "bar", description="decide at the close of every interval, or after every market event"
    )
    interval_ms: Annotated[int, Field(ge=10, le=21_600_000)] = Field(
        1000, description="length of a bar; features that need bars use the same"
    )
    min_gap_ms: Annotated[int, Field(ge=1, le=60_000)] = Field(
        100, description="shortest time between two decisions when trigger is event"
    )
    drain_events_max: Annotated[int, Field(ge=1, le=100_000)] = Field(
        4096, description="most events applied before a decision is taken"
    )
    warm_up_bars: Annotated[int, Field(ge=1, le=100_000)] = Field(
        5, description="bars before the first decision; until warm, a feature enters as neutral"
    )
    data_age_ms_max: PositiveInt = Field(
        500, description="no decision on an instrument whose newest quote waited longer than this"
    )


class FeedSettings(Section):
    """How long silence may last, and how the connection comes back."""

    quote_stale_ms: PositiveInt = Field(3_000, description="no best bid/ask for this long: STALE")
    depth_stale_ms: PositiveInt = Field(5_000, description="no depth update for this long: STALE")
    skew_ms_max: PositiveInt = Field(1_000, description="venue clock against ours: SKEWED beyond")
    reconnect_ms_min: PositiveInt = Field(250, description="first pause before reconnecting")
    reconnect_ms_max: PositiveInt = Field(30_000, description="longest pause before reconnecting")
    keepalive_ms: PositiveInt = Field(
        1_500, description="ping interval; two missed close a socket, found within three intervals"
    )
    audit_interval_s: PositiveInt = Field(
        60, description="each book is held against a fresh REST snapshot this often"
    )
    snapshot_levels: Literal[100, 500, 1000] = Field(1000, description="levels asked of REST depth")
    depth_rate: Literal["0ms", "100ms"] = Field("0ms", description="speed of the depth stream")
    lane_events_max: PositiveInt = Field(
        100_000,
        description="events that may wait between socket and engine; beyond: GAP and resync",
    )


class ExecutionSettings(Section):
    """How a target position becomes orders."""

    style: Literal["market", "aggressive", "passive", "twap"] = Field(
        "aggressive",
        description="IOC at the collar, IOC through the touch, post-only at our touch, or slices",
    )
    taker_offset_bps: Annotated[float, Field(ge=0.0, le=100.0)] = Field(
        2.0, description="how far beyond the touch an IOC limit may reach"
    )
    working_ms_max: PositiveInt = Field(
        5_000, description="a resting order is cancelled after this"
    )
    requote_ms: PositiveInt = Field(
        1_000, description="passive: a quote that the touch has left this long follows it"
    )
    passive_ms_max: PositiveInt = Field(
        4_000, description="passive: what is not done after this is taken aggressively"
    )
    twap_ms: PositiveInt = Field(10_000, description="twap: time from the first slice to the last")
    twap_slices: Annotated[int, Field(ge=2, le=1_000)] = Field(
        5, description="twap: IOC orders of equal size"
    )
    hysteresis_frac: Frac = Field(
        0.1, description="smallest change of position worth an order, as a share of the largest"
    )
    on_stop: Literal["leave", "cancel", "flatten"] = Field(
        "cancel",
        description="orderly stop: leave orders, cancel them, or close positions too",
    )
    unknown_query_ms: PositiveInt = Field(
        1_000, description="pause before the venue is asked about an order of unknown fate"
    )
    order_entry: Literal["websocket", "rest"] = Field(
        "websocket", description="way of orders; either is used while the other is down"
    )


class SizingSettings(Section):
    """How large a full-conviction position is: the smallest of its base share and of every cap.

    A cap whose evidence does not exist yet (None) takes no part; none can enlarge the base share.
    """

    position_frac: Frac = Field(
        0.25, description="share of equity that one instrument holds at full conviction"
    )
    kelly_fraction: Frac = Field(
        0.25, description="share of the Kelly bet taken, with meta.kelly_criterion_enabled"
    )
    kelly_prior_edge_bps: PositiveFloat = Field(
        1.0, description="edge per decision thought likely before any evidence; shrinks estimates"
    )
    volatility_target_frac: LimitFloat = Field(
        0.2, description="volatility a year that one full position may add, share of equity"
    )
    shortfall_tail_frac: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.05, description="share of worst outcomes that the expected shortfall averages"
    )
    shortfall_frac_max: LimitFloat = Field(
        0.02, description="expected shortfall of one full position a day, share of equity"
    )
    drawdown_governor_start_frac: Frac = Field(0.05, description="drawdown from which sizes shrink")
    drawdown_governor_stop_frac: Frac = Field(
        0.15, description="drawdown at which sizes have shrunk to nothing"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.drawdown_governor_start_frac >= self.drawdown_governor_stop_frac:
            raise ValueError(
                "drawdown_governor_start_frac must be smaller than drawdown_governor_stop_frac"
            )
        return self


class RiskLimits(Section):
    """What may never be exceeded; every limit has a value, none can be switched off.

    0 means 0: a limit of 0 permits nothing. Ages and windows, where 0 would switch the check off,
    must be positive.
    """

    order_notional_quote_max: LimitFloat = Field(25_000.0, description="largest single order")
    order_depth_frac_max: Frac = Field(
        0.25, description="largest order as a share of what the other side of the book displays"
    )
    order_day_volume_frac_max: Frac = Field(
        0.01, description="largest order as a share of what is traded in 24 hours"
    )
    day_volume_age_ms_max: LimitInt = Field(
        900_000, description="older day's volumes permit no new risk; asked for every minute"
    )
    position_notional_quote_max: LimitFloat = Field(
        50_000.0, description="largest position per instrument, all working orders counted"
    )
    gross_notional_quote_max: LimitFloat = Field(
        90_000.0, description="sum over instruments of the largest position each may reach"
    )
    net_notional_quote_max: LimitFloat = Field(
        75_000.0, description="longs less shorts, or the reverse, at the worst side of all orders"
    )
    leverage_max: LimitFloat = Field(
        1.0, description="gross notional divided by equity, all working orders counted"
    )
    initial_margin_frac: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        0.05, description="initial margin that the venue binds, share of notional"
    )
    margin_use_frac_max: Frac = Field(
        0.5, description="share of equity that may be bound as initial margin"
    )
    price_collar_bps: LimitFloat = Field(
        50.0, description="an order's price may differ this much from mid and from mark"
    )
    quote_age_ms_max: PositiveInt = Field(
        3_000, description="new risk is denied when the newest quote is older"
    )
    mark_age_ms_max: PositiveInt = Field(
        5_000, description="new risk is denied when the newest mark price is older"
    )
    messages_per_s_max: LimitFloat = Field(
        10.0, description="orders and cancels per second, long-run average"
    )
    messages_burst_max: LimitInt = Field(20, description="orders and cancels at once")
    messages_reserve: LimitInt = Field(
        10, description="part of the burst kept for cancels and for reducing a position"
    )
    daily_loss_frac_max: Frac = Field(
        0.05, description="loss since 00:00 UTC, share of the equity then: REDUCE_ONLY"
    )
    drawdown_frac_max: Frac = Field(
        0.15, description="loss from the peak of equity: breaker.drawdown_policy"
    )
    agent_daily_loss_frac_max: Frac = Field(
        0.03, description="loss of one agent since 00:00 UTC, share of equity: agent disarmed"
    )
    agent_executions_max: LimitInt = Field(
        300, description="orders one agent has a share in per window: agent disarmed"
    )
    agent_execution_window_ms: PositiveInt = Field(
        60_000, description="window in which the orders of an agent are counted"
    )
    rejects_in_window_max: LimitInt = Field(
        10, description="venue rejections within reject_window_ms: REDUCE_ONLY"
    )
    reject_window_ms: PositiveInt = Field(60_000, description="window of the rejection count")
    duplicate_window_ms: PositiveInt = Field(
        200, description="same side, price and quantity within this time: denied"
    )
    model_latency_ms_max: LimitFloat = Field(
        50.0, description="new risk is denied when the judgement before took longer"
    )
    model_outlier_frac_max: Frac = Field(
        0.5, description="share of inputs outside the range the model was fitted on"
    )
    model_disagreement_max: Frac = Field(
        0.95, description="weighted deviation of the agents' votes, 0 unanimous, 1 torn in two"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for smaller, larger in (
            ("order_notional_quote_max", "position_notional_quote_max"),
            ("position_notional_quote_max", "net_notional_quote_max"),
            ("net_notional_quote_max", "gross_notional_quote_max"),
            ("daily_loss_frac_max", "drawdown_frac_max"),
        ):
            one, other = getattr(self, smaller), getattr(self, larger)
            if one > other:
                raise ValueError(f"{smaller} ({one:g}) must not exceed {larger} ({other:g})")
        burst, reserve = self.messages_burst_max, self.messages_reserve
        if reserve >= burst and burst + reserve > 0:
            raise ValueError(
                f"messages_reserve ({reserve}) must be smaller than messages_burst_max ({burst})"
            )
        return self


class MetaLearningSettings(Section):
    """The parameters of the specification, under the names it gave them."""

    meta_learning_enabled: bool = Field(
        True, description="off: every agent has the same weight, a plain vote"
    )
    meta_lookback: Annotated[int, Field(ge=10, le=1_000_000)] = Field(
        1000, description="decisions of history that the meta-learner keeps"
    )
    meta_training_frequency: PositiveInt = Field(
        100, description="decisions between two updates of the meta-models"
    )
    meta_batch_size: PositiveInt = Field(16, description="rows per step of a meta-model update")
    meta_epochs: PositiveInt = Field(5, description="passes per meta-model update")
    max_agent_weight: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        0.6, description="largest weight of one agent, enforced by exact projection"
    )
    min_diversification_agents: Annotated[int, Field(ge=1, le=AGENT_COUNT)] = Field(
        3, description="at least so many agents carry weight"
    )
    weight_temperature: PositiveFloat = Field(
        0.5, description="softmax temperature of predicted performance; small is decisive"
    )
    regime_features_dim: Literal[50, 75] = Field(50, description="features in the schema")
    regime_stability_threshold: Frac = Field(
        0.7, description="posterior a regime needs before it is reported as the current one"
    )
    regime_history_window: PositiveInt = Field(50, description="regime labels kept for stability")
    agent_history_features: PositiveInt = Field(
        20, description="inputs of the predictor about an agent's own past"
    )
    performance_prediction_window: PositiveInt = Field(
        50, description="decisions over which an agent's performance is measured"
    )
    performance_prediction_enabled: bool = Field(
        True, description="off: models add nothing to what the accounts have shown"
    )
    kelly_criterion_enabled: bool = Field(True, description="fractional Kelly on top of caps")
    max_position_risk: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        0.95, description="largest share of equity at risk over all instruments"
    )
    emergency_fallback_enabled: bool = Field(
        True, description="agents failing: hold and reduce instead of stopping the daemon"
    )
    decision_history_size: PositiveInt = Field(1000, description="decisions kept in memory")
    detailed_logging: bool = Field(False, description="one log line per decision")
    real_time_monitoring: bool = Field(True, description="off: no live page, no metrics")
    meta_learning_debug: bool = Field(False, description="log the weights of every decision")
    auto_backup_enabled: bool = Field(True, description="time-stamped copy before a model swap")

    @model_validator(mode="after")
    def _weights_can_sum_to_one(self) -> Self:
        if self.max_agent_weight * AGENT_COUNT < 1.0:
            raise ValueError(
                f"max_agent_weight {self.max_agent_weight} times {AGENT_COUNT} agents is below 1"
            )
        if self.max_agent_weight * self.min_diversification_agents < 1.0 - 1e-12 and (
            self.min_diversification_agents == AGENT_COUNT
        ):
            raise ValueError("max_agent_weight leaves min_diversification_agents no whole sum")
        return self


class ModelSettings(Section):
    """Which bundle decides."""

    bundle: str = Field("", description="bundle directory; empty: the one shipped with the code")
    threads: Annotated[int, Field(ge=1, le=256)] = Field(1, description="torch compute threads")
    runtime: Literal["auto", "torchscript", "compiled"] = Field(
        "auto",
        description="compiled: the standard agents as one kernel, proven equal to the script "
        "first; auto: the faster one, measured at load",
    )
    directory: str = Field(
        "", description="watched for new bundles, one sub-directory each; empty: no hot swap"
    )
    public_key: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = Field(
        "", description="Ed25519, hexadecimal: new bundles must be signed by it; required in live"
    )
    latency_us_max: PositiveInt = Field(
        5_000, description="a bundle whose typical judgement takes longer is refused or withdrawn"
    )
    shadow_decisions: PositiveInt = Field(
        300, description="decisions a new bundle judges beside the old one, unused"
    )
    canary_decisions: Annotated[int, Field(ge=0)] = Field(
        300, description="decisions it then takes at reduced size; 0: none"
    )
    canary_frac: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        0.25, description="share of its target exposure that a canary gets"
    )
    probation_decisions: PositiveInt = Field(
        1_000, description="decisions at full size before it becomes the last known good one"
    )
    probation_loss_frac_max: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        0.01, description="loss of equity as canary or on probation that brings the old one back"
    )
    action_shift_frac_max: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        0.5, description="distance of action histograms: to the old one's, then to its own shadow's"
    )
    unsound_decisions_max: PositiveInt = Field(
        3, description="decisions in a row with sick agents that bring back the one before, later"
    )


class JournalSettings(Section):
    """Where intents are written before they are sent."""

    directory: str = Field(
        "", description="empty: $STATE_DIRECTORY, else ~/.local/state/metaensemble"
    )
    sync: Literal["ring", "strict"] = Field(
        "ring",
        description="intents before the send: ring (mapped memory, about 2 us) survives the "
        "process, strict (fdatasync, 0.1 ms and more) the machine",
    )
    events: bool = Field(
        True, description="record every event and effect, for replay and for a warm restart"
    )
    state_interval_s: PositiveInt = Field(
        30, description="pause between two whole states in the event log"
    )
    segment_mb: PositiveInt = Field(64, description="an event log file ends beyond this size")
    events_mb_max: PositiveInt = Field(
        2_048, description="the oldest event log files are deleted beyond this size together"
    )
    events_days_max: PositiveInt = Field(7, description="event log files older are deleted")


class RecoverySettings(Section):
    """What a start does with what it finds at the venue."""

    foreign: Literal["adopt", "ignore", "halt"] = Field(
        "halt",
        description="orders and positions that are not ours: take over (orders are cancelled), "
        "leave orders alone, or trade nothing until an operator resumes",
    )
    warm: bool = Field(True, description="continue ledger, features and orders of the last run")


class LogSettings(Section):
    """Structured logs."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="less grave lines are left out; alerts count and are delivered anyway"
    )
    format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto: console on a terminal, json otherwise"
    )
    repeats_max: PositiveInt = Field(
        5, description="of the same warnings so many are written in a minute, the others counted"
    )


class LiveSettings(Section):
    """The second key of live trading; the first is --live on the command line."""

    armed: bool = Field(False, description="must be true in the file before real orders are sent")


class Settings(Section):
    """The whole configuration of one run."""

    preset: str = Field(
        "balanced",
        description="the values under all others: a file of `config/presets/`, or custom",
    )
    mode: Literal["sim", "paper", "testnet", "live"] = Field(
        "sim",
        description="the built-in exchange, the venue's public feed with fills simulated here, its "
        "testnet, or the venue: real money",
    )
    venue: Annotated[str, Field(pattern=r"^(sim|binanceusdm|binance|ccxt:[a-z0-9]{2,40})$")] = (
        Field(
            "sim",
            description="sim, binanceusdm; to be watched, not traded: binance (spot), ccxt:NAME",
        )
    )
    instruments: Annotated[tuple[str, ...], Field(min_length=1, max_length=64)] = Field(
        ("BTC/USDT:USDT", "ETH/USDT:USDT"), description="what is traded, in ccxt's names; 1 to 64"
    )
    decision: DecisionSettings = DecisionSettings()
    feed: FeedSettings = FeedSettings()
    execution: ExecutionSettings = ExecutionSettings()
    sizing: SizingSettings = SizingSettings()
    limits: RiskLimits = RiskLimits()
    breaker: BreakerSettings = BreakerSettings()
    guard: GuardSettings = GuardSettings()
    alerts: AlertSettings = AlertSettings()
    views: ViewSettings = ViewSettings()
    latency: LatencySettings = LatencySettings()
    meta: MetaLearningSettings = MetaLearningSettings()
    model: ModelSettings = ModelSettings()
    journal: JournalSettings = JournalSettings()
    recovery: RecoverySettings = RecoverySettings()
    log: LogSettings = LogSettings()
    simulated: SimulatedSettings = SimulatedSettings()
    paper: PaperSettings = PaperSettings()
    live: LiveSettings = LiveSettings()

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.mode != "paper" and (self.venue == "sim") != (self.mode == "sim"):
            raise ValueError(f"venue {self.venue} and mode {self.mode} do not belong together")
        if self.mode == "live" and not self.live.armed:
            raise ValueError("mode live needs live.armed: true")
        if self.mode in ("testnet", "live") and not self.guard.enabled:
            raise ValueError(f"mode {self.mode} needs guard.enabled: true")
        if len(set(self.instruments)) != len(self.instruments):
            raise ValueError("instruments lists one symbol twice")
        self._sizes_fit_limits()
        return self

    def _sizes_fit_limits(self) -> None:
        """Refuse knobs of which one could never be reached because of the other."""
        for smaller, larger in (
            ("sizing.position_frac", "meta.max_position_risk"),
            ("execution.taker_offset_bps", "limits.price_collar_bps"),
        ):
            one, other = self._knob(smaller), self._knob(larger)
            if one > other:
                raise ValueError(f"{smaller} ({one:g}) must not exceed {larger} ({other:g})")

    def _knob(self, path: str) -> float:
        section, name = path.split(".")
        return float(getattr(getattr(self, section), name))
