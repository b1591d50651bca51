"""One JSON line each way over a Unix socket: what operators, daemon and guard speak.

Only the standard library. Sockets are for their owner alone (0600). A path longer than the kernel
takes is reached through its directory's descriptor.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LINE_BYTES_MAX = 1024 * 1024
_ADDRESS_BYTES_MAX = 100  # sun_path holds 108


class LineError(Exception):
    """Nobody answered, or not in words of ours; the message is for the operator."""


def listen(path: Path) -> socket.socket:
    """Bind a socket that only its owner may use; OSError when that is not possible.

    A file left by a process that is gone is replaced: the caller holds the lock that proves it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    mask = os.umask(0o177)
    try:
        with _address(path) as address:
            listener.bind(address)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(mask)
    return listener


def connect(path: Path, timeout_s: float) -> socket.socket:
    """Connect; OSError when nobody listens."""
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    stream.settimeout(timeout_s)
    try:
        with _address(path) as address:
            stream.connect(address)
    except OSError:
        stream.close()
        raise
    return stream


def ask(path: Path, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
    """Send one request and return the answer; LineError when there is none in time."""
    try:
        with connect(path, timeout_s) as stream:
            stream.sendall(json.dumps(request).encode() + b"\n")
            line = _read_line(stream)
    except TimeoutError:
        raise LineError(f"{path}: no answer within {timeout_s:g} s") from None
    except (FileNotFoundError, ConnectionRefusedError):
        raise LineError(f"nobody listens at {path}") from None
    except OSError as error:
        raise LineError(f"{path}: {error.strerror or error}") from None
    answer = parse(line)
    if answer is None:
        raise LineError(f"{path}: the answer is no JSON object")
    return answer


def parse(line: bytes) -> dict[str, Any] | None:
    """Read one line as a JSON object; None for anything else."""
    try:
        words = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return words if isinstance(words, dict) else None


def peer_of(stream: Any) -> tuple[int, int]:
    """Return process and user id of the other end of a connected Unix socket."""
    size = struct.calcsize("3i")
    packed = stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid, uid, _ = struct.unpack("3i", packed)
    return pid, uid


def _read_line(stream: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n") and len(line) <= LINE_BYTES_MAX:
        more = stream.recv(65_536)
        if not more:
            break
        line += more
    return line


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """Give an address for bind and connect, short enough for the kernel."""
    if len(os.fsencode(path)) <= _ADDRESS_BYTES_MAX:
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
