"""Observation rows: normalised, clipped, and honest about numbers that are none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy.observation import (
    CLIP,
    OBSERVATION_EXTRA_NAMES,
    Normalisation,
    warm_up,
    write_observation,
)

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)


def frozen(*scale: float) -> Normalisation:
    """Return a normalisation with means 1, 2, 3, ..."""
    return Normalisation(
        mean_F=np.arange(1.0, len(scale) + 1.0), scale_F=np.array(scale, dtype=np.float64)
    )


@given(
    st.lists(NUMBERS, min_size=4, max_size=4),
    NUMBERS,
    NUMBERS,
    st.integers(0, 10**9),
)
@settings(max_examples=200, deadline=None)
def test_every_row_is_clipped_or_says_it_is_not_finite(
    features: list[float], exposure: float, unrealised_bps: float, bars: int
) -> None:
    """A finite input gives its normalised value, any other NaN, and the answer tells which."""
    out_F = np.empty(7, np.float32)
    normalisation = frozen(0.5, 1.0, 2.0, 4.0)
    with np.errstate(all="ignore"):  # uncompiled, numpy warns where the kernel does not
        is_finite = write_observation(
            normalisation,
            np.array(features),
            exposure=exposure,
            unrealised_bps=unrealised_bps,
            bars_since_change=bars,
            out_F=out_F,
        )
    wanted = [
        (value - float(mean)) / float(scale)
        for value, mean, scale in zip(
            features, normalisation.mean_F, normalisation.scale_F, strict=True
        )
    ]
    wanted += [exposure, unrealised_bps / 50.0, math.log1p(bars) / math.log1p(1000.0)]
    assert is_finite == all(math.isfinite(value) for value in wanted)
    for found, value in zip(out_F, wanted, strict=True):
        if math.isfinite(value):
            assert found == pytest.approx(min(max(value, -CLIP), CLIP), rel=1e-6, abs=1e-6)
        else:
            assert math.isnan(found)


@pytest.mark.parametrize(
    ("mean", "scale", "reason"),
    [
        ([0.0], [1.0, 2.0], "do not match"),
        ([0.0, math.nan], [1.0, 2.0], "not finite"),
        ([0.0, 0.0], [1.0, math.inf], "not finite"),
        ([0.0, 0.0], [1.0, 0.0], "not positive"),
        ([0.0, 0.0], [1.0, -1.0], "not positive"),
    ],
)
def test_a_broken_normalisation_is_refused(
    mean: list[float], scale: list[float], reason: str
) -> None:
    """It would divide by zero or spread NaN."""
    with pytest.raises(ValueError, match=reason):
        Normalisation(mean_F=np.array(mean), scale_F=np.array(scale))


def test_wrong_widths_are_refused() -> None:
    """Features or row of another width are a fault of the caller."""
    for features, width in ((3, 5), (2, 6)):
        with pytest.raises(ValueError, match="bundle has 2"):
            write_observation(
                frozen(1.0, 1.0),
                np.zeros(features),
                exposure=0.0,
                unrealised_bps=0.0,
                bars_since_change=0,
                out_F=np.empty(width, np.float32),
            )


def test_the_width_counts_features_and_extras() -> None:
    """One column per feature and per account input."""
    assert frozen(1.0, 1.0).observation_count == 2 + len(OBSERVATION_EXTRA_NAMES)
    warm_up()
