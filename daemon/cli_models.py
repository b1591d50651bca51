"""``metaensemble models``: list, verify, promote and roll back model bundles."""

from __future__ import annotations

import argparse
from pathlib import Path

from daemon.cli_operator import (
    EXIT_DONE,
    EXIT_REFUSED,
    Add,
    Words,
    add_reason,
    add_target,
    complain,
    finish,
    question,
    show_document,
)

PROMOTE_TIMEOUT_S = 60.0
"""Loading and timing a bundle takes seconds on a busy machine."""


def register(add: Add) -> None:
    """Add the command; ``add`` takes name, summary and example."""
    parser = add(
        "models",
        "bundles of the running daemon: list them, promote one, roll back; verify needs no daemon",
        "metaensemble models promote btc-2026-11",
    )
    parser.add_argument("action", choices=("list", "verify", "promote", "rollback"))
    parser.add_argument(
        "bundle",
        nargs="?",
        metavar="BUNDLE",
        help="verify: its directory; promote: its name in the models directory, or a hash",
    )
    add_reason(parser, required=False)
    add_target(parser)
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    if (options.action in ("verify", "promote")) != (options.bundle is not None):
        needs = "needs" if options.bundle is None else "takes no"
        complain(options, f"models {options.action} {needs} BUNDLE")
        return EXIT_REFUSED
    if options.action == "verify":
        return _verify(options)
    if options.action == "list":
        return question("models", _show_list)(options)
    return question(options.action, _show_step, PROMOTE_TIMEOUT_S)(options)


def _verify(options: argparse.Namespace) -> int:
    """Verify a bundle in this process, on this machine, for the settings' defaults."""
    from config.settings import MetaLearningSettings, Settings
    from daemon.check import feature_names
    from daemon.clock import SystemClock
    from daemon.model_check import verify
    from strategy.bundle import BundleError

    path = Path(options.bundle)
    count = len(feature_names(path))
    meta = MetaLearningSettings.model_validate({"regime_features_dim": count})
    try:
        _, bundle = verify(path, Settings(meta=meta), None, SystemClock())
    except BundleError as error:
        complain(options, str(error))
        return EXIT_REFUSED
    manifest = bundle.manifest
    answer = {
        "ok": True,
        "name": bundle.name,
        "sha256": bundle.sha256,
        "status": manifest.status,
        "agents": list(bundle.agents),
        "expires_ns": manifest.expires_ns,
    }
    finish(options, answer, show_document)
    return EXIT_DONE


def _show_list(answer: Words) -> None:
    print(f"stage      {answer['stage']}, {answer['decisions_in_stage']} decisions in it")
    for role in ("deciding", "last_good", "shadow"):
        seat = answer[role]
        print(f"{role:<10} {seat['name'] + ' ' + seat['sha256'][:12] if seat else '-'}")
    print(f"pinned     {answer['pinned'] or '-'}")
    print(f"directory  {answer['directory'] or '- (model.directory is not set)'}")
    for row in answer["verdicts"]:
        print(f"  {row['sha256']} {row['name']}: {row['verdict']}, {row['reason']}")


def _show_step(answer: Words) -> None:
    deciding = answer["deciding"]
    print(f"{answer['bundle']}: {answer['step']}; {deciding['name']} decides")
