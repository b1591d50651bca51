"""Which dialect is meant: futures or spot, by an instrument's name or a websocket's request."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.simulated.spot_listings import is_spot
from daemon.simulated.streams import Route
from daemon.simulated.ws_methods import FUTURES_PATH, SPOT_PATH
from kernels.units import Instrument

FUTURES_STREAM_HOSTS = (b"fstream",)
SPOT_STREAM_HOSTS = (b"stream.", b"demo-stream.", b"data-stream.")


def split_names(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split names into contracts and pairs, each in the order given."""
    return (
        tuple(name for name in names if not is_spot(name)),
        tuple(name for name in names if is_spot(name)),
    )


def split_instruments(
    instruments: Sequence[Instrument],
) -> tuple[tuple[Instrument, ...], tuple[Instrument, ...]]:
    """Split instruments into contracts and pairs, each in the order given."""
    return (
        tuple(item for item in instruments if not is_spot(item.symbol)),
        tuple(item for item in instruments if is_spot(item.symbol)),
    )


def is_api_request(head: bytes) -> bool:
    """Tell whether a websocket's HTTP head asks for ws-api."""
    path = head.partition(b"\r\n")[0].split(b" ")[1:2]
    target = path[0].partition(b"?")[0].rstrip(b"/") if path else b""
    return target in (FUTURES_PATH.encode(), SPOT_PATH.encode())


def unrouted_streams(head: bytes, *, has_spot: bool) -> Route:
    """Tell which streams a websocket without a route carries, by the host that it asked for.

    A client that was given the loopback address gets spot where the exchange lists a pair, else
    the public streams of futures.
    """
    host = _host(head)
    if host.startswith(FUTURES_STREAM_HOSTS):
        return Route.PUBLIC
    return Route.SPOT if has_spot or host.startswith(SPOT_STREAM_HOSTS) else Route.PUBLIC


def _host(head: bytes) -> bytes:
    for line in head.lower().split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip() == b"host":
            return value.strip()
    return b""
