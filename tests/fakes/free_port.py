"""A loopback port that nobody listens on at this moment."""

from __future__ import annotations

import socket


def free_port() -> int:
    """Let the kernel choose a port and give it back at once; another process may take it."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
