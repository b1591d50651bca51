"""Calls of Binance's own SDKs and the models their answers were parsed into."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from daemon.simulated.process import SimulatedAccess

WAIT_S = 10.0


class Answers:
    """Runs calls and remembers the model of each answer, by the call's name."""

    def __init__(self) -> None:
        """Start without calls."""
        self.models: dict[str, str] = {}

    def take(self, call: Callable[..., Any], *arguments: object, **named: object) -> Any:
        """Run a REST call; its answer parsed, whatever ``oneOf`` shell it came in."""
        return self._note(call, call(*arguments, **named).data())

    async def ask(self, call: Callable[..., Awaitable[Any]], *arguments: Any, **named: Any) -> Any:
        """Run a ws-api call; an error document instead of a model is an AssertionError."""
        answer = (await asyncio.wait_for(call(*arguments, **named), WAIT_S)).data()
        assert not isinstance(answer, dict), f"{call.__name__}: {answer}"
        answer = self._note(call, answer)
        assert answer.status == 200
        return answer.result

    def _note(self, call: Callable[..., Any], answer: Any) -> Any:
        answer = getattr(answer, "actual_instance", answer)
        owner = getattr(call, "__self__", None)
        name = f"{type(owner).__module__.split('.')[0]}.{type(owner).__name__}.{call.__name__}"
        self.models[name] = type(answer).__name__
        return answer


def event_model(event: Any) -> str:
    """Name the model of a user event."""
    return type(getattr(event, "actual_instance", event)).__name__


def rest_url(access: SimulatedAccess) -> str:
    """Return the address of REST in plain text."""
    return f"http://{access.host}:{access.plain_port}"


def websocket_url(access: SimulatedAccess, path: str) -> str:
    """Return the address of a websocket in plain text."""
    return f"ws://{access.host}:{access.plain_port}{path}"
