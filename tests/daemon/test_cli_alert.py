"""``metaensemble alert``: one alert by every way, and the truth about whether it arrived."""

from __future__ import annotations

import asyncio
import os
import sys

from tests.fakes.webhook import webhook


async def _alert(*words: str, **environ: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "daemon", "alert", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environ},
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode(), err.decode()


async def test_tried_alert_arrives_and_says_so() -> None:
    """By hand it proves that a way works: exit 0 and one delivered."""
    async with webhook() as (receiver, url):
        code, out, _ = await _alert("--set", f"alerts.webhook_url={url}")
    assert (code, receiver.got[0]["event"]) == (0, "alert_tried")
    assert "delivered by 1 ways, failed by 0" in out


async def test_way_that_fails_and_no_way_are_failures() -> None:
    """Nobody believes in alerts that cannot arrive."""
    async with webhook() as (receiver, url):
        receiver.statuses = [500, 500, 500]
        code, out, _ = await _alert("--set", f"alerts.webhook_url={url}")
    assert (code, "failed by 1" in out) == (1, True)
    code, out, _ = await _alert()
    assert (code, "no way is configured" in out) == (1, True)


async def test_failed_unit_is_told_with_what_systemd_says() -> None:
    """The result and exit status come from systemd's environment; without a way the log has it."""
    systemd = {"MONITOR_SERVICE_RESULT": "watchdog", "MONITOR_EXIT_STATUS": "ABRT"}
    async with webhook() as (receiver, url):
        words = ["--unit", "metaensemble.service", "--set", f"alerts.webhook_url={url}"]
        code, _, _ = await _alert(*words, **systemd)
    fields = receiver.got[0]["fields"]
    assert (code, fields["unit"], fields["result"]) == (0, "metaensemble.service", "watchdog")
    code, _, err = await _alert("--unit", "metaensemble.service", **systemd)
    assert (code, '"code":"ME619"' in err) == (0, True)
