"""Knobs of what happens when something goes wrong, and of being watched: breaker, guard, alerts."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from config.section import Frac, PositiveInt, Section


class BreakerSettings(Section):
    """When the breaker trips beside the loss limits, and how positions are closed by it."""

    feed_down_ms_max: PositiveInt = Field(
        60_000, description="an instrument's feed not OK for this long: REDUCE_ONLY"
    )
    drawdown_policy: Literal["flatten", "halt"] = Field(
        "flatten",
        description="at limits.drawdown_frac_max: cancel, close every position, then HALTED; or "
        "HALTED at once, positions kept",
    )
    model_failure_policy: Literal["hold", "reduce", "flatten"] = Field(
        "reduce",
        description="at the first decision without a usable model: keep the position, reduce it "
        "to flat, or FLATTEN at once",
    )
    model_failures_max: Annotated[int, Field(ge=1, le=1000)] = Field(
        5, description="decisions of an instrument in a row without a usable model: REDUCE_ONLY"
    )
    disk_free_mb_min: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        64, description="less free space where the journal lies: REDUCE_ONLY"
    )
    flatten_retry_ms: Annotated[int, Field(ge=50, le=60_000)] = Field(
        250, description="pause between two closing orders of one instrument"
    )
    flatten_attempts_max: Annotated[int, Field(ge=1, le=1000)] = Field(
        8, description="closing orders that did not lead to flat before the guard takes over"
    )


class GuardSettings(Section):
    """The second process, which acts when the daemon no longer can."""

    enabled: bool = Field(True, description="off: nothing watches a hanging daemon; sim only")
    start: Literal["child", "service"] = Field(
        "child", description="started by run, or metaensemble-guard.service that is already there"
    )
    socket: str = Field("", description="of the service; empty: /run/metaensemble-guard/guard.sock")
    on_loss: Literal["cancel", "flatten"] = Field(
        "cancel", description="what the guard does when the daemon is gone or makes no progress"
    )
    heartbeat_ms: Annotated[int, Field(ge=10, le=10_000)] = Field(
        250, description="interval of the daemon's progress reports"
    )
    timeout_ms: Annotated[int, Field(ge=200, le=600_000)] = Field(
        3_000, description="no progress for this long: the guard acts, the daemon stops itself"
    )
    venue_silence_ms_max: Annotated[int, Field(ge=1_000, le=3_600_000)] = Field(
        30_000, description="the daemon hears nothing of the venue for this long: guard cancels"
    )
    stop_ms_max: Annotated[int, Field(ge=1_000, le=600_000)] = Field(
        15_000, description="longest orderly stop before the guard cancels in its place"
    )
    countdown_ms: Annotated[int, Field(ge=5_000, le=600_000)] = Field(
        60_000, description="venue's dead-man switch: cancels all if not renewed, kept renewed"
    )
    flatten_bps_first: Annotated[float, Field(gt=0.0, le=500.0)] = Field(
        10.0, description="how far beyond the touch the guard's first closing order may reach"
    )
    flatten_bps_max: Annotated[float, Field(gt=0.0, le=500.0)] = Field(
        450.0, description="widest closing order; venues refuse what is 5 % from the mark"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.flatten_bps_first > self.flatten_bps_max:
            raise ValueError("flatten_bps_first must not exceed flatten_bps_max")
        if self.timeout_ms < 3 * self.heartbeat_ms:
            raise ValueError("timeout_ms must be at least three times heartbeat_ms")
        return self


class AlertSettings(Section):
    """When somebody is woken, and how."""

    check_interval_ms: Annotated[int, Field(ge=100, le=86_400_000)] = Field(
        300_000, description="pause between two looks at Sharpe, drawdown, stability and memory"
    )
    sample_interval_ms: Annotated[int, Field(ge=10, le=86_400_000)] = Field(
        10_000, description="equity is sampled this often for recent Sharpe and drawdown"
    )
    samples_max: Annotated[int, Field(ge=2, le=1_000_000)] = Field(
        8_640, description="samples that count as recent; 8640 of 10 s are a day"
    )
    sharpe_samples_min: Annotated[int, Field(ge=2, le=1_000_000)] = Field(
        360, description="no verdict on Sharpe with fewer samples"
    )
    sharpe_min: float = Field(0.5, description="alert when the recent annualised Sharpe is lower")
    drawdown_frac_max: Frac = Field(
        0.2, description="alert when the recent fall from the highest equity is larger"
    )
    stability_min: Frac = Field(
        0.3, description="alert when the regime changed with more than 1 - this of the decisions"
    )
    memory_mb_max: PositiveInt = Field(4_096, description="alert when the daemon holds more")
    cpu_frac_max: Annotated[float, Field(gt=0.0, le=1024.0)] = Field(
        0.9, description="alert when the daemon used more of one core between two looks"
    )
    dedupe_ms: Annotated[int, Field(ge=0, le=86_400_000)] = Field(
        300_000, description="the same alert is delivered once in this time; later ones counted"
    )
    webhook_url: str = Field("", description="alerts are posted here as JSON; empty: nowhere")
    webhook_format: Literal["json", "slack", "discord"] = Field(
        "json", description="everything as JSON, or the message that Slack or Discord takes"
    )
    command: tuple[str, ...] = Field(
        (), description="run for every alert, without a shell, with the alert as JSON on stdin"
    )
    email_to: tuple[str, ...] = Field((), description="alerts are mailed to these; none: no mail")
    email_from: str = Field("", description="sender of the mails")
    smtp_host: str = Field("", description="server that takes the mails")
    smtp_port: Annotated[int, Field(ge=1, le=65_535)] = Field(
        587, description="of smtp_host; 465 is usual for smtp_security tls"
    )
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="none only without smtp_user: no password over a plain line"
    )
    smtp_user: str = Field(
        "", description="empty: no login; the password is the credential smtp-password"
    )
    heartbeat_url: str = Field(
        "", description="asked for at every interval while the engine makes progress; empty: none"
    )
    heartbeat_interval_ms: Annotated[int, Field(ge=100, le=86_400_000)] = Field(
        60_000, description="pause between two signs of life"
    )
    timeout_ms: Annotated[int, Field(ge=100, le=60_000)] = Field(
        1_500, description="of one attempt to deliver; three attempts fit into five seconds"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.sharpe_samples_min > self.samples_max:
            raise ValueError("sharpe_samples_min must not exceed samples_max")
        for name in ("webhook_url", "heartbeat_url"):
            address = getattr(self, name)
            if address and not address.startswith(("http://", "https://")):
                raise ValueError(f"{name} must begin with http:// or https://")
        addresses = [*self.email_to, self.email_from] if self.email_to else []
        if self.email_to and not (self.smtp_host and self.email_from):
            raise ValueError("email_to needs smtp_host and email_from")
        if any("@" not in one or not one.isprintable() or " " in one for one in addresses):
            raise ValueError("email_to and email_from must be addresses such as ops@example.com")
        if self.smtp_user and self.smtp_security == "none":
            raise ValueError("smtp_user needs smtp_security starttls or tls")
        return self


class ViewSettings(Section):
    """The live page and the metrics, on loopback only; off with meta.real_time_monitoring."""

    port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        0, description="of page and metrics; 0: any free port, which the log and status name"
    )
    history_samples: Annotated[int, Field(ge=60, le=86_400)] = Field(
        3_600, description="seconds of prices, weights and equity that the page can show"
    )
