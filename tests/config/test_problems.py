"""Broken configurations: every one is refused, with its place and what would be right."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.load import ConfigError, load_settings

DEEP = "a: " + "[" * 5000 + "]" * 5000

# text of the file, line (None: no line), part of the message
BROKEN: list[tuple[str | bytes, int | None, str]] = [
    # not YAML
    ("limits:\n  leverage_max: [1\n", 3, "not valid YAML"),
    ("limits: {leverage_max: 1\n", 2, "not valid YAML"),
    ("limits:\n\tleverage_max: 1\n", 2, "not valid YAML"),
    ("a: b: c\n", 1, "not valid YAML"),
    ("mode: 'sim\n", 2, "not valid YAML"),
    ("limits:\n  leverage_max: 1\n mode: sim\n", 3, "not valid YAML"),
    ("mode: sim\n---\nmode: sim\n", 2, "not valid YAML"),
    ("mode: sim\n\0", 2, "not allowed"),
    ("mode: %sim\n", 1, "not valid YAML"),
    ("mode: @sim\n", 1, "not valid YAML"),
    (b"mode: sim\nlog:\n  level: \xff\n", 3, "not UTF-8"),
    ("mode: sim\n".encode("utf-16"), 1, "not UTF-8"),
    (DEEP, None, "nested too deeply"),
    # not a configuration
    ("", None, "is empty"),
    ("# only a comment\n", None, "is empty"),
    ("null\n", None, "is empty"),
    ("- mode\n- sim\n", 1, "keys and values"),
    ("just text\n", 1, "keys and values"),
    ("x" * 300_000, None, "larger than"),
    # traps of YAML
    ("mode: sim\nvenue: sim\nmode: live\n", 3, "mode: key given twice, first in line 1"),
    ("limits:\n  leverage_max: 1\n  leverage_max: 9\n", 3, "limits.leverage_max: key given twice"),
    ("a: &x 1\nb: *x\n", 1, "anchors and aliases"),
    ("limits:\n  <<: *base\n", 2, "anchors and aliases"),
    ("mode: !!python/object/apply:os.system [id]\n", 1, "tags are not supported"),
    ("mode: !!str sim\n", 1, "tags are not supported"),
    ("1: 2\n", 1, "a key must be a word, got 1"),
    ("? [a, b]\n: c\n", 1, "a key must be a word"),
    ("true: 1\n", 1, "a key must be a word, got true"),
    # unknown names
    ("mode: sim\nlimts:\n  leverage_max: 1\n", 2, "limts: unknown key; did you mean limits?"),
    ("limits:\n\n  leverge_max: 1\n", 3, "limits.leverge_max: unknown key; did you mean leverage"),
    ("leverage_max: 1\n", 1, "unknown key here; did you mean limits.leverage_max?"),
    ("meta:\n  leverage_max: 1\n", 2, "unknown key here; did you mean limits.leverage_max?"),
    ("meta: {max_agent_wieght: 0.5}\n", 1, "did you mean max_agent_weight?"),
    ("quux: 1\n", 1, "quux: unknown key"),
    ("preset: balanced\nlive:\n  api_secret: 0123456789\n", 3, "credentials do not belong"),
    ("preset: agressive\n", 1, "unknown preset 'agressive'; did you mean aggressive?"),
    # wrong kinds
    ("mode: demo\n", 1, "mode: must be one of sim, paper, testnet, live, got 'demo'"),
    ("decision:\n  trigger: bars\n", 2, "got 'bars'; did you mean bar?"),
    ("limits:\n  leverage_max: lots\n", 2, "must be a number, got 'lots'"),
    ("limits:\n  leverage_max: '1.5'\n", 2, "must be a number, got '1.5'"),
    ("limits:\n  leverage_max: true\n", 2, "must be a number, got true"),
    ("limits:\n  leverage_max:\n", 2, "has no value"),
    ("limits:\n", 1, "limits: has no value"),
    ("limits: 5\n", 1, "is a section and needs keys under it, got 5"),
    ("meta:\n  kelly_criterion_enabled: yes\n", 2, "must be true or false, got 'yes'"),
    ("meta:\n  kelly_criterion_enabled: 1\n", 2, "must be true or false, got 1"),
    ("instruments: BTC/USDT:USDT\n", 1, "must be a list of texts"),
    ("instruments: [BTC/USDT:USDT, 5]\n", 1, "must be a list of texts"),
    ("model:\n  bundle: 5\n", 2, "must be text, got 5"),
    ("feed:\n  snapshot_levels: 400\n", 2, "must be one of 100, 500, 1000, got 400"),
    ("simulated:\n  seed: " + "9" * 5000 + "\n", 2, "simulated.seed: not a number"),
    # out of range
    ("limits:\n  order_notional_quote_max: -1\n", 2, "must be greater than or equal to 0, got -1"),
    ("limits:\n  leverage_max: .nan\n", 2, "must be a finite number"),
    ("limits:\n  leverage_max: 1e999\n", 2, "must be a finite number"),
    ("decision:\n  interval_ms: 1.5\n", 2, "decision.interval_ms: must be a whole number, got 1.5"),
    ("decision:\n  interval_ms: 5\n", 2, "must be greater than or equal to 10, got 5"),
    ("meta:\n  min_diversification_agents: 6\n", 2, "must be less than or equal to 5, got 6"),
    ("instruments: []\n", 1, "instruments: "),
    # rules over several keys
    ("instruments: [BTC/USDT:USDT, BTC/USDT:USDT]\n", 1, "lists one symbol twice"),
    ("limits:\n  order_notional_quote_max: 60000\n", 2, "must not exceed position_notional"),
    ("limits:\n  messages_reserve: 20\n", 2, "limits.messages_reserve: messages_reserve (20) must"),
    ("meta:\n  max_agent_weight: 0.19\n", 2, "meta.max_agent_weight: max_agent_weight 0.19"),
    ("log: {level: info}\nmode: testnet\n", 2, "venue sim and mode testnet"),
    ("venue: binanceusdm\nmode: live\n", 2, "mode live needs live.armed: true"),
]


@pytest.mark.parametrize(("text", "line", "part"), BROKEN, ids=range(len(BROKEN)))
def test_broken_file_is_refused_with_its_place(
    tmp_path: Path, text: str | bytes, line: int | None, part: str
) -> None:
    """The error names the file, the line and what is wrong there."""
    path = tmp_path / "broken.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load_settings(None, path, [])
    message = str(caught.value)
    assert caught.value.source == str(path)
    assert caught.value.line == line
    assert message.startswith(str(path) if line is None else f"{path}:{line}: ")
    assert part in message
    assert len(message) < 2000


def test_there_are_fifty_kinds() -> None:
    """The list of broken files does not shrink unnoticed."""
    assert len({text for text, _, _ in BROKEN}) == len(BROKEN) >= 50


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    """Three mistakes give three lines, in the order of the file."""
    path = tmp_path / "broken.yaml"
    path.write_text("limts: {}\nlog:\n  level: loud\nmeta:\n  meta_epochs: true\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(None, path, [])
    lines = str(caught.value).splitlines()
    assert [line.split(" ")[0] for line in lines] == [f"{path}:{n}:" for n in (1, 3, 5)]
    assert [problem.key_path for problem in caught.value.also] == ["log.level", "meta.meta_epochs"]


def test_secret_in_a_file_is_not_repeated(tmp_path: Path) -> None:
    """A credential that was put into the file by mistake does not reach the message."""
    path = tmp_path / "broken.yaml"
    path.write_text("exchange_api_key: hunter2hunter2\nfeed:\n  password: hunter2hunter2\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(None, path, [])
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "part"),
    [
        (
            "limits.leverge_max=3",
            "--set: limits.leverge_max: unknown key; did you mean lev",
        ),
        ("leverage_max=3", "did you mean limits.leverage_max?"),
        ("limits.leverage_max", "--set: limits.leverage_max: write it as key.path=value"),
        ("=3", "write it as key.path=value"),
        ("limits..leverage_max=3", "write it as key.path=value"),
        ("limits.leverage_max=", "has no value"),
        ("limits.leverage_max=[", "--set: limits.leverage_max: not valid YAML"),
        ("limits.leverage_max=abc", "must be a number, got 'abc'"),
        ("limits.leverage_max=-1", "must be greater than or equal to 0, got -1"),
        ("log.level=loud", "must be one of debug, info, warning, error, got 'loud'"),
        ("log.level.deep=info", "log.level: must be one of"),
        ("preset=balancd", "did you mean balanced?"),
        ("mode=testnet", "--set: mode: venue sim and mode testnet"),
    ],
)
def test_broken_override_names_its_key(override: str, part: str) -> None:
    """A wrong override says which one it was; there is no line to name."""
    with pytest.raises(ConfigError) as caught:
        load_settings(None, None, [override])
    assert part in str(caught.value)
    assert (caught.value.source, caught.value.line) == ("--set", None)


def test_wrong_preset_names_are_found_in_every_layer(tmp_path: Path) -> None:
    """A wrong name is an error even where a later layer chooses another preset."""
    path = tmp_path / "c.yaml"
    path.write_text("preset: blanced\n")
    with pytest.raises(ConfigError, match="did you mean balanced"):
        load_settings("research", path, [])
    with pytest.raises(ConfigError, match="--preset: preset: unknown preset 'rsearch'"):
        load_settings("rsearch", None, [])
    with pytest.raises(ConfigError, match=r"unknown preset '\.\./balanced'"):
        load_settings("../balanced", None, [])


@given(st.binary(max_size=200) | st.text(alphabet="abm:{}[]-\n #'\"&*!|>?%@1.", max_size=80))
@settings(max_examples=200, deadline=None)
def test_no_content_breaks_the_reader(
    tmp_path_factory: pytest.TempPathFactory, content: bytes | str
) -> None:
    """Whatever a file holds, the answer is settings or a ConfigError, never another exception."""
    path = tmp_path_factory.mktemp("fuzz") / "c.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with contextlib.suppress(ConfigError):
        load_settings(None, path, [])
