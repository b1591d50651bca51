"""The verdict on the models: each fault is named, and a limit holds to the last digit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from config.settings import RiskLimits
from risk.model_quality import NS_PER_MS, ModelEvidence, model_verdict
from risk.views import ModelVerdict

LIMITS = RiskLimits(
    model_latency_ms_max=50.0, model_outlier_frac_max=0.5, model_disagreement_max=0.9
)
NOW_NS = 10**18
GOOD = ModelEvidence(
    has_schema=True,
    is_finite=True,
    expires_ns=NOW_NS + 1,
    latency_ns=50 * NS_PER_MS,
    outlier_frac=0.5,
    disagreement=0.9,
)
NAN = float("nan")


def test_everything_at_its_limit_is_ok() -> None:
    """What is exactly allowed is OK; no expiry and an unmeasured latency are as well."""
    assert model_verdict(GOOD, LIMITS, NOW_NS) is ModelVerdict.OK
    open_ended = replace(GOOD, expires_ns=None, latency_ns=None)
    assert model_verdict(open_ended, LIMITS, NOW_NS) is ModelVerdict.OK


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"has_schema": False, "is_finite": False}, ModelVerdict.WRONG_SCHEMA),
        ({"is_finite": False, "disagreement": 1.0}, ModelVerdict.NOT_FINITE),
        ({"expires_ns": NOW_NS}, ModelVerdict.EXPIRED),
        ({"latency_ns": 50 * NS_PER_MS + 1}, ModelVerdict.SLOW),
        ({"latency_ns": -1}, ModelVerdict.SLOW),
        ({"outlier_frac": 0.51}, ModelVerdict.OUT_OF_DISTRIBUTION),
        ({"outlier_frac": NAN}, ModelVerdict.OUT_OF_DISTRIBUTION),
        ({"disagreement": 0.91}, ModelVerdict.DISAGREEMENT),
        ({"disagreement": NAN}, ModelVerdict.DISAGREEMENT),
    ],
)
def test_each_fault_is_named(changes: dict[str, Any], verdict: ModelVerdict) -> None:
    """One tick over a limit, a missing proof or a number that is none gives its own verdict."""
    assert model_verdict(replace(GOOD, **changes), LIMITS, NOW_NS) is verdict
