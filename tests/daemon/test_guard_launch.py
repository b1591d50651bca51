"""What a guard is told over its pipe: whole, typed, and silent about the keys."""

from __future__ import annotations

import pytest

from config.settings import Settings
from daemon.guard_launch import Launch, parse_launch
from daemon.venues.emergency import Loopback


def test_launch_survives_the_pipe_and_shows_no_secret() -> None:
    """What is written is what is read, and printing it gives nothing away."""
    launch = Launch(
        settings=Settings().model_dump(mode="json"),
        api_key="key-key-key",
        api_secret="secret-secret",
        loopback=Loopback(host="127.0.0.1", port=1, ca_pem_path="/ca"),
        run_id="r",
        state_directory="/s",
        socket_path="/s/guard.sock",
        is_child=True,
    )
    found, settings = parse_launch(launch.to_line())
    assert (found, settings) == (launch, Settings())
    assert "key-key" not in repr(launch)
    assert "secret-secret" not in repr(launch)


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b'{"api_key": 1}', b"nonsense"])
def test_junk_is_no_launch(line: bytes) -> None:
    """A guard that was told nothing guards nothing, and says so."""
    with pytest.raises(ValueError):  # noqa: PT011 - every kind of junk has its own words
        parse_launch(line)
