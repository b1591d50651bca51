"""Where verified bundles are kept, and what became of each: plain files of one daemon.

A bundle is copied here before it is verified, under the hash of its manifest: what was verified is
what runs, whatever happens to the directory that it came from, and a replay finds it again.
``records.json`` names the last known good bundle, which the next start uses, and the verdicts.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import orjson

from daemon.rollout import BundleName, Model
from strategy.bundle import MANIFEST_NAME, Bundle

DIRECTORY = "models"
RECORDS_NAME = "records.json"
RECORDS_BYTES_MAX = 1 << 20
SCHEMA = 1
VERDICTS_MAX = 256
COPIES_MAX = 16
"""Stored bundles kept beside those in use; as many time-stamped backups."""


def named(bundle: Bundle) -> BundleName:
    """Name a loaded bundle."""
    return BundleName(name=bundle.name, sha256=bundle.sha256, path=str(bundle.path))


class Shelf:
    """Loaded models by the hash of their bundle; called by the engine as ``rollout.Find``."""

    def __init__(self, model: Model, bundle: Bundle) -> None:
        """Start with the bundle that decides first."""
        self.models: dict[str, Model] = {bundle.sha256: model}
        self.bundles: dict[str, Bundle] = {bundle.sha256: bundle}

    def __call__(self, bundle: BundleName) -> Model | None:
        """Give a loaded model, None where it is not loaded."""
        return self.models.get(bundle.sha256)

    def put(self, model: Model, bundle: Bundle) -> None:
        """Keep a loaded bundle."""
        self.models[bundle.sha256] = model
        self.bundles[bundle.sha256] = bundle

    def keep_only(self, hashes: set[str]) -> None:
        """Let go of every other bundle."""
        for sha256 in set(self.models) - hashes:
            del self.models[sha256], self.bundles[sha256]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one bundle, and when (UNIX ns)."""

    name: str
    sha256: str
    path: str
    verdict: str
    reason: str
    at_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """The last known good bundle, None before the first, and the newest verdict on each hash."""

    good: BundleName | None = None
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)

    def judged(self, verdict: Verdict) -> Records:
        """Return the records with one more verdict; the oldest beyond the bound go."""
        others = {key: each for key, each in self.verdicts.items() if key != verdict.sha256}
        kept = list(others.items())[-(VERDICTS_MAX - 1) :]
        return replace(self, verdicts={**dict(kept), verdict.sha256: verdict})


def read_records(directory: Path) -> Records:
    """Read the records of a store; empty where there are none; ValueError when damaged."""
    try:
        with (directory / RECORDS_NAME).open("rb") as file:
            words = orjson.loads(file.read(RECORDS_BYTES_MAX))
        if words["schema"] != SCHEMA:
            raise ValueError(f"schema {words['schema']!r}")
        verdicts = [Verdict(**row) for row in words["verdicts"]]
        good = BundleName(**words["good"]) if words["good"] else None
    except FileNotFoundError:
        return Records()
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{directory / RECORDS_NAME} cannot be read: {error}") from error
    return Records(good=good, verdicts={each.sha256: each for each in verdicts})


def write_records(directory: Path, records: Records) -> None:
    """Replace the records as a whole; OSError."""
    words = {
        "schema": SCHEMA,
        "good": asdict(records.good) if records.good else None,
        "verdicts": [asdict(each) for each in records.verdicts.values()],
    }
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = directory / f".{RECORDS_NAME}.new"
    _write(beside, orjson.dumps(words, option=orjson.OPT_INDENT_2))
    beside.rename(directory / RECORDS_NAME)
    _sync(directory)


def put_bundle(directory: Path, contents: Mapping[str, bytes]) -> tuple[Path, bool]:
    """Store the files of a bundle, from ``read_files``, under the hash of its manifest; OSError.

    Returns where they are, and whether they were stored just now.
    """
    sha256 = hashlib.sha256(contents[MANIFEST_NAME]).hexdigest()
    path = directory / sha256
    if path.is_dir():
        same = all((path / name).read_bytes() == each for name, each in contents.items())
        if same:
            return path, False
        shutil.rmtree(path)  # damaged since: the contents given are what their manifest lists
    staging = directory / f".{sha256}.new"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(mode=0o700, parents=True)
    for name, content in contents.items():
        _write(staging / name, content)
    staging.rename(path)
    _sync(directory)
    return path, True


def back_up(directory: Path, source: Path, name: str, now_ns: int) -> Path:
    """Copy a bundle under a time stamp, oldest copies go; OSError."""
    stamp = datetime.fromtimestamp(now_ns // 1_000_000_000, tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    backups = directory / "backups"
    target = backups / f"{stamp}-{name}"
    shutil.copytree(source, target, dirs_exist_ok=True)
    for old in sorted(backups.iterdir())[:-COPIES_MAX]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def prune(directory: Path, used: set[str]) -> None:
    """Delete the oldest stored bundles beyond the bound; those in use stay."""
    with contextlib.suppress(OSError):
        stored = [each for each in directory.iterdir() if len(each.name) == 64]
        stored = sorted(stored, key=lambda each: each.stat().st_mtime_ns)
        for old in [each for each in stored if each.name not in used][:-COPIES_MAX]:
            shutil.rmtree(old, ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
