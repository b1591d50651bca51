"""The exchange as a command: it serves, it ends in order, it says why when it cannot."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
COMMAND = [sys.executable, "-m", "daemon", "exchange"]


@contextmanager
def exchange(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command in a process group of its own, and leave nothing behind."""
    with subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as child:
        try:
            yield child
        finally:
            if child.poll() is None:
                child.kill()


def next_document(child: subprocess.Popen[str]) -> dict[str, Any]:
    """Return the next line of stdout, which must be one JSON object."""
    assert child.stdout is not None
    document: dict[str, Any] = json.loads(child.stdout.readline())
    return document


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)], ids=["SIGINT", "SIGTERM"]
)
def test_exchange_serves_until_told_to_stop(number: signal.Signals, code: int) -> None:
    """It answers a client, then reports what it served and removes its certificate."""
    with exchange("--json", "--plain", "--seed", "3") as child:
        access = next_document(child)
        assert Path(access["ca_pem_path"]).is_file()
        with urllib.request.urlopen(f"{access['plain_url']}/fapi/v1/ping", timeout=30) as answer:
            assert answer.read() == b"{}"
        child.send_signal(number)
        report = next_document(child)
        assert child.wait(timeout=30) == code
        assert report["equity_quote"] == "100000.00000000"
        assert not Path(access["ca_pem_path"]).exists()


def test_port_in_use_is_code_2() -> None:
    """A port that another program holds is refused in one line that names it."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with exchange("--port", str(port)) as child:
            out, err = child.communicate(timeout=60)
    assert child.returncode == 2
    assert out == ""
    assert err.startswith(f"metaensemble: cannot listen on port {port}")
    assert err.count("\n") == 1


def test_file_that_is_no_capture_is_code_2(tmp_path: Path) -> None:
    """A capture is refused before anything is served, with its name and line."""
    file = tmp_path / "capture.gz"
    file.write_text("not a capture\n")
    with exchange("--capture", str(file)) as child:
        out, err = child.communicate(timeout=60)
    assert child.returncode == 2
    assert out == ""
    assert str(file) in err
    assert err.count("\n") == 1
