"""Limits: present in every preset, 0 is allowed and means 0, contradictions name both keys."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from config.load import PRESETS, ConfigError, load_settings
from config.settings import RiskLimits, SizingSettings

PRESET_DIRECTORY = Path(__file__).parents[2] / "config" / "presets"
WHERE_ZERO_WOULD_BE_OFF = {
    "quote_age_ms_max",
    "mark_age_ms_max",
    "agent_execution_window_ms",
    "reject_window_ms",
    "duplicate_window_ms",
    "initial_margin_frac",
}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_gives_every_limit_a_value(preset: str) -> None:
    """No limit and no knob of sizing is left to a default that the preset's reader cannot see."""
    values = yaml.safe_load((PRESET_DIRECTORY / f"{preset}.yaml").read_text())
    assert set(values["limits"]) == set(RiskLimits.model_fields)
    assert set(values["sizing"]) == set(SizingSettings.model_fields)


def test_balanced_is_the_default_of_every_limit() -> None:
    """A limit left out everywhere has the value that balanced says."""
    settings = load_settings("balanced", None, [])
    assert settings.limits == RiskLimits()
    assert settings.sizing == SizingSettings()


def test_conservative_limits_are_nowhere_looser() -> None:
    """From conservative to aggressive no limit gets tighter; the reserve of messages may."""
    ladder = [load_settings(name, None, []) for name in ("conservative", "balanced", "aggressive")]
    for name in RiskLimits.model_fields:
        values = [getattr(settings.limits, name) for settings in ladder]
        tighter_with = name in ("messages_reserve", "duplicate_window_ms")
        if name != "messages_reserve":
            assert values == sorted(values, reverse=tighter_with), name


@pytest.mark.parametrize("name", sorted(set(RiskLimits.model_fields) - WHERE_ZERO_WOULD_BE_OFF))
def test_zero_is_a_limit(name: str) -> None:
    """Every limit may be 0, together with those that must not exceed it."""
    zero = {each: 0 for each in RiskLimits.model_fields if each not in WHERE_ZERO_WOULD_BE_OFF}
    assert getattr(RiskLimits.model_validate(zero), name) == 0


@pytest.mark.parametrize("name", sorted(WHERE_ZERO_WOULD_BE_OFF))
def test_zero_is_refused_where_it_would_switch_off(name: str) -> None:
    """An age, window or margin of 0 would be no check at all."""
    with pytest.raises(ValueError, match=name):
        RiskLimits.model_validate({name: 0})


@pytest.mark.parametrize(
    ("text", "line", "one", "other"),
    [
        (
            f"limits:\n  {larger}: {values[1]}\n  {smaller}: {values[0]}\n",
            2,
            smaller,
            larger,
        )
        for smaller, larger, values in (
            ("order_notional_quote_max", "position_notional_quote_max", (6000, 5000)),
            ("position_notional_quote_max", "net_notional_quote_max", (80000, 70000)),
            ("net_notional_quote_max", "gross_notional_quote_max", (95000, 90000)),
            ("daily_loss_frac_max", "drawdown_frac_max", (0.2, 0.1)),
            ("messages_reserve", "messages_burst_max", (20, 20)),
        )
    ],
)
def test_contradicting_limits_are_refused(
    tmp_path: Path, text: str, line: int, one: str, other: str
) -> None:
    """Of two limits that exclude each other both keys and values are named, with a line."""
    path = tmp_path / "metaensemble.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(None, path, [])
    assert one in str(caught.value)
    assert other in str(caught.value)
    assert caught.value.line in (line, line + 1)


@pytest.mark.parametrize(
    ("overrides", "one", "other"),
    [
        (
            ["sizing.position_frac=0.6", "meta.max_position_risk=0.5"],
            "sizing.position_frac",
            "meta.max_position_risk",
        ),
        (
            ["execution.taker_offset_bps=20", "limits.price_collar_bps=10"],
            "execution.taker_offset_bps",
            "limits.price_collar_bps",
        ),
        (
            ["sizing.drawdown_governor_start_frac=0.5"],
            "drawdown_governor_start_frac",
            "drawdown_governor_stop_frac",
        ),
    ],
)
def test_knobs_that_exclude_each_other_are_refused(
    overrides: list[str], one: str, other: str
) -> None:
    """Knobs of different sections that contradict each other are both named too."""
    with pytest.raises(ConfigError) as caught:
        load_settings(None, None, overrides)
    assert one in str(caught.value)
    assert other in str(caught.value)
