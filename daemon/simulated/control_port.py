"""The control port: faults armed, listed and disarmed by REST, beside the exchange's own port.

Plain HTTP on loopback, for tests and operators. A body must say that it is JSON, which no web page
can do to a foreign address without asking first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from config.fault_specs import FAULT_KINDS, read_fault
from config.problems import ConfigError
from daemon.simulated.fault_shell import FaultShell

BODY_BYTES_MAX = 64 * 1024
FAULTS_PATH = "/faults"
KINDS_PATH = "/kinds"
REPORT_PATH = "/report"
SOURCE = "fault"


class ControlPort:
    """Answers ``/faults``, ``/faults/NAME``, ``/kinds`` and ``/report``."""

    def __init__(self, shell: FaultShell, report: Callable[[], dict[str, object]]) -> None:
        """Arm in ``shell``; ``report`` is what the exchange would report now."""
        self._shell = shell
        self._report = report

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        path = request.path.rstrip("/")
        match request.method, path:
            case "GET", "/faults":
                return _answer({"faults": self._shell.board.listing()})
            case "GET", "/kinds":
                return _answer({name: kind.sentence for name, kind in FAULT_KINDS.items()})
            case "GET", "/report":
                return _answer(self._report())
            case "POST", "/faults":
                return await self._arm(request)
            case "DELETE", "/faults":
                return _answer({"disarmed": self._shell.disarm_all()})
            case "DELETE", _ if path.startswith(f"{FAULTS_PATH}/"):
                name = path.removeprefix(f"{FAULTS_PATH}/")
                if not self._shell.disarm(name):
                    return _answer({"error": f"no fault named {name!r} is armed"}, 404)
                return _answer({"disarmed": 1})
        return _answer({"error": f"no such call; there are {FAULTS_PATH}, {KINDS_PATH}"}, 404)

    async def _arm(self, request: web.BaseRequest) -> web.Response:
        if request.content_type != "application/json":
            return _answer({"error": "the body must be application/json"}, 415)
        body = await request.read()
        if len(body) > BODY_BYTES_MAX:
            return _answer({"error": f"larger than {BODY_BYTES_MAX} bytes"}, 413)
        try:
            fault = self._shell.arm(read_fault(orjson.loads(body), SOURCE))
        except (ConfigError, ValueError) as error:
            return _answer({"error": str(error)}, 400)
        return _answer(fault.document())


def _answer(document: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(document), status=status, content_type="application/json")
