"""``metaensemble exchange``: the exchange alone, in front of the user, until it is told to stop."""

from __future__ import annotations

import asyncio
import json
import signal
import sys

import uvloop

from config.settings import SimulatedSettings
from daemon.exit_codes import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED
from daemon.simulated.process import ExchangeError, SimulatedExchange, start


def run(
    settings: SimulatedSettings, instruments: tuple[str, ...], *, is_plain: bool, as_json: bool
) -> int:
    """Serve until SIGINT (130) or SIGTERM (0), then print what was served.

    2 when a market or a port is refused, 1 when the exchange ends by itself. The account is a
    throw-away one with play money, so its key and secret are printed for the client to use.
    """
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(settings, instruments, is_plain, as_json))
    except ExchangeError as error:
        print(f"metaensemble: {error}", file=sys.stderr)
        return EXIT_REFUSED if error.is_refused else EXIT_FAILED


async def _serve(
    settings: SimulatedSettings, instruments: tuple[str, ...], is_plain: bool, as_json: bool
) -> int:
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    code = EXIT_DONE

    def stop(number: int) -> None:
        nonlocal code
        code = EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_DONE
        asked.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    if sys.stderr.isatty():
        print("Starting the exchange; the first start compiles its kernels.", file=sys.stderr)
    # the terminal's interrupt reaches the child as well; both ways lead to the same orderly end
    exchange = await start(settings, instruments, is_plain=is_plain)
    try:
        _announce(exchange, instruments, as_json)
        await _first(asyncio.create_task(asked.wait()), asyncio.create_task(exchange.wait_exited()))
    finally:
        await exchange.stop()
    _report(exchange, as_json)
    if not asked.is_set() and exchange.exit_code:
        raise ExchangeError(f"the exchange ended by itself with status {exchange.exit_code}")
    return code


async def _first(*tasks: asyncio.Task[object]) -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _announce(exchange: SimulatedExchange, instruments: tuple[str, ...], as_json: bool) -> None:
    access = exchange.access
    document = {
        "schema": 1,
        "url": f"https://{access.host}:{access.port}",
        "plain_url": f"http://{access.host}:{access.plain_port}" if access.plain_port else "",
        "control_url": f"http://{access.host}:{access.control_port}",
        "ca_pem_path": access.ca_pem_path,
        "api_key": access.api_key,
        "api_secret": access.api_secret,
        "pid": access.pid,
        "instruments": list(instruments),
        "faults": list(exchange.faults),
    }
    if as_json:
        print(json.dumps(document), flush=True)
        return
    print(f"The simulated exchange serves {', '.join(instruments)}; Ctrl-C ends it.")
    for name in ("url", "plain_url", "control_url", "ca_pem_path", "api_key", "api_secret"):
        if document[name]:
            print(f"  {name:<11}  {document[name]}")
    print(f"  {'faults':<11}  {', '.join(exchange.faults) or 'none armed'}")
    print(_HOW_TO.format(access=access), flush=True)


_HOW_TO = """\
  ccxt         leave its URLs alone: give it a session whose resolver leads every host to
               {access.host}:{access.port} and whose TLS trusts ca_pem_path
  Binance SDK  base_path = plain_url (start with --plain), the same key and secret
  faults       curl -H 'Content-Type: application/json' \\
                 -d '{{"kind": "depth_gap"}}' http://{access.host}:{access.control_port}/faults
               GET /faults lists, DELETE /faults/NAME disarms, GET /kinds explains
"""


def _report(exchange: SimulatedExchange, as_json: bool) -> None:
    report = exchange.report()
    if as_json:
        print(json.dumps({"schema": 1, **report}), flush=True)
        return
    sent = report["frames_sent"]
    print(f"Served {sum(sent.values())} frames, {report['fills']} fills; ", end="")
    print(f"equity {report['equity_quote']}, fees {report['fees_quote']}.", flush=True)
