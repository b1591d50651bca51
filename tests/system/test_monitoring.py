"""Metrics, alert rules and dashboard, held against each other and against a real Prometheus."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from daemon.metric_families import CATALOGUE
from tests.fakes.daemon_process import ROOT, running_daemon, wait_for_event
from tests.fakes.free_port import free_port

MONITORING = ROOT / "systemd" / "monitoring"
LIBRARY = {
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
}
"""Metrics of the client library that rules and dashboard may use beside ours, and ``up``."""

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)"
)
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not installed"
)


def _dashboard_queries() -> list[str]:
    board = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]


def _known_names() -> set[str]:
    """Every series name that a scrape can hold, but for the library's others."""
    names = {spec.name for spec in CATALOGUE.values()}
    names |= {f"{s.name}_bucket" for s in CATALOGUE.values() if s.kind == "histogram"}
    return names | LIBRARY | {"up"}


@pytest.mark.parametrize("source", ["alert-rules.yml", "grafana-dashboard.json"])
def test_only_metrics_that_exist_are_asked_for(source: str) -> None:
    """A renamed metric cannot leave a rule or a panel silently empty."""
    text = (MONITORING / source).read_text()
    asked = set(re.findall(r"\b(?:metaensemble|process)_[a-z_]+\b", text))
    # job and rule group are named like the prefix; annotations name two families without it
    assert asked - _known_names() == set()
    assert len(asked) > 10


@needs_promtool
def test_promtool_accepts_rules_and_configuration() -> None:
    """The files are valid to Prometheus itself."""
    for kind, name in (("rules", "alert-rules.yml"), ("config", "prometheus.yml")):
        done = subprocess.run(
            ["promtool", "check", kind, str(MONITORING / name)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def _of(metric: str, **labels: str) -> str:
    """Name a series of one daemon."""
    inside = ",".join(
        f'{name}="{value}"'
        for name, value in {"job": "metaensemble", "instance": "a", **labels}.items()
    )
    return f"{metric}{{{inside}}}"


def _ours(metric: str, **labels: str) -> str:
    return _of(f"metaensemble_{metric}", **labels)


STAGE = {"stage": "tick_to_order"}
RULE_SCENES: dict[str, dict[str, str]] = {
    "MetaensembleDown": {_of("up"): "0x30"},
    "MetaensembleNoDecisions": {_ours("decisions_total"): "7x60", _ours("is_stopping"): "0x60"},
    "MetaensembleNotNormal": {_ours("breaker_state", state="HALTED"): "1x30"},
    "MetaensembleOrderUnknown": {_ours("orders_unknown"): "1x30"},
    "MetaensembleDrawdownNearLimit": {
        _ours("drawdown_frac"): "0.13x30",
        _ours("limit", limit="drawdown_frac_max"): "0.15x30",
    },
    "MetaensembleDayLossNearLimit": {
        _ours("day_loss_frac"): "0.045x30",
        _ours("limit", limit="daily_loss_frac_max"): "0.05x30",
    },
    "MetaensembleEventsLost": {_ours("events_lost_total"): "0+3x30"},
    "MetaensembleFeedNotOk": {_ours("feed_verdict", instrument="B", verdict="stale"): "1x30"},
    "MetaensembleSlow": {
        _ours("stage_duration_seconds_bucket", le="0.067", **STAGE): "0x90",
        _ours("stage_duration_seconds_bucket", le="0.134", **STAGE): "0+5x90",
        _ours("stage_duration_seconds_bucket", le="+Inf", **STAGE): "0+5x90",
    },
    "MetaensembleRejects": {_ours("orders_total", status="rejected"): "0+2x30"},
    "MetaensembleGuardNotArmed": {
        _ours("guard_armed"): "0x30",
        _ours("info", mode="live"): "1x30",
    },
    "MetaensembleAlertsUndelivered": {
        _ours("alert_deliveries_total", result="undelivered"): "0+1x30"
    },
    "MetaensembleMemory": {_of("process_resident_memory_bytes"): "1700000000x90"},
    "MetaensembleCpu": {_of("process_cpu_seconds_total"): "0+9.5x90"},
}
"""Made-up series, ten seconds apart, with which each rule fires."""

QUIET: dict[str, str] = {
    _of("up"): "1x90",
    _ours("decisions_total"): "0+20x90",
    _ours("is_stopping"): "0x90",
    _ours("breaker_state", state="NORMAL"): "1x90",
    _ours("breaker_state", state="HALTED"): "0x90",
    _ours("orders_unknown"): "0x90",
    _ours("drawdown_frac"): "0.01x90",
    _ours("day_loss_frac"): "0.01x90",
    _ours("limit", limit="drawdown_frac_max"): "0.15x90",
    _ours("limit", limit="daily_loss_frac_max"): "0.05x90",
    _ours("events_lost_total"): "0x90",
    _ours("feed_verdict", instrument="B", verdict="ok"): "1x90",
    _ours("feed_verdict", instrument="B", verdict="stale"): "0x90",
    _ours("stage_duration_seconds_bucket", le="0.005", **STAGE): "0+5x90",
    _ours("stage_duration_seconds_bucket", le="+Inf", **STAGE): "0+5x90",
    _ours("orders_total", status="rejected"): "0x90",
    _ours("guard_armed"): "1x90",
    _ours("info", mode="live"): "1x90",
    _ours("alert_deliveries_total", result="undelivered"): "0x90",
    _of("process_resident_memory_bytes"): "400000000x90",
    _of("process_cpu_seconds_total"): "0+2x90",
}
"""A daemon that is well: no rule may fire."""


def test_every_rule_has_its_scene() -> None:
    """A rule that nobody has seen fire is a hope."""
    text = (MONITORING / "alert-rules.yml").read_text()
    assert re.findall(r"- alert: (\w+)", text) == list(RULE_SCENES)


def _firing(folder: Path, series: dict[str, str], expected: dict[str, int]) -> None:
    """Let Prometheus evaluate the rules over series; ``expected`` counts alerts by expression."""
    shutil.copy(MONITORING / "alert-rules.yml", folder)
    scene = {
        "rule_files": ["alert-rules.yml"],
        "evaluation_interval": "5s",
        "tests": [
            {
                "interval": "10s",
                "input_series": [{"series": s, "values": v} for s, v in series.items()],
                "promql_expr_test": [
                    {
                        "expr": f"count({expression})",
                        "eval_time": "12m",
                        "exp_samples": [{"value": count, "labels": "{}"}] if count else [],
                    }
                    for expression, count in expected.items()
                ],
            }
        ],
    }
    (folder / "scene.yml").write_text(json.dumps(scene))
    done = subprocess.run(
        ["promtool", "test", "rules", "scene.yml"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize("alert", list(RULE_SCENES))
def test_rule_fires_on_its_scene(tmp_path: Path, alert: str) -> None:
    """Prometheus itself evaluates the rule over made-up series and finds it firing."""
    long = {name: re.sub(r"x\d+$", "x90", values) for name, values in RULE_SCENES[alert].items()}
    firing = f'ALERTS{{alertname="{alert}",alertstate="firing"}}'
    _firing(tmp_path, long, {firing: 1})


@needs_promtool
def test_no_rule_fires_on_a_daemon_that_is_well(tmp_path: Path) -> None:
    """All metrics at once, at quiet values: silence."""
    _firing(tmp_path, QUIET, {'ALERTS{alertstate="firing"}': 0})


@contextmanager
def _prometheus(folder: Path, target_port: int) -> Iterator[str]:
    """Run a real Prometheus on our own configuration; yields its address."""
    port = free_port()
    text = (MONITORING / "prometheus.yml").read_text().replace(":9391", f":{target_port}")
    (folder / "prometheus.yml").write_text(text.replace("5s", "1s"))
    shutil.copy(MONITORING / "alert-rules.yml", folder)
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'series'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def _ask(address: str, path: str, **query: str) -> Any:
    url = f"{address}{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)["data"]


def _wait_for_scrapes(address: str, count: int) -> None:
    for _ in range(120):
        time.sleep(0.5)
        try:
            found = _ask(address, "/api/v1/query", query="count_over_time(up[10m])")["result"]
        except OSError:
            continue  # it is still starting
        if found and float(found[0]["value"][1]) >= count:
            return
    raise AssertionError("Prometheus did not scrape in a minute")


@needs_prometheus
def test_real_prometheus_scrapes_a_running_daemon(tmp_path: Path) -> None:
    """Every family of the catalogue arrives, every panel's query is valid, no rule fires in sim."""
    port = free_port()
    with running_daemon(tmp_path / "run", "--set", f"views.port={port}") as daemon:
        wait_for_event(daemon, "views_opened")
        with _prometheus(tmp_path, port) as address:
            _wait_for_scrapes(address, 8)
            (target,) = _ask(address, "/api/v1/targets", state="active")["activeTargets"]
            assert (target["health"], target["lastError"]) == ("up", "")
            assert float(target["lastScrapeDuration"]) < 1.0
            stored = set(_ask(address, "/api/v1/label/__name__/values"))
            wanted = {
                f"{s.name}_bucket" if s.kind == "histogram" else s.name for s in CATALOGUE.values()
            }
            # what never happened in this short run has no series: no label value is known yet
            unheard = {"metaensemble_orders_denied_total", "metaensemble_alerts_total"}
            unheard |= {"metaensemble_feed_not_ok_seconds_total"}
            unheard |= {"metaensemble_decisions_skipped_total"}
            assert wanted - stored - unheard == set()
            for query in _dashboard_queries():
                text = query.replace("$instance", ".*")
                assert isinstance(_ask(address, "/api/v1/query", query=text)["result"], list)
            alerts = _ask(address, "/api/v1/alerts")["alerts"]
            firing = {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}
            assert firing <= {"MetaensembleCpu"}
