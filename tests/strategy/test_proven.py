"""A proven compiled form comes back without its script, and never on doubtful grounds."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from kernels.features import DEFAULT_FEATURE_NAMES
from strategy import proven
from strategy.bundle import UNTRAINED_BUNDLE_PATH, Bundle, load
from strategy.runtime import Runtime


def loaded(folder: Path) -> Bundle:
    recall = partial(proven.recall, folder)
    return load(UNTRAINED_BUNDLE_PATH, DEFAULT_FEATURE_NAMES, now_ns=1, recall=recall)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A folder with the proof of the shipped bundle."""
    bundle = loaded(tmp_path)
    assert bundle.module is not None
    proven.remember(tmp_path, bundle.script_sha256, bundle.weights)
    return tmp_path


def test_recalled_form_answers_bit_for_bit(kept: Path) -> None:
    """Without its script a bundle judges exactly as the compiled form that was proven."""
    bundle = loaded(kept)
    assert bundle.module is None
    runtime = Runtime(bundle, form="auto")
    runtime.warm_up(2, lambda: 0)
    assert (runtime.form, runtime.refusal) == ("compiled", "")
    whole = load(UNTRAINED_BUNDLE_PATH, DEFAULT_FEATURE_NAMES, now_ns=1)
    draws = np.random.default_rng(3)
    obs_BF = draws.normal(size=(40, bundle.observation_count)).astype(np.float32)
    held_BA = draws.integers(0, 3, (40, len(bundle.agents)))
    wanted = Runtime(whole, form="compiled").decide(obs_BF, held_BA)
    found = runtime.decide(obs_BF, held_BA)
    assert found.preference_BA3.tobytes() == wanted.preference_BA3.tobytes()
    assert found.regime_BK.tobytes() == wanted.regime_BK.tobytes()
    with pytest.raises(ValueError, match="without its script"):
        Runtime(bundle, form="torchscript")


@pytest.mark.parametrize("at", [5, 4_000, -1])
def test_damaged_proof_is_none(kept: Path, at: int) -> None:
    """One flipped bit, in head or weights, and the script is loaded and proven anew."""
    (path,) = kept.iterdir()
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    assert loaded(kept).module is not None


def test_proof_of_other_weights_is_none(kept: Path) -> None:
    """Whole weights that do not give the golden answers are not believed."""
    whole = load(UNTRAINED_BUNDLE_PATH, DEFAULT_FEATURE_NAMES, now_ns=1)
    other = {name: table + np.float32(0.01) for name, table in whole.weights.items()}
    proven.remember(kept, whole.script_sha256, other)
    assert loaded(kept).module is not None


def test_other_code_is_no_proof(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit of this room or another version of a library asks for a new proof."""
    monkeypatch.setattr(proven, "PACKAGES", ("numpy",))
    assert loaded(kept).module is not None


def test_folder_stays_small_and_may_be_unwritable(tmp_path: Path) -> None:
    """The newest few are kept; a place that cannot be written is no error."""
    weights = {"code_AH": np.zeros((2, 2), np.float32)}
    for number in range(proven.KEPT_MAX + 3):
        proven.remember(tmp_path, f"{number:032d}" * 2, weights)
    assert len(list(tmp_path.iterdir())) == proven.KEPT_MAX
    file = tmp_path / "file"
    file.write_text("")
    proven.remember(file, "0" * 64, weights)
    assert proven.recall(file, "0" * 64) is None
