"""What a reload may change: the difference of two settings and the hot keys in it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.changes import HOT_PREFIXES, Change, changes, is_hot, leaves
from config.settings import DecisionSettings, ExecutionSettings, RiskLimits, Settings

KEYS = tuple(key for key, _ in leaves(Settings()))


def test_equal_settings_have_no_changes() -> None:
    """Reading the same file again changes nothing."""
    assert changes(Settings(), Settings()) == ()


def test_every_difference_is_listed_with_both_values() -> None:
    """Old and new value stand beside the dotted key, in the order of the model."""
    new = Settings(
        decision=DecisionSettings(interval_ms=500),
        limits=RiskLimits(leverage_max=0.5),
        execution=ExecutionSettings(style="passive"),
    )
    assert changes(Settings(), new) == (
        Change(key="decision.interval_ms", old=1000, new=500),
        Change(key="execution.style", old="aggressive", new="passive"),
        Change(key="limits.leverage_max", old=Settings().limits.leverage_max, new=0.5),
    )


def test_name_of_the_preset_alone_is_no_change() -> None:
    """The preset's name is an origin, not a value that acts."""
    assert changes(Settings(preset="balanced"), Settings(preset="custom")) == ()


@pytest.mark.parametrize("prefix", HOT_PREFIXES)
def test_every_hot_key_exists(prefix: str) -> None:
    """A hot key that was renamed away would silently become cold."""
    assert any(key.startswith(prefix) if prefix.endswith(".") else key == prefix for key in KEYS)


@pytest.mark.parametrize(
    "key",
    ["mode", "venue", "instruments", "decision.interval_ms", "model.bundle", "live.armed"],
)
def test_what_shapes_the_run_is_cold(key: str) -> None:
    """Where money goes and what the model sees never changes under way."""
    assert key in KEYS
    assert not is_hot(key)


@given(st.data())
def test_a_single_change_is_found_wherever_it_is(data: st.DataObject) -> None:
    """Any one knob that differs is reported, alone."""
    section_name = data.draw(st.sampled_from(["decision", "limits", "execution", "log"]))
    replacements: dict[str, tuple[str, Any]] = {
        "decision": ("data_age_ms_max", data.draw(st.integers(1, 10_000))),
        "limits": ("leverage_max", data.draw(st.floats(0.01, 5.0))),
        "execution": ("working_ms_max", data.draw(st.integers(1, 100_000))),
        "log": ("level", data.draw(st.sampled_from(["debug", "info", "warning", "error"]))),
    }
    name, value = replacements[section_name]
    old = Settings()
    section = getattr(old, section_name).model_copy(update={name: value})
    new = old.model_copy(update={section_name: section})
    before = getattr(getattr(old, section_name), name)
    found = changes(old, new)
    assert [change.key for change in found] == (
        [] if before == value else [f"{section_name}.{name}"]
    )
