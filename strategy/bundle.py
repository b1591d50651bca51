"""A model bundle: verified whole before one byte of it runs.

A directory with ``manifest.json``, ``ensemble.pt`` (TorchScript), ``golden.npz`` (inputs and the
answers they must give) and ``tables.safetensors`` (float64 tables of what is no network: forecast,
regime filter, meta-learner), nothing else. Files are read once through the directory's descriptor,
without following links; what was hashed is what is parsed. The archive is inspected before torch
sees it. Nothing here unpickles: ``torch.jit.load`` has its own reader and ``numpy`` is told not to.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tables

from kernels.features import schema_sha256
from strategy.compiled import CompiledEnsemble
from strategy.manifest import FILE_NAMES, PART_PATTERN, Manifest, parse_manifest
from strategy.observation import OBSERVATION_EXTRA_NAMES, Normalisation

if TYPE_CHECKING:
    import torch

DEFAULT_BUNDLE_PATH = Path(__file__).parent / "bundles" / "default"
"""The bundle shipped with the code: trained on a synthetic market by ``make bundle``."""

UNTRAINED_BUNDLE_PATH = DEFAULT_BUNDLE_PATH.with_name("untrained")
"""Random networks that use every action and trade all the time: for demonstration and tests."""

MANIFEST_NAME = "manifest.json"
BYTES_MAX: dict[str, int] = {
    MANIFEST_NAME: 1 << 18,
    "ensemble.pt": 1 << 26,
    "golden.npz": 1 << 22,
    "tables.safetensors": 1 << 22,
}
"""Largest accepted size of each file; the content of an archive may not exceed it either."""

PART_BYTES_MAX = 1 << 26
"""Of the files that other programs may want; they are checked by hash and never loaded here."""

OUTPUT_NAMES = ("preference_BA3", "action_BA", "confidence_BA", "regime_BK", "predicted_BA")
"""What the module returns, in order; golden.npz holds these arrays and the inputs."""

INPUT_NAMES = ("obs_BF", "held_BA")
"""What the module takes: market rows float32 (B, F), own positions int64 (B, A) in {0, 1, 2}."""

GOLDEN_ROWS_MAX = 4096

FORBIDDEN_CODE = (b"__setstate__", b"from_file", b"torch.save", b"aten.save", b"prim.rpc")
"""Script code that would run while loading or could touch files; no network needs it."""

ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)
"""What zipfile, numpy and torch raise on archives that are not what they should be."""

Arrays = dict[str, NDArray[np.generic]]
Weights = Mapping[str, NDArray[np.float32]]
AnswerTo = Callable[[NDArray[Any], NDArray[Any]], tuple[NDArray[Any], ...]]
"""Takes observations and positions, returns what ``OUTPUT_NAMES`` lists."""


class BundleError(Exception):
    """A bundle was refused; ``reason`` is one sentence for the operator."""

    def __init__(self, path: Path, reason: str) -> None:
        """Keep the path and the reason apart for structured logs."""
        super().__init__(f"bundle {path}: {reason}")
        self.path = path
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bundle:
    """A verified model, ready for ``strategy.runtime``; ``sha256`` is that of the manifest.

    ``weights`` are the module's own by name, for the compiled form; ``tables`` those of what is no
    network, by names such as ``forecast.slope``. ``module`` is None where the compiled form was
    proven equal before: torch is not loaded then.
    """

    path: Path
    sha256: str
    manifest: Manifest
    normalisation: Normalisation
    module: torch.jit.ScriptModule | None
    weights: Weights
    tables: Mapping[str, NDArray[np.float64]]

    @property
    def name(self) -> str:
        """Name of the bundle, as the manifest gives it."""
        return self.manifest.name

    @property
    def script_sha256(self) -> str:
        """SHA-256 of the script's file, as the manifest gives it."""
        return next(each.sha256 for each in self.manifest.files if each.name == "ensemble.pt")

    @property
    def agents(self) -> tuple[str, ...]:
        """Names along axis A of every array of a judgement."""
        return self.manifest.agents

    @property
    def regimes(self) -> tuple[str, ...]:
        """Names along axis K of the regime posterior."""
        return self.manifest.regimes

    @property
    def observation_count(self) -> int:
        """Width F of one market row."""
        return self.normalisation.observation_count


def load(
    path: Path,
    feature_names: tuple[str, ...],
    *,
    now_ns: int,
    recall: Callable[[str], Weights | None] | None = None,
) -> Bundle:
    """Read and verify a bundle against the features in use and the time given.

    ``recall`` may know the weights of a script (by the SHA-256 of its file) whose compiled form was
    proven equal: then that form answers the golden inputs, and the script is not loaded. ``path``
    itself may be a link to the directory; nothing inside may be one. Raises BundleError
    for whatever is not exactly right, and leaves nothing half-loaded.
    """
    try:
        contents = _read_directory(path)
        manifest = parse_manifest(contents[MANIFEST_NAME])
        _check_files(manifest, contents)
        _check_schema(manifest, feature_names, now_ns)
        normalisation = Normalisation(
            mean_F=np.array(manifest.observation.mean),
            scale_F=np.array(manifest.observation.scale),
        )
        golden = _read_golden(contents["golden.npz"], manifest)
        tables = _read_tables(contents["tables.safetensors"])
        module, weights = _read_networks(contents["ensemble.pt"], golden, manifest, recall)
    except (ValueError, OSError) as error:
        raise BundleError(path, str(error)) from error
    return Bundle(
        path=path,
        sha256=hashlib.sha256(contents[MANIFEST_NAME]).hexdigest(),
        manifest=manifest,
        normalisation=normalisation,
        module=module,
        weights=weights,
        tables=tables,
    )


def read_files(path: Path) -> dict[str, bytes]:
    """Return the bytes of every file of a bundle, as its manifest lists them; BundleError.

    Nothing else is verified yet: equal manifests mean equal contents, and no more.
    """
    try:
        contents = _read_directory(path)
        _check_files(parse_manifest(contents[MANIFEST_NAME]), contents)
        return contents
    except (ValueError, OSError) as error:
        raise BundleError(path, str(error)) from error


def _read_directory(path: Path) -> dict[str, bytes]:
    """Return the bytes of every file; ValueError for a missing, extra, linked or large one."""
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ValueError(f"not a readable directory ({error.strerror})") from error
    try:
        names = set(os.listdir(directory))
        if MANIFEST_NAME not in names:
            raise ValueError(f"{MANIFEST_NAME} is missing")
        others = sorted(names - set(BYTES_MAX))
        extra = [name for name in others if re.fullmatch(PART_PATTERN, name) is None]
        if extra:
            raise ValueError(f"unlisted file {extra[0]!r}")
        missing = sorted(set(BYTES_MAX) - names)
        if missing:
            raise ValueError(f"{missing[0]} is missing")
        return {
            name: _read_file(directory, name, BYTES_MAX.get(name, PART_BYTES_MAX))
            for name in (*BYTES_MAX, *others)
        }
    finally:
        os.close(directory)


def _read_file(directory: int, name: str, bytes_max: int) -> bytes:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=directory)
    except OSError as error:
        linked = stat.S_ISLNK(os.lstat(name, dir_fd=directory).st_mode)
        reason = "is a symbolic link" if linked else f"cannot be read ({error.strerror})"
        raise ValueError(f"{name} {reason}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{name} is no regular file")
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(bytes_max + 1)
    if len(content) > bytes_max:
        raise ValueError(f"{name} is larger than {bytes_max} bytes")
    return content


def _check_files(manifest: Manifest, contents: dict[str, bytes]) -> None:
    unlisted = sorted(set(contents) - {MANIFEST_NAME, *(entry.name for entry in manifest.files)})
    if unlisted:
        raise ValueError(f"unlisted file {unlisted[0]!r}")
    for entry in manifest.files:
        if entry.name not in contents:
            raise ValueError(f"{entry.name} is missing")
        content = contents[entry.name]
        if len(content) != entry.bytes:
            raise ValueError(
                f"{entry.name} has {len(content)} bytes, the manifest says {entry.bytes}"
            )
        found = hashlib.sha256(content).hexdigest()
        if found != entry.sha256:
            raise ValueError(f"{entry.name} has sha256 {found}, the manifest says {entry.sha256}")


def _check_schema(manifest: Manifest, feature_names: tuple[str, ...], now_ns: int) -> None:
    seen = manifest.observation
    for i, (theirs, ours) in enumerate(zip(seen.feature_names, feature_names, strict=False)):
        if theirs != ours:
            raise ValueError(f"feature {i} is {theirs!r}, this program computes {ours!r}")
    if len(seen.feature_names) != len(feature_names):
        raise ValueError(
            f"{len(seen.feature_names)} features, this program computes {len(feature_names)}"
        )
    if seen.feature_schema_sha256 != schema_sha256(feature_names):
        raise ValueError("the definition of a feature has changed since the bundle was made")
    if seen.extra_names != OBSERVATION_EXTRA_NAMES:
        raise ValueError(f"extra inputs {seen.extra_names}, wanted {OBSERVATION_EXTRA_NAMES}")
    if manifest.expires_ns is not None and now_ns >= manifest.expires_ns:
        raise ValueError(f"expired at {manifest.expires_ns} ns, now is {now_ns} ns")


def open_archive(name: str, content: bytes) -> zipfile.ZipFile:
    """Open a zip archive whose content, once unpacked, stays below the file's own limit."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except ARCHIVE_ERRORS as error:
        raise ValueError(f"{name} is no archive: {error}") from error
    if sum(entry.file_size for entry in archive.infolist()) > BYTES_MAX[name]:
        raise ValueError(f"{name} unpacks to more than {BYTES_MAX[name]} bytes")
    return archive


def _read_golden(content: bytes, manifest: Manifest) -> Arrays:
    """Return the golden arrays with the shapes and types the manifest implies, all finite."""
    wanted_names = sorted(f"{name}.npy" for name in (*INPUT_NAMES, *OUTPUT_NAMES))
    found_names = sorted(open_archive("golden.npz", content).namelist())
    if found_names != wanted_names:
        raise ValueError(f"golden.npz holds {found_names}, wanted {wanted_names}")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            golden: Arrays = {name: archive[name] for name in archive.files}
    except ARCHIVE_ERRORS as error:
        raise ValueError(f"golden.npz cannot be read: {error}") from error
    for name, array in golden.items():
        if not isinstance(array, np.ndarray):  # numpy hands back unknown content as bytes
            raise ValueError(f"golden.npz cannot be read: {name} is no array")
    rows = len(golden["obs_BF"]) if golden["obs_BF"].ndim else 0
    if not 1 <= rows <= GOLDEN_ROWS_MAX:
        raise ValueError(f"golden.npz has {rows} rows, wanted 1 to {GOLDEN_ROWS_MAX}")
    for name, (shape, kind) in _wanted_shapes(manifest, rows).items():
        if golden[name].shape != shape or golden[name].dtype != kind:
            raise ValueError(
                f"golden.npz {name} is {golden[name].dtype} {golden[name].shape}, "
                f"wanted {np.dtype(kind)} {shape}"
            )
        if not np.isfinite(golden[name]).all():
            raise ValueError(f"golden.npz {name} is not finite")
    if not np.isin(golden["held_BA"], (0, 1, 2)).all():
        raise ValueError("golden.npz held_BA holds what is no position")
    return golden


def _wanted_shapes(manifest: Manifest, rows: int) -> dict[str, tuple[tuple[int, ...], type]]:
    agents, regimes = len(manifest.agents), len(manifest.regimes)
    width = len(manifest.observation.mean) + len(OBSERVATION_EXTRA_NAMES)
    return {
        "obs_BF": ((rows, width), np.float32),
        "held_BA": ((rows, agents), np.int64),
        "preference_BA3": ((rows, agents, 3), np.float32),
        "action_BA": ((rows, agents), np.int64),
        "confidence_BA": ((rows, agents), np.float32),
        "regime_BK": ((rows, regimes), np.float32),
        "predicted_BA": ((rows, agents), np.float32),
    }


def _read_tables(content: bytes) -> dict[str, NDArray[np.float64]]:
    """Return the tables by name; ValueError unless each is finite float64."""
    try:
        tables = load_tables(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"tables.safetensors cannot be read: {error}") from error
    for name, table in tables.items():
        if table.dtype != np.float64:
            raise ValueError(f"tables.safetensors {name} is {table.dtype}, wanted float64")
        if not np.isfinite(table).all():
            raise ValueError(f"tables.safetensors {name} is not finite")
        table.flags.writeable = False
    return tables


def last_line(error: Exception) -> str:
    """Return the last line of an error's text: torch puts the trace first and the cause last."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def _read_networks(
    content: bytes,
    golden: Arrays,
    manifest: Manifest,
    recall: Callable[[str], Weights | None] | None,
) -> tuple[torch.jit.ScriptModule | None, Weights]:
    """Return script and weights that give the golden answers; the script None where recalled."""
    known = recall(hashlib.sha256(content).hexdigest()) if recall is not None else None
    if known is not None and _gives_golden_answers(known, golden, manifest):
        return None, known
    from strategy import script  # torch: more than a second, which a warm restart saves

    module, weights = script.read_module(content)
    _check_golden(lambda obs_BF, held_BA: script.run(module, obs_BF, held_BA), golden, manifest)
    return module, weights


def _gives_golden_answers(weights: Weights, golden: Arrays, manifest: Manifest) -> bool:
    """Say whether recalled weights are what they should be; where not, the script decides."""
    try:
        _check_golden(CompiledEnsemble(weights).judge, golden, manifest)
    except (ValueError, KeyError, IndexError):
        return False
    return True


def _check_golden(answer_to: AnswerTo, golden: Arrays, manifest: Manifest) -> None:
    """Run the golden inputs as one batch and row by row; the answers must be the stored ones."""
    obs_BF = np.ascontiguousarray(golden["obs_BF"])
    held_BA = np.ascontiguousarray(golden["held_BA"])
    rows = len(obs_BF)
    for first, last in ((0, rows), *((i, i + 1) for i in range(min(rows, 4)))):
        answer = dict(
            zip(OUTPUT_NAMES, answer_to(obs_BF[first:last], held_BA[first:last]), strict=True)
        )
        for name, (shape, kind) in _wanted_shapes(manifest, last - first).items():
            if name in INPUT_NAMES:
                continue
            found = answer[name]
            if found.shape != shape or found.dtype != kind:
                raise ValueError(f"the module's {name} is {found.dtype} {found.shape}, not {shape}")
        for name, found in answer.items():
            expected = golden[name][first:last].astype(np.float64)
            error = float(np.max(np.abs(found.astype(np.float64) - expected)))
            if not error <= manifest.golden_tolerance:
                raise ValueError(
                    f"golden mismatch: {name} is off by {error:.3g}, "
                    f"allowed {manifest.golden_tolerance:.3g}"
                )


assert set(BYTES_MAX) == {MANIFEST_NAME, *FILE_NAMES}
