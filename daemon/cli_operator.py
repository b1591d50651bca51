"""The operator's commands: ask a running daemon, or tell it what to do, over its socket.

Only the standard library here: ``metaensemble halt`` must work at once and on a sick machine.
``kill`` goes to the guard, which needs nothing of a daemon that hangs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from daemon.places import CONTROL_SOCKET, GUARD_SOCKET, MODES, socket_candidates
from daemon.socket_lines import LineError, ask

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_REFUSED = 2
ASK_TIMEOUT_S = 8.0
KILL_TIMEOUT_S = 60.0
HEARD_SHOWN = 4
"""Weightings that `weights` names: those with the largest share."""

Words = dict[str, Any]
Add = Callable[[str, str, str], argparse.ArgumentParser]


class NobodyError(Exception):
    """No daemon, or more than one, is there to be asked; the message is for the operator."""


def register(add: Add) -> None:
    """Add every operator command; ``add`` takes name, summary and example."""
    for name, summary, show in (
        ("status", "how the running daemon stands", _show_status),
        ("positions", "what the running daemon holds and what works", _show_positions),
        ("weights", "who decides now: weights, regimes, actions", _show_weights),
    ):
        parser = add(name, summary, f"metaensemble {name} --json")
        add_target(parser)
        parser.set_defaults(command=question(name, show))
    parser = add(
        "reload",
        "read preset and file again; applied between two decisions, or refused with the reason",
        "metaensemble reload",
    )
    add_target(parser)
    parser.set_defaults(command=question("reload", _show_reload))
    parser = add(
        "why",
        "why an order was sent and what became of it",
        "metaensemble why me-2agxcn7xr9da-17",
    )
    parser.add_argument("order", metavar="ORDER", help="client order id, as in the log")
    add_target(parser)
    parser.set_defaults(command=question("why", show_document))
    for name, summary in (
        ("halt", "cancel everything and send nothing more until resume"),
        ("reduce", "no new risk: positions may only become smaller"),
        ("cancel", "cancel every working order, then only orders that close and cannot rest"),
        ("flatten", "cancel everything, close every position, then halt"),
    ):
        parser = add(name, summary, f'metaensemble {name} --reason "venue maintenance"')
        add_reason(parser, required=False)
        add_target(parser)
        parser.set_defaults(command=question(name, _show_breaker))
    parser = add(
        "resume",
        "lift the breaker, whatever tripped it; also while no daemon runs",
        'metaensemble resume --reason "feed is back, positions checked"',
    )
    add_reason(parser, required=True)
    add_target(parser)
    parser.set_defaults(command=_resume)
    parser = add(
        "kill",
        "end the daemon now, cancel everything and prove it; works when the daemon hangs",
        'metaensemble kill --flatten --reason "it hangs"',
    )
    parser.add_argument("--flatten", action="store_true", help="close all positions as well")
    add_reason(parser, required=False)
    add_target(parser)
    parser.set_defaults(command=_kill)


def add_target(parser: argparse.ArgumentParser) -> None:
    """Let the operator say which daemon is asked, and how the answer is printed."""
    parser.add_argument("--mode", choices=MODES, help="which daemon, where several run")
    parser.add_argument(
        "--socket", type=Path, metavar="PATH", help="its control.sock, where it keeps its journal"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")


def add_reason(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Take the reason that goes into the log."""
    parser.add_argument("--reason", metavar="TEXT", required=required, help="goes into the log")


def question(
    name: str, show: Callable[[Words], None], timeout_s: float = ASK_TIMEOUT_S
) -> Callable[[argparse.Namespace], int]:
    """Return what asks the running daemon one question and shows the answer."""

    def run(options: argparse.Namespace) -> int:
        request = {"command": name}
        for key in ("reason", "order", "bundle"):
            if getattr(options, key, None):
                request[key] = getattr(options, key)
        try:
            answer = ask(find_socket(options, CONTROL_SOCKET), request, timeout_s)
        except (NobodyError, LineError) as error:
            return complain(options, str(error))
        return finish(options, answer, show)

    return run


def _kill(options: argparse.Namespace) -> int:
    """Ask the guard; where there is none, the daemon itself."""
    request = {"command": "kill", "flatten": options.flatten, "reason": options.reason or ""}
    try:
        answer = ask(find_socket(options, GUARD_SOCKET), request, KILL_TIMEOUT_S)
    except (NobodyError, LineError) as no_guard:
        try:
            answer = ask(find_socket(options, CONTROL_SOCKET), request, ASK_TIMEOUT_S)
        except (NobodyError, LineError) as error:
            return complain(options, f"no guard ({no_guard}) and no daemon ({error})")
    return finish(options, answer, show_document)


def _resume(options: argparse.Namespace) -> int:
    """Ask the daemon; where none runs, lift the latch on disk for the next start."""
    request = {"command": "resume", "reason": options.reason}
    try:
        answer = ask(find_socket(options, CONTROL_SOCKET), request, ASK_TIMEOUT_S)
    except (NobodyError, LineError) as nobody:
        from daemon import offline  # needs the journal's lock, and with it numpy

        lifted = offline.resume(_state_directories(options), options.reason)
        if lifted is None:
            return complain(options, f"{nobody}; and no breaker is latched on disk")
        return finish(options, lifted, show_document)
    return finish(options, answer, _show_breaker)


def _state_directories(options: argparse.Namespace) -> list[Path]:
    if options.socket is not None:
        return [options.socket.parent]
    found = socket_candidates(CONTROL_SOCKET, options.mode, os.environ)
    return [path.parent for path in found]


def find_socket(options: argparse.Namespace, name: str) -> Path:
    """Return the one socket that answers; NobodyError where there is none or more than one."""
    if options.socket is not None:
        path: Path = options.socket.with_name(name)
        return path
    candidates = socket_candidates(name, options.mode, os.environ)
    alive = []
    for path in candidates:
        if not path.is_socket():
            continue
        try:
            mode = ask(path, {"command": "status"}, ASK_TIMEOUT_S).get("mode")
        except LineError:
            continue  # left behind by a daemon that is gone, or not ours to open
        if options.mode in (None, mode):
            alive.append(path)
    if not alive:
        kind = "daemon" if name == CONTROL_SOCKET else "guard"
        which = f" in mode {options.mode}" if options.mode else ""
        raise NobodyError(f"no {kind} runs{which}; a socket elsewhere is named with --socket")
    if len(alive) > 1:
        listed = ", ".join(map(str, alive))
        raise NobodyError(f"several run, choose with --mode or --socket: {listed}")
    return alive[0]


def complain(options: argparse.Namespace, message: str) -> int:
    """Print why nothing was done; returns the exit code."""
    if options.json:
        print(json.dumps({"ok": False, "error": message}))
    else:
        print(f"metaensemble: {' '.join(message.split())}", file=sys.stderr)
    return EXIT_FAILED


def finish(options: argparse.Namespace, answer: Words, show: Callable[[Words], None]) -> int:
    """Print an answer; returns the exit code."""
    if not answer.get("ok"):
        complain(options, str(answer.get("error", "refused without a word")))
        return EXIT_REFUSED
    if options.json:
        print(json.dumps(answer))
    else:
        show(answer)
    return EXIT_DONE


def _show_breaker(answer: Words) -> None:
    breaker = answer["breaker"]
    print(f"breaker {breaker['state']} ({breaker['trigger']}: {breaker['reason']})")


def _show_reload(answer: Words) -> None:
    print(answer["summary"])
    for row in answer["applied"]:
        print(f"  {row['key']}: {row['old']} -> {row['new']}")


def _show_status(answer: Words) -> None:
    orders, breaker = answer["orders"], answer["breaker"]
    why = f" ({breaker['trigger']}: {breaker['reason']})" if breaker["trigger"] else ""
    verdicts = ", ".join(f"{name} {verdict}" for name, verdict in answer["verdicts"].items())
    denied = sum(orders["denied"].values())
    guard = answer["guard"]
    print(f"run {answer['run_id']} in mode {answer['mode']}, up {answer['uptime_s']:.0f} s")
    print(f"  breaker    {breaker['state']}{why}")
    print(f"  feed       {verdicts}")
    print(
        f"  orders     {orders['sent']} sent, {orders['filled']} filled, {orders['open']} open, "
        f"{denied} denied, {orders['rejected']} rejected"
    )
    print(f"  decisions  {answer['decisions']}")
    print(
        f"  equity     {answer['equity_quote']}, drawdown {answer['drawdown_frac']:.3%}, "
        f"loss today {answer['day_loss_frac']:.3%}"
    )
    print(f"  guard      {guard['state']}")
    print(f"  page       {answer['page'] or 'none'}")


def _show_positions(answer: Words) -> None:
    for row in answer["positions"]:
        print(
            f"{row['instrument']:<20} {row['quantity']:>14} at {row['entry_price'] or '-':>10}, "
            f"mark {row['mark_price']}, unrealised {row['unrealised_quote']}"
        )
    for row in answer["open_orders"]:
        print(
            f"  order {row['client_order_id']} {row['side']} {row['lots']} lots of "
            f"{row['instrument']}: {row['status']}"
        )
    print(f"equity {answer['equity_quote']}, gross {answer['gross_notional_quote']}")


def _show_weights(answer: Words) -> None:
    for agent, weight in answer["weights"].items():
        print(f"{agent:<13} {weight:7.2%} {'#' * round(40 * weight)}")
    for symbol, row in answer["instruments"].items():
        likely = max(row["posterior"], key=row["posterior"].get)
        print(
            f"{symbol}: {row['regime']} (likeliest {likely} {row['posterior'][likely]:.0%}, "
            f"stability {row['stability']:.2f}), exposure {row['exposure']:+.2f}, "
            f"trust {row['trust']:.2f}"
        )
        if row["weightings"]:
            heard = sorted(row["weightings"].items(), key=lambda pair: -pair[1])[:HEARD_SHOWN]
            print("  listens to " + ", ".join(f"{name} {share:.0%}" for name, share in heard))
            sharpes = (f"{name} {value:+.2f}" for name, value in row["believed_sharpe"].items())
            print("  believed Sharpe " + ", ".join(sharpes))


def show_document(answer: Words, indent: str = "") -> None:
    """Print names and values, nested ones indented."""
    for name, value in answer.items():
        if isinstance(value, Mapping):
            print(f"{indent}{name}")
            show_document(dict(value), indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            print(f"{indent}{name}")
            for row in value:
                print(f"{indent}  {' '.join(f'{key}={item}' for key, item in row.items())}")
        elif name != "ok" or indent:
            print(f"{indent}{name:<14} {value}")
