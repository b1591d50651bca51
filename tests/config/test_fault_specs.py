"""Fault scripts: what is armed, and the line of what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.fault_specs import FAULT_KINDS, TIMED_SITES, FaultSpec, Site, read_fault
from config.load import ConfigError, load_fault_script


def script(directory: Path, text: str) -> Path:
    """Write a script."""
    path = directory / "faults.yaml"
    path.write_text(text)
    return path


def test_script_is_read_with_the_defaults_of_each_kind(tmp_path: Path) -> None:
    """A fault brings its kind's target, count and parameters unless the script says otherwise."""
    faults = load_fault_script(
        script(
            tmp_path,
            "faults:\n  - kind: banned\n  - kind: depth_gap\n    target: ethusdt@depth*\n"
            "    at_s: 30\n    every: 2\n    seed: 9\n",
        )
    )
    assert [fault.kind for fault in faults] == ["banned", "depth_gap"]
    assert (faults[0].status, faults[0].code, faults[0].count) == (418, -1003, 1)
    assert (faults[1].target, faults[1].at_s, faults[1].every) == ("ethusdt@depth*", 30.0, 2)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("faults:\n  - kind: bannd\n", 2, "did you mean banned"),
        ("faults:\n  - kind: banned\n    status: 99\n", 3, "status"),
        ("faults:\n  - kind: drop_frames\n    status: 500\n", 3, "no parameter of drop_frames"),
        ("faults:\n  - kind: banned\n    chance: 2\n", 3, "chance"),
        ("faults:\n  - kind: banned\n    retry_after_s: 'x'\n", 3, "whole number"),
        ("faults:\n  - kind: banned\n    color: red\n", 3, "color"),
        (
            "faults:\n  - kind: banned\n    name: a\n  - kind: banned\n    name: a\n",
            5,
            "stands above",
        ),
        ("faults: 3\n", 1, "faults"),
        ("fault: []\n", 1, "fault"),
        ("faults:\n  - kind: banned\n    kind: banned\n", 3, "given twice"),
    ],
)
def test_each_mistake_is_named_with_its_line(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    """The message says where and what."""
    path = script(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_fault_script(path)
    first, *others = [caught.value, *caught.value.also]
    lines = {problem.line for problem in (first, *others)}
    assert line in lines
    assert words in str(caught.value)


def test_missing_script_is_refused(tmp_path: Path) -> None:
    """A path that leads nowhere is said so."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load_fault_script(tmp_path / "none.yaml")


@pytest.mark.parametrize("kind", sorted(FAULT_KINDS))
def test_every_kind_can_be_armed_by_its_name_alone(kind: str) -> None:
    """The defaults of each kind are valid, and read back what was described."""
    spec = read_fault({"kind": kind}, "test")
    described = spec.document()
    assert FaultSpec.model_validate(described) == spec
    assert set(FAULT_KINDS[kind].parameters) <= set(described)


def test_each_timed_kind_strikes_a_bounded_number_of_times() -> None:
    """A kind without occasions does not repeat for ever unless told to."""
    for kind in FAULT_KINDS.values():
        assert kind.site not in TIMED_SITES or kind.count == 1
    assert Site.FRAME not in TIMED_SITES


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
        lambda inner: st.dictionaries(
            st.one_of(st.sampled_from(sorted(FaultSpec.model_fields)), st.text(max_size=6)),
            st.one_of(inner, st.sampled_from(sorted(FAULT_KINDS))),
            max_size=5,
        ),
        max_leaves=8,
    )
)
def test_any_document_is_a_fault_or_a_refusal(document: Any) -> None:
    """Nothing but a ConfigError is raised, in one line, with the source."""
    try:
        spec = read_fault(document, "control")
    except ConfigError as error:
        refusal = str(error)
    else:
        refusal = f"control: {spec.kind}"
    assert refusal.startswith("control: ")
