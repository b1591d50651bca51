"""The store of bundles: whole copies, records that survive, bounds, and the start from a pin."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.settings import JournalSettings, ModelSettings, Settings
from daemon.clock import ManualClock
from daemon.effects import Note
from daemon.model_check import SLOW_CALLS, TimedJudge, verify
from daemon.model_loading import load_first_model
from daemon.model_store import (
    COPIES_MAX,
    VERDICTS_MAX,
    Records,
    Verdict,
    back_up,
    prune,
    put_bundle,
    read_records,
    write_records,
)
from daemon.rollout import BundleName
from strategy.bundle import BundleError, read_files
from strategy.runtime import Judgement
from tests.fakes.bundle_drops import copy_bundle
from tests.fakes.recorded_run import FeatureJudge

S = 1_000_000_000


def verdict(number: int) -> Verdict:
    return Verdict(
        name="some",
        sha256=f"{number:064x}",
        path="/some",
        verdict="dropped",
        reason="test",
        at_ns=number,
    )


def test_records_come_back_and_stay_bounded(tmp_path: Path) -> None:
    """What is written is read; the newest verdicts stay, one for each hash."""
    records = Records(good=BundleName(name="good", sha256="1" * 64, path="/good"))
    for number in range(VERDICTS_MAX + 20):
        records = records.judged(verdict(number))
    records = records.judged(verdict(30))
    assert len(records.verdicts) == VERDICTS_MAX
    write_records(tmp_path / "models", records)
    found = read_records(tmp_path / "models")
    assert found == records
    assert list(found.verdicts)[-1] == f"{30:064x}"
    assert read_records(tmp_path / "nowhere") == Records()


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"schema": 9}', b"\xff"])
def test_damaged_records_are_told(tmp_path: Path, content: bytes) -> None:
    """Damage is an error with the file's name, never a crash or a guess."""
    (tmp_path / "records.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"records\.json cannot be read"):
        read_records(tmp_path)


def test_store_keeps_whole_copies(tmp_path: Path) -> None:
    """Stored once under its hash, repaired when damaged; a damaged twin is not even stored."""
    source = copy_bundle(tmp_path / "source", "stored")
    path, is_new = put_bundle(tmp_path / "store", read_files(source))
    assert is_new
    assert put_bundle(tmp_path / "store", read_files(source)) == (path, False)
    (path / "golden.npz").write_bytes(b"")
    assert put_bundle(tmp_path / "store", read_files(source)) == (path, True)
    assert (path / "golden.npz").read_bytes() == (source / "golden.npz").read_bytes()
    (source / "golden.npz").write_bytes(b"")
    with pytest.raises(BundleError, match=r"golden\.npz has 0 bytes"):
        read_files(source)


def test_copies_are_bounded(tmp_path: Path) -> None:
    """Backups and stored bundles beyond the bound go; those in use stay."""
    source = copy_bundle(tmp_path / "source", "stored")
    store = tmp_path / "store"
    for number in range(COPIES_MAX + 4):
        back_up(store, source, "old", number * S)
        (store / f"{number:064x}").mkdir()
    assert len(list((store / "backups").iterdir())) == COPIES_MAX
    assert not (store / "backups" / "19700101T000000Z-old").exists()
    used = {f"{0:064x}", f"{1:064x}"}
    prune(store, used)
    left = {each.name for each in store.iterdir() if each.name != "backups"}
    assert used <= left
    assert len(left) == COPIES_MAX + 2


def test_start_uses_the_pin_and_falls_back(tmp_path: Path) -> None:
    """The last known good bundle decides first; damaged, the configured one, and it is said."""
    settings = Settings(
        model=ModelSettings(directory=str(tmp_path / "watched")),
        journal=JournalSettings(directory=str(tmp_path)),
    )
    notes: list[Note] = []
    clock = ManualClock()
    assert load_first_model(settings, clock, notes.append)[1].name == "default"
    store = tmp_path / "sim" / "models"
    path, _ = put_bundle(store, read_files(copy_bundle(tmp_path / "source", "pinned")))
    good = BundleName(name="pinned", sha256=path.name, path=str(path))
    write_records(store, Records(good=good))
    assert load_first_model(settings, clock, notes.append)[1].name == "pinned"
    assert not notes
    off = settings.model_copy(update={"model": ModelSettings()})
    assert load_first_model(off, clock, notes.append)[1].name == "default"
    (path / "golden.npz").write_bytes(b"")
    assert load_first_model(settings, clock, notes.append)[1].name == "default"
    assert [note.event for note in notes] == ["bundle_refused"]


def test_other_agents_and_late_answers_are_refused(tmp_path: Path) -> None:
    """A bundle must fit the run and its limit of time."""
    path = copy_bundle(tmp_path / "source", "some")
    with pytest.raises(BundleError, match="this run has"):
        verify(path, Settings(), ("one", "two"), ManualClock())

    class Late(ManualClock):
        def monotonic_ns(self) -> int:
            self.advance(50_000_000)
            return super().monotonic_ns()

    with pytest.raises(BundleError, match="us, allowed 49999"):
        verify(path, Settings(model=ModelSettings(latency_us_max=49_999)), None, Late())
    model, bundle = verify(path, Settings(), None, ManualClock())
    assert bundle.name == "some"
    assert isinstance(model.judge, TimedJudge)


def test_one_late_answer_is_not_a_slow_model() -> None:
    """Too slow is a model most of whose latest answers were late."""

    class Silent(FeatureJudge):
        def decide(self, obs_BF: object, held_BA: object) -> Judgement:
            raise AssertionError("never asked")

    timed = TimedJudge(Silent(), ManualClock())
    timed.recent_ns.extend([100] * 8)
    assert timed.slow_ns(100) is None
    timed.recent_ns.extend([101] * (SLOW_CALLS - 1))
    assert timed.slow_ns(100) is None
    timed.recent_ns.append(999)
    assert timed.slow_ns(100) == 101
