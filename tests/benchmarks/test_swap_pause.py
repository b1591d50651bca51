"""What a swap of real bundles costs the decision path; run by make bench."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from config.settings import ModelSettings, Settings
from daemon.clock import SystemClock
from daemon.decisions import Decider
from daemon.effects import ModelMoved
from daemon.engine import Engine
from daemon.model_check import verify
from daemon.model_store import Shelf, named
from kernels.events import BundleOffered, BundleWithdrawn, DrainEnd, Event
from strategy.bundle import UNTRAINED_BUNDLE_PATH
from tests.fakes.bundle_drops import copy_bundle
from tests.fakes.recorded_run import (
    INSTRUMENT,
    RUN_ID,
    SETTINGS,
    market_batches,
    opening_account,
)

PAUSE_NS_MAX = 1_000_000
ROUNDS = 40


def swap_costs(tmp_path: Path) -> dict[str, list[int]]:
    """Promote and roll back again and again; ns that each event and each decision took.

    Counted is this thread's own time on a core: what a busy neighbour takes is not the swap's.
    Bundles are verified in a thread, as the daemon does it.
    """
    knobs = ModelSettings(action_shift_frac_max=1.0, probation_decisions=10**6)
    settings = Settings(**(SETTINGS.model_dump() | {"model": knobs}))
    clock = SystemClock()
    first, second = UNTRAINED_BUNDLE_PATH, copy_bundle(tmp_path / "second", "second")
    shelf = Shelf(*verify(first, settings, None, clock))
    (opening,) = shelf.bundles.values()
    loading = threading.Thread(target=lambda: shelf.put(*verify(second, settings, None, clock)))
    loading.start()
    loading.join()
    newcomer = next(each for each in shelf.bundles.values() if each.name == "second")
    engine = Engine(
        instruments=(INSTRUMENT,),
        settings=settings,
        run_id=RUN_ID,
        decider=Decider(shelf.models[opening.sha256], settings, 1, named(opening), shelf),
        opening=opening_account(),
    )
    costs: dict[str, list[int]] = {"swap": [], "first decision": [], "decision": []}
    was_swapped = False
    for number, batch in enumerate(market_batches(40 * ROUNDS)):
        now_ns = batch[-1].received_ns
        if number >= 200 and number % 20 == 0:
            batch.append(_swap(number, now_ns, newcomer.sha256, str(second)))
        for event in [*batch, DrainEnd(received_ns=now_ns, drained_count=len(batch))]:
            decisions = engine.decision_count
            began_ns = time.thread_time_ns()
            effects = engine.step(event)
            took_ns = time.thread_time_ns() - began_ns
            if isinstance(event, BundleOffered | BundleWithdrawn):
                assert any(isinstance(effect, ModelMoved) for effect in effects)
                costs["swap"].append(took_ns)
                was_swapped = True
            elif engine.decision_count > decisions:
                costs["first decision" if was_swapped else "decision"].append(took_ns)
                was_swapped = False
    return {name: sorted(each) for name, each in costs.items()}


def _swap(number: int, now_ns: int, sha256: str, path: str) -> Event:
    """Promote, and twenty turns later go back."""
    if number % 40 == 0:
        return BundleOffered(
            received_ns=now_ns, name="second", sha256=sha256, path=path, skip_shadow=True
        )
    return BundleWithdrawn(received_ns=now_ns, sha256=sha256, reason="bench")


@pytest.mark.bench
def test_swap_pauses_a_decision_by_less_than_a_millisecond(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exchange of references itself, and the first decision of the new model over the usual."""
    costs = swap_costs(tmp_path)
    usual_ns = costs["decision"][len(costs["decision"]) // 2]
    with capsys.disabled():
        for name, each in costs.items():
            print(f"\n{name:>15}: {len(each)}, p50 {each[len(each) // 2]} ns, max {each[-1]} ns")
    assert len(costs["swap"]) > ROUNDS
    assert costs["swap"][-1] < PAUSE_NS_MAX
    late_ns = costs["first decision"][int(0.95 * len(costs["first decision"]))]
    assert late_ns - usual_ns < PAUSE_NS_MAX
