"""From what is known about one judgement of the models to a verdict: only OK allows new risk."""

from __future__ import annotations

from dataclasses import dataclass

from config.settings import RiskLimits
from risk.views import ModelVerdict

NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEvidence:
    """What is known about the judgement of one instrument.

    ``has_schema``: the features are those of the bundle's manifest. ``expires_ns`` None: never.
    ``latency_ns`` is what the models took (the newest time measured), None where nobody measured
    it: then the budget is not judged here. ``outlier_frac`` is the share of inputs
    that lie outside the range the model was fitted on, ``disagreement`` the weighted deviation of
    the agents' votes, both in [0, 1].
    """

    has_schema: bool
    is_finite: bool
    expires_ns: int | None
    latency_ns: int | None
    outlier_frac: float
    disagreement: float


def model_verdict(evidence: ModelEvidence, limits: RiskLimits, now_ns: int) -> ModelVerdict:
    """Give the first fault, the gravest kind first; a measure that is NaN is over its limit."""
    if not evidence.has_schema:
        return ModelVerdict.WRONG_SCHEMA
    if not evidence.is_finite:
        return ModelVerdict.NOT_FINITE
    if evidence.expires_ns is not None and now_ns >= evidence.expires_ns:
        return ModelVerdict.EXPIRED
    latency_ns = evidence.latency_ns
    if latency_ns is not None and not 0 <= latency_ns <= limits.model_latency_ms_max * NS_PER_MS:
        return ModelVerdict.SLOW
    if not evidence.outlier_frac <= limits.model_outlier_frac_max:
        return ModelVerdict.OUT_OF_DISTRIBUTION
    if not evidence.disagreement <= limits.model_disagreement_max:
        return ModelVerdict.DISAGREEMENT
    return ModelVerdict.OK
