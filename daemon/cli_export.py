"""The command ``export``: reads its options, loads nothing heavy before it is called."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path


def register(add: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add(
        "export",
        "let policies trained elsewhere join a bundle's team; writes a new bundle",
        "metaensemble export --from sb3 my_ppo.zip --base models/btc-1h --out models/btc-guests",
    )
    parser.add_argument(
        "--from",
        dest="source",
        choices=("sb3",),
        required=True,
        help="sb3: what PPO, A2C or DQN of Stable-Baselines3 saved",
    )
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="its stem becomes the agent's name"
    )
    parser.add_argument(
        "--base",
        type=Path,
        metavar="BUNDLE",
        help="whose state the policies were trained on; left out: the shipped bundle",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="bundle to write")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.set_defaults(command=_command)


def _command(options: argparse.Namespace) -> int:
    from daemon import guest_export

    return guest_export.run(
        guest_export.ExportOptions(
            files=tuple(options.files),
            base=options.base,
            out=options.out,
            as_json=options.json,
        )
    )
