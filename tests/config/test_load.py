"""Layers, presets and round trips: what is written is what the daemon gets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from pydantic import BaseModel

from config.load import (
    PRESETS,
    ConfigError,
    dump_settings,
    load_settings,
    settings_sha256,
)
from config.settings import Settings

# the values of the specification (its presets table)
SPECIFIED: dict[str, dict[str, Any]] = {
    "conservative": {
        "max_agent_weight": 0.4,
        "min_diversification_agents": 4,
        "weight_temperature": 1.0,
        "meta_training_frequency": 200,
        "regime_stability_threshold": 0.8,
        "decision_history_size": 1000,
    },
    "balanced": {
        "max_agent_weight": 0.6,
        "min_diversification_agents": 3,
        "weight_temperature": 0.5,
        "meta_training_frequency": 100,
        "regime_stability_threshold": 0.7,
        "decision_history_size": 1000,
    },
    "aggressive": {
        "max_agent_weight": 0.8,
        "min_diversification_agents": 2,
        "weight_temperature": 0.3,
        "meta_training_frequency": 50,
        "regime_stability_threshold": 0.5,
        "decision_history_size": 1000,
    },
    "research": {
        "max_agent_weight": 0.6,
        "min_diversification_agents": 3,
        "weight_temperature": 0.5,
        "meta_training_frequency": 100,
        "regime_stability_threshold": 0.7,
        "meta_learning_debug": True,
        "detailed_logging": True,
        "decision_history_size": 5000,
    },
}
PRESET_DIRECTORY = Path(__file__).parents[2] / "config" / "presets"


def _file(folder: Path, text: str) -> Path:
    path = folder / "metaensemble.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_has_the_specified_values(preset: str) -> None:
    """Every value that the specification gives a preset arrives in the settings."""
    settings = load_settings(preset, None, [])
    assert settings.preset == preset
    for name, value in SPECIFIED[preset].items():
        assert getattr(settings.meta, name) == value, name


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_file_comments_every_value(preset: str) -> None:
    """Each line of a preset that sets a value says why, and the file names itself."""
    lines = (PRESET_DIRECTORY / f"{preset}.yaml").read_text().splitlines()
    assert lines[0].startswith("# ")
    assert f"preset: {preset}" in lines
    for line in lines:
        if line.startswith(" "):
            assert "  # " in line, line


def test_presets_are_ordered_by_risk() -> None:
    """From conservative over balanced to aggressive no limit and no size gets smaller."""
    ladder = [load_settings(name, None, []) for name in ("conservative", "balanced", "aggressive")]
    for name in ("order_notional_quote_max", "position_notional_quote_max", "leverage_max"):
        values = [getattr(settings.limits, name) for settings in ladder]
        assert values == sorted(set(values)), name
    assert [s.sizing.position_frac for s in ladder] == [0.1, 0.25, 0.45]
    assert max(s.limits.drawdown_frac_max for s in ladder) == 0.15


@pytest.mark.parametrize("preset", PRESETS)
def test_full_conviction_fits_the_limits(preset: str) -> None:
    """At the opening balance a full position in every instrument is within every limit."""
    settings = load_settings(preset, None, [])
    full_quote = settings.sizing.position_frac * settings.simulated.wallet_quote
    gross_quote = full_quote * len(settings.instruments)
    assert full_quote <= settings.limits.order_notional_quote_max
    assert full_quote <= settings.limits.position_notional_quote_max
    assert gross_quote <= settings.limits.gross_notional_quote_max
    assert gross_quote <= settings.limits.leverage_max * settings.simulated.wallet_quote
    assert gross_quote <= settings.meta.max_position_risk * settings.simulated.wallet_quote


def test_nothing_given_is_balanced_on_the_simulated_exchange() -> None:
    """With no argument at all the settings are those of balanced, in mode sim."""
    settings = load_settings(None, None, [])
    assert settings == load_settings("balanced", None, [])
    assert (settings.mode, settings.venue) == ("sim", "sim")


def test_custom_is_balanced_by_another_name() -> None:
    """The preset custom differs from balanced in its name only."""
    custom, balanced = (load_settings(name, None, []) for name in ("custom", "balanced"))
    assert custom.preset == "custom"
    assert custom.model_copy(update={"preset": "balanced"}) == balanced


def test_layers_win_in_order(tmp_path: Path) -> None:
    """A file beats the preset, an override beats the file, and the rest is left alone."""
    path = _file(
        tmp_path, "preset: aggressive\nlimits:\n  leverage_max: 1.2\nlog: {level: error}\n"
    )
    settings = load_settings(None, path, ["log.level=debug", "decision.interval_ms=250"])
    assert settings.preset == "aggressive"
    assert settings.limits.leverage_max == 1.2
    assert settings.limits.daily_loss_frac_max == 0.08
    assert settings.log.level == "debug"
    assert settings.decision.interval_ms == 250


def test_preset_is_chosen_by_the_last_layer(tmp_path: Path) -> None:
    """--set preset beats --preset, which beats the file."""
    path = _file(tmp_path, "preset: aggressive\n")
    assert load_settings(None, path, []).meta.max_agent_weight == 0.8
    assert load_settings("research", path, []).preset == "research"
    assert load_settings("research", path, ["preset=conservative"]).sizing.position_frac == 0.1


@pytest.mark.parametrize(
    ("override", "section", "name", "value"),
    [
        ("instruments=[BTC/USDT:USDT]", None, "instruments", ("BTC/USDT:USDT",)),
        ("limits.leverage_max=2", "limits", "leverage_max", 2.0),
        ("meta.weight_temperature=1e-3", "meta", "weight_temperature", 0.001),
        ("meta.kelly_criterion_enabled=false", "meta", "kelly_criterion_enabled", False),
        ("model.bundle=", "model", "bundle", ""),
        ("simulated.capture=/a b: c #d", "simulated", "capture", "/a b: c #d"),
        ("feed.depth_rate=100ms", "feed", "depth_rate", "100ms"),
        ("limits={leverage_max: 3}", "limits", "leverage_max", 3.0),
    ],
)
def test_overrides_of_every_kind(override: str, section: str, name: str, value: Any) -> None:
    """Numbers, switches, lists, texts and whole sections can be given on the command line."""
    settings = load_settings(None, None, [override])
    assert getattr(getattr(settings, section) if section else settings, name) == value


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("capture: no", "capture", "no"),
        ("capture: 'true'", "capture", "true"),
        ("capture: 2026-01-01", "capture", "2026-01-01"),
        ("capture: 12:30:45", "capture", "12:30:45"),
        ("seed: 010", "seed", 10),
        ("seed: 0x10", "seed", 16),
        ("wallet_quote: 1e5", "wallet_quote", 100_000.0),
        ("wallet_quote: 5", "wallet_quote", 5.0),
    ],
)
def test_yaml_is_read_by_the_1_2_rules(tmp_path: Path, text: str, name: str, value: Any) -> None:
    """The traps of YAML 1.1 (no, octal, sexagesimal, dates) are not sprung."""
    settings = load_settings(None, _file(tmp_path, f"simulated:\n  {text}\n"), [])
    assert getattr(settings.simulated, name) == value


def test_byte_order_mark_and_windows_lines_are_harmless(tmp_path: Path) -> None:
    """A file saved by a Windows editor reads the same."""
    path = tmp_path / "c.yaml"
    path.write_bytes("\ufefflimits:\r\n  leverage_max: 2\r\n".encode())
    assert load_settings(None, path, []).limits.leverage_max == 2.0


def _leaves(section: type[BaseModel], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found += _leaves(inner, (*path, name))
        else:
            found.append((*path, name))
    return found


def test_every_knob_survives_dump_and_load(tmp_path: Path) -> None:
    """The dump names every knob, and reading it gives the same settings and fingerprint."""
    for preset in (*PRESETS, "custom"):
        settings = load_settings(preset, None, [])
        text = dump_settings(settings)
        for path in _leaves(Settings):
            assert f"{path[-1]}:" in text
        again = load_settings(None, _file(tmp_path, text), [])
        assert again == settings
        assert settings_sha256(again) == settings_sha256(settings)


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30),
    st.floats(1e-9, 1e15),
    st.integers(0, 2**63 - 1),
)
@budget(max_examples=40, deadline=None)
def test_any_value_survives_dump_and_load(
    tmp_path_factory: pytest.TempPathFactory, text: str, number: float, whole: int
) -> None:
    """Texts that look like numbers, dates or switches, and any number, come back unchanged."""
    base = load_settings(None, None, [])
    simulated = base.simulated.model_copy(
        update={"capture": text, "wallet_quote": number, "seed": whole}
    )
    settings = base.model_copy(update={"simulated": simulated})
    path = tmp_path_factory.mktemp("dump") / "c.yaml"
    path.write_text(dump_settings(settings), encoding="utf-8")
    assert load_settings(None, path, []) == settings


def test_fingerprint_follows_values_not_spelling(tmp_path: Path) -> None:
    """How a value is written does not matter; what it is does."""
    plain = settings_sha256(load_settings("balanced", None, []))
    path = _file(tmp_path, "limits: {leverage_max: 1.0}\n")
    assert settings_sha256(load_settings("balanced", path, [])) == plain
    assert settings_sha256(load_settings("balanced", None, ["limits.leverage_max=1.1"])) != plain
    assert len(plain) == 64


def test_live_needs_the_file(tmp_path: Path) -> None:
    """Live is armed by the file alone; the command line cannot do it."""
    path = _file(tmp_path, "mode: live\nvenue: binanceusdm\nlive:\n  armed: true\n")
    assert load_settings(None, path, []).live.armed
    for override in ("live.armed=true", "live={armed: true}"):
        with pytest.raises(ConfigError, match="must stand in the file"):
            load_settings(None, None, ["mode=live", "venue=binanceusdm", override])


def test_special_files_are_refused_at_once(tmp_path: Path) -> None:
    """A FIFO, a folder, a missing and an endless file give an error instead of a wait."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, reason in (
        (fifo, "not a regular file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "none.yaml", "No such file"),
        (Path("/dev/zero"), "not a regular file"),
        (Path("a\0b"), "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=reason) as caught:
            load_settings(None, path, [])
        assert caught.value.source == str(path)


def test_shipped_presets_are_plain_yaml() -> None:
    """Other tools read the presets as well: the strict reader and PyYAML agree on them."""
    for preset in PRESETS:
        values = yaml.safe_load((PRESET_DIRECTORY / f"{preset}.yaml").read_text())
        assert values["meta"]["max_agent_weight"] == SPECIFIED[preset]["max_agent_weight"]
    assert {path.stem for path in PRESET_DIRECTORY.iterdir()} == set(PRESETS)
