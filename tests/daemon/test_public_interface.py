"""``metaensemble``: every public name is there, and the README's own agent takes part."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import metaensemble
from tests.house.house_rules import ROOT


@pytest.fixture
def example() -> Iterator[dict[str, Any]]:
    """Run the README's agent, and forget it afterwards."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("### An agent of your own")[1]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)
    yield names
    metaensemble.AgentWrapperFactory.unregister_wrapper("forecast_follower")


def test_every_public_name_is_there() -> None:
    """What ``__all__`` promises can be imported, documented."""
    assert sorted(metaensemble.__all__) == list(metaensemble.__all__)
    for name in metaensemble.__all__:
        assert getattr(metaensemble, name).__doc__


def test_the_module_is_the_command() -> None:
    """``python -m metaensemble`` answers like the command, without loading torch first."""
    found = subprocess.run(
        [sys.executable, "-m", "metaensemble", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "metaensemble" in found.stdout
    assert "train" in found.stdout


def test_an_agent_of_your_own_takes_part(example: dict[str, Any]) -> None:
    """The README's agent answers, learns, and votes in an ensemble beside a standard one."""
    own = example["own"]
    state = np.zeros(12, np.float32)
    state[-5] = 2.0
    assert own.get_action_with_confidence(state).action == 2
    state[-5] = 0.1
    assert own.get_action_with_confidence(state).action == 1
    before = own.agent["enough"]
    own.update_with_feedback(state, 2, -0.01, state, False)
    assert own.agent["enough"] > before
    d3qn = metaensemble.AgentWrapperFactory.create_wrapper(
        metaensemble.create_agent("d3qn", 12), "d3qn"
    )
    ensemble = metaensemble.AgentEnsembleWrapper({"own": own, "d3qn": d3qn})
    votes = ensemble.get_action_with_confidence(state).info["votes"]
    assert set(votes) == {"own", "d3qn"}
