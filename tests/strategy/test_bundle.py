"""Broken bundles of every kind are refused with the reason; a whole one loads."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from strategy.archive import script_bytes, write_bundle
from strategy.bundle import BYTES_MAX, INPUT_NAMES, OUTPUT_NAMES, Bundle, BundleError, load
from strategy.fused import fuse
from strategy.observation import EXTRA_COUNT
from tests.fakes.small_bundle import (
    EXPIRES_NS,
    FEATURE_NAMES,
    edit_manifest,
    rehash,
    replace_file,
    small_recipe,
)

Breaker = Callable[[Path], None]


def loaded(path: Path, names: tuple[str, ...] = FEATURE_NAMES, now_ns: int = 10) -> Bundle:
    """Load as the daemon would."""
    return load(path, names, now_ns=now_ns)


def refused(path: Path, reason: str, **facts: Any) -> None:
    """Assert that loading fails with this reason and names the path."""
    with pytest.raises(BundleError, match=reason) as caught:
        loaded(path, **facts)
    assert caught.value.path == path
    assert caught.value.reason in str(caught.value)


def test_a_whole_bundle_loads(bundle_path: Path) -> None:
    """Names, widths, limits and hash come from the manifest."""
    bundle = loaded(bundle_path)
    assert bundle.name == "small"
    assert bundle.agents == ("d3qn", "double_dqn", "twin_d3qn", "ppo", "rainbow")
    assert bundle.observation_count == len(FEATURE_NAMES) + EXTRA_COUNT
    assert len(bundle.sha256) == 64
    assert bundle.manifest.status == "untrained: for tests"


def test_the_directory_itself_may_be_a_link(bundle_path: Path) -> None:
    """Deployments point a link at the current bundle."""
    link = bundle_path.parent / "current"
    link.symlink_to(bundle_path)
    assert loaded(link).name == "small"


def append(name: str, content: bytes) -> Breaker:
    """Return what adds a file."""

    def change(path: Path) -> None:
        (path / name).write_bytes(content)

    return change


def truncate(name: str, keep: float) -> Breaker:
    """Return what cuts a file without telling the manifest."""

    def change(path: Path) -> None:
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[: int(len(content) * keep)])

    return change


def flip(name: str) -> Breaker:
    """Return what flips one bit in the middle of a file."""

    def change(path: Path) -> None:
        content = bytearray((path / name).read_bytes())
        content[len(content) // 2] ^= 1
        (path / name).write_bytes(content)

    return change


def relink(name: str) -> Breaker:
    """Return what moves a file out and leaves a link to it."""

    def change(path: Path) -> None:
        outside = path.parent / name
        shutil.move(path / name, outside)
        (path / name).symlink_to(outside)

    return change


def remove(name: str) -> Breaker:
    """Return what deletes a file."""
    return lambda path: (path / name).unlink()


def make_fifo(path: Path) -> None:
    """Replace a file by a pipe that nobody writes to."""
    (path / "golden.npz").unlink()
    os.mkfifo(path / "golden.npz")


def make_folder(path: Path) -> None:
    """Replace a file by a folder."""
    (path / "golden.npz").unlink()
    (path / "golden.npz").mkdir()


FILE_CASES: list[tuple[str, Breaker, str]] = [
    ("truncated script", truncate("ensemble.pt", 0.7), "ensemble.pt has .* bytes, the manifest"),
    ("truncated golden", truncate("golden.npz", 0.9), "golden.npz has .* bytes, the manifest"),
    ("empty script", truncate("ensemble.pt", 0.0), "ensemble.pt has 0 bytes"),
    ("bit flip in script", flip("ensemble.pt"), "ensemble.pt has sha256"),
    ("bit flip in golden", flip("golden.npz"), "golden.npz has sha256"),
    ("extra file", append("notes.txt", b"hello"), "unlisted file 'notes.txt'"),
    ("hidden extra file", append(".swp", b""), "unlisted file '.swp'"),
    ("pickle file", append("weights.pkl", b"\x80\x04N."), "unlisted file 'weights.pkl'"),
    ("extra folder", lambda path: (path / "old").mkdir(), "unlisted file 'old'"),
    ("linked script", relink("ensemble.pt"), "ensemble.pt is a symbolic link"),
    ("linked golden", relink("golden.npz"), "golden.npz is a symbolic link"),
    ("linked manifest", relink("manifest.json"), "manifest.json is a symbolic link"),
    ("no manifest", remove("manifest.json"), "manifest.json is missing"),
    ("no script", remove("ensemble.pt"), "ensemble.pt is missing"),
    ("no golden", remove("golden.npz"), "golden.npz is missing"),
    ("pipe", make_fifo, "golden.npz is no regular file"),
    ("folder", make_folder, "golden.npz is no regular file"),
    (
        "oversize manifest",
        append("manifest.json", b" " * (BYTES_MAX["manifest.json"] + 1)),
        "manifest.json is larger than",
    ),
    (
        "oversize golden",
        append("golden.npz", bytes(BYTES_MAX["golden.npz"] + 1)),
        "golden.npz is larger than",
    ),
]


@pytest.mark.parametrize(
    ("change", "reason"), [case[1:] for case in FILE_CASES], ids=[case[0] for case in FILE_CASES]
)
def test_broken_files_are_refused(bundle_path: Path, change: Breaker, reason: str) -> None:
    """Whatever is not exactly the three listed regular files is refused by name."""
    change(bundle_path)
    refused(bundle_path, reason)


def test_a_missing_empty_or_wrong_directory_is_refused(tmp_path: Path, bundle_path: Path) -> None:
    """No directory, an empty one, or a file in its place."""
    refused(tmp_path / "nowhere", "not a readable directory")
    refused(bundle_path / "manifest.json", "not a readable directory")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "manifest.json is missing")


MANIFEST_TEXTS: list[tuple[str, bytes, str]] = [
    ("empty", b"", "not valid JSON"),
    ("not JSON", b"{format_version: 1}", "not valid JSON"),
    ("not UTF-8", b"\xff\xfe\x00", "not valid JSON"),
    ("a list", b"[]", "manifest.json"),
    ("nested", b"[" * 100_000, "nested too deeply"),
    ("twice the same key", b'{"name": "a", "name": "b"}', "key 'name' appears twice"),
    ("NaN", b'{"golden_tolerance": NaN}', "NaN is not a number"),
]


@pytest.mark.parametrize(
    ("content", "reason"), [case[1:] for case in MANIFEST_TEXTS], ids=[c[0] for c in MANIFEST_TEXTS]
)
def test_unreadable_manifests_are_refused(bundle_path: Path, content: bytes, reason: str) -> None:
    """What is not one JSON object with unique keys and finite numbers is refused."""
    (bundle_path / "manifest.json").write_bytes(content)
    refused(bundle_path, reason)


def put(*keys: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return what sets one value deep in the manifest."""

    def change(content: dict[str, Any]) -> None:
        place: Any = content
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


MANIFEST_CASES: list[tuple[str, Callable[[dict[str, Any]], None], str]] = [
    ("missing key", lambda m: m.pop("limits"), "limits: Field required"),
    ("unknown key", put("surprise", value=1), "surprise: Extra inputs"),
    ("format", put("format_version", value=1), "format_version"),
    ("name", put("name", value="../up"), "name"),
    ("number as text", put("seed", value="7"), "seed"),
    ("tolerance", put("golden_tolerance", value=0.5), "golden_tolerance"),
    ("exposure", put("limits", "exposure_frac_max", value=1.5), "exposure_frac_max"),
    ("no agents", put("agents", value=[]), "agents"),
    ("agent twice", put("agents", value=["ppo"] * 5), "agents lists one name twice"),
    ("zero scale", put("observation", "scale", 2, value=0.0), "scale"),
    ("short mean", lambda m: m["observation"]["mean"].pop(), "differ in length"),
    ("file outside", put("files", 0, "name", value="../ensemble.pt"), "files.0.name"),
    ("listed pickle", put("files", 0, "name", value="weights.pkl"), "files.0.name"),
    ("file twice", lambda m: m["files"].append(m["files"][0]), "must list exactly"),
    ("hash", put("files", 0, "sha256", value="0" * 64), "has sha256"),
    ("malformed hash", put("files", 0, "sha256", value="zz"), "sha256"),
    ("size", put("files", 0, "bytes", value=17), "the manifest says 17"),
    ("features renamed", put("observation", "feature_names", 3, value="other"), "feature 3"),
    ("schema", put("observation", "feature_schema_sha256", value="0" * 64), "definition"),
    ("extras", put("observation", "extra_names", value=["exposure"]), "extra inputs"),
    ("agent count", lambda m: m["agents"].pop(), "golden.npz held_BA is"),
    ("regime count", lambda m: m["regimes"].pop(), "golden.npz regime_BK is"),
    ("expiry zero", put("expires_ns", value=0), "expires_ns"),
]


@pytest.mark.parametrize(
    ("change", "reason"), [case[1:] for case in MANIFEST_CASES], ids=[c[0] for c in MANIFEST_CASES]
)
def test_wrong_manifests_are_refused(
    bundle_path: Path, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    """Every field is checked, alone and against the files."""
    edit_manifest(bundle_path, change)
    refused(bundle_path, reason)


def test_other_features_are_refused(bundle_path: Path) -> None:
    """Fewer, more or reordered features than the program computes."""
    refused(bundle_path, "8 features, this program computes 7", names=FEATURE_NAMES[:-1])
    refused(bundle_path, "feature 0 is", names=FEATURE_NAMES[::-1])


def test_expiry_is_the_first_refused_instant(bundle_path: Path) -> None:
    """One nanosecond before it still loads; null never expires."""
    loaded(bundle_path, now_ns=EXPIRES_NS - 1)
    refused(bundle_path, "expired at 1000 ns", now_ns=EXPIRES_NS)
    edit_manifest(bundle_path, put("expires_ns", value=None))
    loaded(bundle_path, now_ns=2**62)


class Answering(nn.Module):
    """A script that answers in a wrong way."""

    def __init__(self, kind: str) -> None:
        """Take the kind of fault."""
        super().__init__()
        self.kind = kind

    def forward(
        self, obs_BF: Tensor, held_BA: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Answer with the fault."""
        rows = obs_BF.size(0)
        if self.kind == "raises":
            raise ValueError("out of order")
        preference = torch.zeros(rows, 5, 3 if self.kind != "shape" else 2)
        action = torch.zeros(rows, 5, dtype=torch.long)
        if self.kind == "type":
            action = action.to(torch.int32)
        if self.kind == "nan":
            preference = preference / torch.zeros(1)
        flat = torch.zeros(rows, 5)
        return preference, action, flat, torch.zeros(rows, 7), flat


class OneTensor(nn.Module):
    """A script that returns a single tensor."""

    def forward(self, obs_BF: Tensor, held_BA: Tensor) -> Tensor:
        """Return the input."""
        return obs_BF


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (Answering("shape"), r"preference_BA3 is float32 \(32, 5, 2\)"),
        (Answering("type"), "action_BA is int32"),
        (Answering("nan"), "golden mismatch: preference_BA3 is off by nan"),
        (Answering("raises"), "the module fails on the golden inputs: .*out of order"),
        (OneTensor(), "does not return 5 tensors"),
    ],
)
def test_scripts_that_answer_wrongly_are_refused(
    bundle_path: Path, module: nn.Module, reason: str
) -> None:
    """Shape, type, finiteness and number of the outputs are checked by running them."""
    replace_file(bundle_path, "ensemble.pt", script_bytes(module))
    refused(bundle_path, reason)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(bundle_path: Path, poison: float) -> None:
    """One such number anywhere is enough."""
    module = fuse(small_recipe().ensemble)
    next(iter(module.buffers()))[0, 0] = poison
    replace_file(bundle_path, "ensemble.pt", script_bytes(module))
    refused(bundle_path, "ensemble.pt first_weight_FH is not finite")


def test_other_weights_are_a_golden_mismatch(bundle_path: Path) -> None:
    """A script of the right form with another seed's weights does not pass."""
    replace_file(bundle_path, "ensemble.pt", script_bytes(fuse(small_recipe(seed=4).ensemble)))
    refused(bundle_path, "golden mismatch: preference_BA3 is off by")


def test_another_width_is_refused(bundle_path: Path) -> None:
    """A script for fewer features fails on the golden inputs."""
    narrow = small_recipe(feature_names=FEATURE_NAMES[:5])
    replace_file(bundle_path, "ensemble.pt", script_bytes(fuse(narrow.ensemble)))
    refused(bundle_path, "the module fails on the golden inputs")


def test_an_eager_checkpoint_is_refused(bundle_path: Path) -> None:
    """What torch.save writes is a pickle, and it is not opened."""
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, buffer)
    replace_file(bundle_path, "ensemble.pt", buffer.getvalue())
    refused(bundle_path, "ensemble.pt is no TorchScript archive")


class WritesFiles(nn.Module):
    """A script that would write a file when run."""

    def forward(self, obs_BF: Tensor) -> Tensor:
        """Write."""
        torch.save(obs_BF, "stolen")
        return obs_BF


def test_a_script_that_touches_files_is_refused(bundle_path: Path) -> None:
    """Found in the archive's code before torch loads it."""
    replace_file(bundle_path, "ensemble.pt", script_bytes(WritesFiles()))
    refused(bundle_path, "ensemble.pt uses .*save")


def repack(content: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    """Rewrite a zip archive with its entries changed."""
    with zipfile.ZipFile(io.BytesIO(content)) as source:
        entries = {name: source.read(name) for name in source.namelist()}
    change(entries)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name, part in entries.items():
            target.writestr(name, part)
    return packed.getvalue()


def golden_with(name: str, change: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    """Return what rewrites one golden array."""

    def rewrite(content: bytes) -> bytes:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        arrays[name] = change(arrays[name])
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=True, **arrays)
        return buffer.getvalue()

    return rewrite


def poisoned(array: Any) -> Any:
    """Return the array with one NaN."""
    array = array.copy()
    array.flat[3] = np.nan
    return array


GOLDEN_CASES: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("no archive", lambda _: b"not a zip archive at all", "golden.npz is no archive"),
    ("cut", lambda content: content[:-200], "golden.npz"),
    ("array missing", lambda c: repack(c, lambda e: e.__delitem__("obs_BF.npy")), "wanted"),
    ("array extra", lambda c: repack(c, lambda e: e.update({"x.npy": b""})), "holds"),
    ("garbage array", lambda c: repack(c, lambda e: e.update({"obs_BF.npy": b"?"})), "cannot be"),
    ("bomb", lambda c: repack(c, lambda e: e.update({"x": bytes(1 << 23)})), "unpacks to more"),
    ("NaN", golden_with("predicted_BA", poisoned), "predicted_BA is not finite"),
    ("float64", golden_with("obs_BF", lambda a: a.astype(np.float64)), "obs_BF is float64"),
    ("fewer rows", golden_with("action_BA", lambda a: a[1:]), "action_BA is int64"),
    ("no rows", golden_with("obs_BF", lambda a: a[:0]), "golden.npz has 0 rows"),
    ("scalar", golden_with("obs_BF", lambda a: a[0, 0]), "golden.npz has 0 rows"),
    ("pickled", golden_with("obs_BF", lambda a: a.astype(object)), "cannot be read"),
    ("other action", golden_with("action_BA", lambda a: 2 - a), "golden mismatch: action_BA"),
    ("shifted", golden_with("regime_BK", lambda a: a + np.float32(1e-3)), "mismatch: regime_BK"),
]


@pytest.mark.parametrize(
    ("rewrite", "reason"), [case[1:] for case in GOLDEN_CASES], ids=[c[0] for c in GOLDEN_CASES]
)
def test_wrong_golden_files_are_refused(
    bundle_path: Path, rewrite: Callable[[bytes], bytes], reason: str
) -> None:
    """The golden arrays are exactly those the manifest implies, and the answers to the inputs."""
    content = (bundle_path / "golden.npz").read_bytes()
    replace_file(bundle_path, "golden.npz", rewrite(content))
    refused(bundle_path, reason)


@given(
    name=st.sampled_from(["manifest.json", "ensemble.pt", "golden.npz"]),
    place=st.floats(0.0, 1.0, exclude_max=True),
    value=st.integers(0, 255),
    keep=st.sampled_from([1.0, 1.0, 0.999, 0.5]),
)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_damage_with_matching_hashes_never_escapes(
    pristine_bundle: Path, tmp_path: Path, name: str, place: float, value: int, keep: float
) -> None:
    """A changed byte or a cut either still loads or is a BundleError, never another exception."""
    path = tmp_path / "damaged"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(pristine_bundle, path)
    content = bytearray((path / name).read_bytes())
    content[int(place * len(content))] = value
    (path / name).write_bytes(content[: int(keep * len(content))])
    if name != "manifest.json":
        rehash(path)
    with contextlib.suppress(BundleError):
        assert loaded(path).observation_count == len(FEATURE_NAMES) + EXTRA_COUNT


def test_writing_replaces_a_bundle_and_nothing_else(bundle_path: Path, tmp_path: Path) -> None:
    """A bundle is replaced whole; another directory is left alone."""
    before = loaded(bundle_path).sha256
    write_bundle(bundle_path, small_recipe(seed=4))
    assert loaded(bundle_path).sha256 != before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["small"]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "diary.txt").write_text("private")
    with pytest.raises(ValueError, match="exists and is no bundle"):
        write_bundle(mine, small_recipe())
    assert (mine / "diary.txt").read_text() == "private"


def test_equal_recipes_give_equal_bytes(bundle_path: Path, tmp_path: Path) -> None:
    """Nothing of the machine, the time or the checkout is in a bundle."""
    write_bundle(tmp_path / "again", small_recipe())
    for name in BYTES_MAX:
        assert (tmp_path / "again" / name).read_bytes() == (bundle_path / name).read_bytes()
    script = (bundle_path / "ensemble.pt").read_bytes()
    assert str(Path(__file__).parent.parent.parent).encode() not in script
    assert b"debug_pkl" not in script


def test_the_golden_arrays_are_the_outputs(bundle_path: Path) -> None:
    """Every output has its golden answer."""
    with np.load(bundle_path / "golden.npz", allow_pickle=False) as golden:
        assert set(golden.files) == {*INPUT_NAMES, *OUTPUT_NAMES}
