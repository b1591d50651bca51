"""A newcomer that becomes slow while it runs is withdrawn, once, and the old bundle decides."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from config.settings import ModelSettings, Settings
from daemon.assembly import Parts
from daemon.clock import ManualClock
from daemon.hotswap import HotSwap
from daemon.model_check import TimedJudge
from daemon.rollout import BundleName, Rollout, Seat, Stage
from kernels.events import BundleOffered, BundleWithdrawn
from tests.fakes.recorded_run import FeatureJudge, make_model

OLD = BundleName(name="old", sha256="1" * 64, path="/old")
NEW = BundleName(name="new", sha256="2" * 64, path="/new")


@pytest.mark.parametrize("skip_shadow", [False, True])
def test_slow_newcomer_is_withdrawn(tmp_path: Path, skip_shadow: bool) -> None:
    """In shadow it is dropped, on probation rolled back; asked once, whatever comes after."""
    timed = TimedJudge(FeatureJudge(), ManualClock())
    slow = make_model()
    object.__setattr__(slow, "judge", timed)
    rollout = Rollout(Seat(bundle=OLD, model=make_model()), ModelSettings(), lambda _: slow)
    put: list[Any] = []
    parts = SimpleNamespace(
        settings=Settings(model=ModelSettings(latency_us_max=100)),
        journal=SimpleNamespace(path=tmp_path / "journal.sqlite"),
        engine=SimpleNamespace(decider=SimpleNamespace(rollout=rollout)),
        clock=ManualClock(),
        lanes=SimpleNamespace(put=put.append),
    )
    hotswap = HotSwap(cast(Parts, parts))
    hotswap.tend()
    rollout.offer(
        BundleOffered(
            received_ns=1, name="new", sha256=NEW.sha256, path="/new", skip_shadow=skip_shadow
        ),
        1_000_000,
    )
    timed.recent_ns.extend([100_000] * 8)
    hotswap.tend()
    assert not put
    timed.recent_ns.extend([100_001] * 6)
    hotswap.tend()
    hotswap.tend()
    (event,) = put
    assert isinstance(event, BundleWithdrawn)
    assert event.sha256 == NEW.sha256
    assert "us, allowed 100" in event.reason
    (move,) = rollout.withdraw(event)
    assert move.step == ("rolled_back" if skip_shadow else "dropped")
    assert rollout.stage is Stage.SETTLED
    assert rollout.active.bundle == OLD
