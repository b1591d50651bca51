"""A key that can withdraw is refused, with the simulated exchange answering as the venue does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.safety import AlertSettings
from config.settings import Settings, SimulatedSettings
from daemon import checklist
from daemon.venues.key_rights import MOVING_MONEY, KeyRefusedError, parse_rights
from tests.fakes.daemon_process import ROOT, environment, run_daemon

GOOD = {
    "ipRestrict": True,
    "enableFutures": True,
    "enableWithdrawals": False,
    "enableInternalTransfer": False,
    "permitsUniversalTransfer": False,
}


def test_key_that_only_trades_passes_without_a_worry() -> None:
    """Trading, bound to addresses, moving no money: nothing to say."""
    rights = parse_rights(GOOD)
    assert (rights.refusal, rights.worries) == ("", ())


@pytest.mark.parametrize(
    ("change", "said"),
    [({"enableWithdrawals": True}, "enableWithdrawals"), ({"enableFutures": False}, "lacks")],
)
def test_key_that_no_run_may_use_is_refused(change: dict[str, bool], said: str) -> None:
    """One that can withdraw, and one that cannot trade."""
    assert said in parse_rights(GOOD | change).refusal


def test_key_that_may_more_than_it_should_is_a_worry() -> None:
    """Transfers between own accounts, and use from any address, are said and not refused."""
    rights = parse_rights(GOOD | {"permitsUniversalTransfer": True, "ipRestrict": False})
    assert rights.refusal == ""
    assert len(rights.worries) == 2


@given(
    st.one_of(
        st.none(),
        st.lists(st.integers()),
        st.sampled_from(sorted(GOOD)).map(
            lambda gone: {k: v for k, v in GOOD.items() if k != gone}
        ),
        st.tuples(st.sampled_from(sorted(GOOD)), st.sampled_from([None, 0, 1, "false", []])).map(
            lambda pair: {**GOOD, pair[0]: pair[1]}
        ),
    )
)
def test_answer_that_does_not_say_is_no_permission(answer: Any) -> None:
    """Whatever is missing or no truth value refuses: not proven is not good enough."""
    with pytest.raises(KeyRefusedError):
        parse_rights(answer)


def test_run_refuses_a_key_that_can_withdraw(tmp_path: Path) -> None:
    """The whole daemon, over the wire: exit 78, which systemd does not try again; nothing sent."""
    ended = run_daemon(tmp_path, "--for", "5s", "--set", "simulated.key_can_withdraw=true")
    assert ended.exit_code == 78
    assert "enableWithdrawals" in ended.stderr
    assert ended.events("order_sent") == []


@pytest.mark.parametrize("can_withdraw", [False, True])
def test_doctor_asks_a_running_exchange(tmp_path: Path, can_withdraw: bool) -> None:
    """Time, markets and rights come over TLS from the exchange that the settings name."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "daemon", "exchange", "--json", "--market", "calm"),
            *("--set", f"simulated.key_can_withdraw={str(can_withdraw).lower()}"),
        ],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        place = tmp_path / "exchange.json"
        place.write_text(process.stdout.readline())
        assert "url" in json.loads(place.read_text())
        settings = Settings(simulated=SimulatedSettings(attach=str(place)))
        rows = {row.name: row for row in checklist.examine_venue(settings, {})}
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert rows["venue"].state == rows["venue clock"].state == rows["instruments"].state == "ok"
    assert rows["key rights"].state == ("fail" if can_withdraw else "ok")
    assert set(MOVING_MONEY[:1]) == {"enableWithdrawals"}


def test_list_says_what_is_missing_before_a_first_run() -> None:
    """On a testnet without keys the list names both places where they may be."""
    rows = list(checklist.examine_venue(Settings(mode="testnet", venue="binanceusdm"), {}))
    assert [row.state for row in rows] == ["ok", "fail"]
    assert "exchange-key" in rows[1].finding


@pytest.mark.parametrize(
    ("skew_ns", "state"), [(0, "ok"), (900_000_000, "ok"), (-1_200_000_000, "fail")]
)
def test_clock_is_judged_beyond_what_the_round_trip_hides(skew_ns: int, state: str) -> None:
    """Half of the round trip is doubt, and doubt alone is no failure."""
    assert checklist.judge_skew(skew_ns, 100_000_000, 1_000).state == state


def test_somebody_should_hear_of_trouble() -> None:
    """Away from the simulation, alerts that go to the log only are worth a word."""
    testnet = Settings(mode="testnet", venue="binanceusdm")
    assert checklist.judge_alerts(testnet, {}).state == "warn"
    heard = Settings(alerts=AlertSettings(webhook_url="https://example.com/hook"))
    assert checklist.judge_alerts(heard, {}).state == "ok"
