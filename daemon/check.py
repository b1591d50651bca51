"""``metaensemble check``: validate configuration files, presets and bundles; trades nothing.

What passes here is what ``run`` would accept on this machine and at this time: the same loaders are
called. A configuration that names a bundle has that bundle checked too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from config.load import ConfigError, load_settings, settings_sha256
from config.settings import Settings
from daemon.exit_codes import EXIT_CONFIG, EXIT_DONE, EXIT_REFUSED

PRESETS = Path(__file__).resolve().parent.parent / "config" / "presets"
MANIFEST_BYTES_MAX = 1 << 18

Kind = Literal["preset", "config", "bundle", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The verdict on one file or directory; ``key`` and ``line`` are empty where unknown.

    ``also`` holds further problems of the same file, each with its own place.
    """

    path: str
    kind: Kind
    ok: bool
    message: str
    key: str = ""
    line: int | None = None
    also: tuple[str, ...] = ()


def run(paths: Sequence[Path], *, as_json: bool) -> int:
    """Check everything named, or all presets and the shipped bundle; print one line for each.

    Returns 0, 2 when a bundle or an unknown file was refused, 78 when a configuration was.
    """
    found = []
    for finding in examine(paths):
        found.append(finding)
        if not as_json:
            print(_line(finding), flush=True)
    refused = {finding.kind for finding in found if not finding.ok}
    if as_json:
        files = [asdict(finding) for finding in found]
        print(json.dumps({"schema": 1, "ok": not refused, "files": files}))
    if refused & {"preset", "config"}:
        return EXIT_CONFIG
    return EXIT_REFUSED if refused else EXIT_DONE


def examine(paths: Sequence[Path]) -> Iterator[Finding]:
    """Yield a verdict for every path; with none given, for what comes with the program."""
    if not paths:
        for preset in sorted(PRESETS.glob("*.yaml")):
            yield from check_preset(preset)
        from strategy.bundle import DEFAULT_BUNDLE_PATH

        yield check_bundle(DEFAULT_BUNDLE_PATH)
    for path in paths:
        if path.is_dir():
            yield check_bundle(path)
        elif path.suffix in {".yaml", ".yml"}:
            yield from check_config(path)
        else:
            what = "neither a .yaml file nor a bundle directory" if path.exists() else "not found"
            yield Finding(path=str(path), kind="unknown", ok=False, message=what)


def check_preset(path: Path) -> Iterator[Finding]:
    """Check a shipped preset by its name."""
    yield from _check_settings(path, "preset", path.stem, None)


def check_config(path: Path) -> Iterator[Finding]:
    """Check a configuration file over the preset it names."""
    yield from _check_settings(path, "config", None, path)


def check_bundle(path: Path) -> Finding:
    """Verify a bundle as ``run`` would: hashes, schema, expiry, golden answers."""
    from daemon.clock import SystemClock
    from strategy.bundle import BundleError, load

    try:
        bundle = load(path, feature_names(path), now_ns=SystemClock().now_ns())
    except BundleError as error:
        return Finding(path=str(path), kind="bundle", ok=False, message=error.reason)
    message = f"{bundle.name}, {bundle.manifest.status}, sha256 {bundle.sha256[:12]}"
    return Finding(path=str(path), kind="bundle", ok=True, message=message)


def _check_settings(
    path: Path, kind: Kind, preset: str | None, file: Path | None
) -> Iterator[Finding]:
    try:
        settings = load_settings(preset, file, ())
    except ConfigError as error:
        yield Finding(
            path=error.source,
            kind=kind,
            ok=False,
            message=error.message,
            key=error.key_path,
            line=error.line,
            also=tuple(str(problem) for problem in error.also),
        )
        return
    yield Finding(path=str(path), kind=kind, ok=True, message=_summary(settings))
    if settings.model.bundle:
        yield check_bundle(Path(settings.model.bundle))


def _summary(settings: Settings) -> str:
    return (
        f"preset {settings.preset}, mode {settings.mode}, venue {settings.venue}, "
        f"{len(settings.instruments)} instruments, settings {settings_sha256(settings)[:12]}"
    )


def feature_names(bundle: Path) -> tuple[str, ...]:
    """Return the schema that a bundle of this width must have; the loader compares the names."""
    from kernels.features import DEFAULT_FEATURE_NAMES, RESEARCH_FEATURE_NAMES

    try:
        with (bundle / "manifest.json").open("rb") as file:
            manifest = json.loads(file.read(MANIFEST_BYTES_MAX))
        count = len(manifest["observation"]["feature_names"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        count = 0  # whatever is wrong with it, the loader says so
    is_research = count == len(RESEARCH_FEATURE_NAMES)
    return RESEARCH_FEATURE_NAMES if is_research else DEFAULT_FEATURE_NAMES


def _line(finding: Finding) -> str:
    where = finding.path if finding.line is None else f"{finding.path}:{finding.line}"
    message = " ".join(finding.message.split())
    parts = (where, message) if finding.ok else (where, finding.key, message)
    problems = [": ".join(part for part in parts if part), *finding.also]
    verdict = "ok" if finding.ok else "refused"
    return "\n".join(f"{verdict:<7}  {problem}" for problem in problems)
