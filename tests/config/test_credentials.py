"""Credentials: found where they belong, refused where they do not, never printed."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from config.load import ConfigError, Credentials, load_credentials, load_settings
from config.settings import Settings

KEY, SECRET = "k" * 64, "s" * 64


def _testnet() -> Settings:
    return load_settings(None, None, ["mode=testnet", "venue=binanceusdm"])


def _directory(folder: Path, key: str = KEY, secret: str = SECRET) -> dict[str, str]:
    for name, content in (("exchange-key", key), ("exchange-secret", secret)):
        path = folder / name
        path.write_text(content)
        path.chmod(0o440)  # systemd's own mode when an ACL lets the service user in
    return {"CREDENTIALS_DIRECTORY": str(folder)}


def test_simulation_needs_none() -> None:
    """In mode sim nothing is read, not even what is there."""
    environ = {"METAENSEMBLE_API_KEY": KEY, "METAENSEMBLE_API_SECRET": SECRET}
    assert load_credentials(load_settings(None, None, []), environ) is None


def test_systemd_credentials_come_first(tmp_path: Path) -> None:
    """The directory wins over the environment, and line ends are not part of a key."""
    environ = _directory(tmp_path, KEY + "\n", SECRET + "\r\n")
    environ |= {"METAENSEMBLE_API_KEY": "other", "METAENSEMBLE_API_SECRET": "other"}
    expected = Credentials(api_key=KEY, api_secret=SECRET)
    assert load_credentials(_testnet(), environ) == expected


def test_environment_is_the_second_source(tmp_path: Path) -> None:
    """Without files in the directory the variables are used."""
    environ = {
        "CREDENTIALS_DIRECTORY": str(tmp_path),
        "METAENSEMBLE_API_KEY": KEY,
        "METAENSEMBLE_API_SECRET": SECRET,
    }
    found = load_credentials(_testnet(), environ)
    assert found is not None
    assert (found.api_key, found.api_secret) == (KEY, SECRET)


def test_missing_credentials_say_where_they_go() -> None:
    """Without any, the message names both places."""
    with pytest.raises(ConfigError, match="exchange-key and exchange-secret") as caught:
        load_credentials(_testnet(), {})
    assert "METAENSEMBLE_API_SECRET" in str(caught.value)


def test_half_a_pair_is_refused(tmp_path: Path) -> None:
    """A key without its secret is an error, in files and in variables."""
    with pytest.raises(ConfigError, match="METAENSEMBLE_API_SECRET: is missing"):
        load_credentials(_testnet(), {"METAENSEMBLE_API_KEY": KEY})
    environ = _directory(tmp_path)
    (tmp_path / "exchange-secret").unlink()
    with pytest.raises(ConfigError, match=r"exchange-secret: cannot be read: No such file"):
        load_credentials(_testnet(), environ)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("", "missing or empty"),
        (" \n", "missing or empty"),
        ("two words", "spaces"),
        ("two\nlines", "one line"),
        ("ctrl\x07char", "one line"),
        ("x" * 5000, "one line"),
        ("schlüssel", "plain ASCII"),
    ],
)
def test_malformed_credentials_are_refused_unseen(tmp_path: Path, content: str, part: str) -> None:
    """What cannot be a key is refused, and neither text nor context of the error repeats it."""
    with pytest.raises(ConfigError, match=part) as caught:
        load_credentials(_testnet(), _directory(tmp_path, secret=content))
    if content.strip():
        assert content not in str(caught.value)
    assert caught.value.__context__ is None


def test_file_open_to_everybody_is_refused(tmp_path: Path) -> None:
    """A credential that every user of the machine can read is none."""
    environ = _directory(tmp_path)
    (tmp_path / "exchange-key").chmod(0o644)
    with pytest.raises(ConfigError, match="mode 0644 opens it to everybody"):
        load_credentials(_testnet(), environ)


def test_printing_shows_a_fingerprint_only() -> None:
    """No way of printing reveals key or secret; two keys can still be told apart."""
    credentials = Credentials(api_key=KEY, api_secret=SECRET)
    for text in (repr(credentials), str(credentials), f"{credentials}", repr([credentials])):
        assert KEY not in text
        assert SECRET not in text
        assert credentials.fingerprint in text
    assert credentials.fingerprint != Credentials(api_key="x", api_secret="y").fingerprint
    with pytest.raises(TypeError, match="stay in this process"):
        pickle.dumps(credentials)
