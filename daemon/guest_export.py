"""``metaensemble export``: policies of other libraries join a bundle's team, as a new bundle."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.clock import SystemClock
from daemon.exit_codes import EXIT_DONE, EXIT_REFUSED
from strategy.archive import write_bundle
from strategy.bundle import DEFAULT_BUNDLE_PATH, BundleError, load
from strategy.guest_recipe import guest_recipe
from strategy.learning.training import use_one_thread
from strategy.manifest import parse_manifest
from strategy.sb3_policies import BYTES_MAX, PolicyError, SavedPolicy, read_policy


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What the command line asks for; ``base`` None is the shipped bundle."""

    files: tuple[Path, ...]
    base: Path | None
    out: Path
    as_json: bool


def run(options: ExportOptions) -> int:
    """Read every policy, write the bundle, load it as the daemon would; 2 for what is refused."""
    use_one_thread()
    try:
        answer = export_guests(options)
    except (BundleError, PolicyError, ValueError, OSError) as error:
        print(f"metaensemble: export: {error}", file=sys.stderr)
        return EXIT_REFUSED
    if options.as_json:
        print(json.dumps(answer))
        return EXIT_DONE
    print(f"{answer['bundle']}: manifest sha256 {answer['sha256']}")
    print(f"  agents {', '.join(answer['agents'])}")
    return EXIT_DONE


def export_guests(options: ExportOptions) -> dict[str, Any]:
    """Write the bundle and return what there is to tell.

    PolicyError, BundleError, ValueError or OSError name the file that is refused, and why.
    """
    clock = SystemClock()
    base_path = options.base or DEFAULT_BUNDLE_PATH
    # the features are those of the base itself: a bundle of either schema can have guests
    names = parse_manifest((base_path / "manifest.json").read_bytes()).observation.feature_names
    base = load(base_path, names, now_ns=clock.now_ns())
    policies: dict[str, SavedPolicy] = {}
    provenance: dict[str, str] = {"base": base.name, "base_sha256": base.sha256}
    for path in options.files:
        name, policy, sha256 = _read(path)
        if name in policies:
            raise ValueError(f"{path}: another file is called {name} as well")
        policies[name] = policy
        provenance[f"guest_{name}"] = (
            f"{path.name} sha256 {sha256}, {policy.kind} of Stable-Baselines3 "
            f"{policy.sb3_version}, {policy.steps_trained} steps"
        )
    recipe = guest_recipe(
        base,
        {name: policy.net for name, policy in policies.items()},
        {name: policy.inputs for name, policy in policies.items()},
        name=options.out.name,
        created_ns=clock.now_ns(),
        provenance=provenance,
    )
    write_bundle(options.out, recipe)
    bundle = load(options.out, names, now_ns=clock.now_ns())
    return {
        "bundle": str(options.out),
        "sha256": bundle.sha256,
        "agents": list(bundle.agents),
        "guests": {name: policy.inputs for name, policy in policies.items()},
        "base_sha256": base.sha256,
    }


def _read(path: Path) -> tuple[str, SavedPolicy, str]:
    """Return a policy's name among agents, the policy, and its file's hash."""
    with open(path, "rb") as file:
        content = file.read(BYTES_MAX + 1)
    name = re.sub(r"[^a-z0-9]+", "_", path.stem.lower()).strip("_")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name):
        raise ValueError(f"{path}: its name makes no agent's name; it must begin with a letter")
    try:
        return name, read_policy(content), hashlib.sha256(content).hexdigest()
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from error
