"""Observation rows: normalised, clipped, and honest about numbers that are none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.events import REGIMES
from strategy.observation import (
    CLIP,
    EXTRA_COUNT,
    HELD_COUNT,
    OBSERVATION_EXTRA_NAMES,
    Normalisation,
    clipped_frac,
    neutral_extras,
    warm_up,
    write_observation,
)

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)


def frozen(*scale: float) -> Normalisation:
    """Return a normalisation with means 1, 2, 3, ..."""
    return Normalisation(
        mean_F=np.arange(1.0, len(scale) + 1.0), scale_F=np.array(scale, dtype=np.float64)
    )


@given(st.lists(st.sampled_from([0.0, 1.5, CLIP, -CLIP, 2 * CLIP, math.nan]), min_size=1))
def test_inputs_at_the_edge_are_counted(row: list[float]) -> None:
    """The share of cut inputs is that of numpy's comparison."""
    row_F = np.array(row, np.float32)
    with np.errstate(invalid="ignore"):
        assert clipped_frac(row_F) == float(np.mean(np.abs(row_F) >= CLIP))


@given(
    st.lists(NUMBERS, min_size=4, max_size=4),
    st.lists(NUMBERS, min_size=EXTRA_COUNT, max_size=EXTRA_COUNT),
)
@settings(max_examples=200, deadline=None)
def test_every_row_is_clipped_or_says_it_is_not_finite(
    features: list[float], extras: list[float]
) -> None:
    """A finite input gives its normalised value, any other NaN, and the answer tells which."""
    out_F = np.empty(4 + EXTRA_COUNT, np.float32)
    normalisation = frozen(0.5, 1.0, 2.0, 4.0)
    with np.errstate(all="ignore"):  # uncompiled, numpy warns where the kernel does not
        is_finite = write_observation(normalisation, np.array(features), np.array(extras), out_F)
    wanted = [
        (value - float(mean)) / float(scale)
        for value, mean, scale in zip(
            features, normalisation.mean_F, normalisation.scale_F, strict=True
        )
    ]
    wanted += extras
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
    for features, extras, width in ((3, EXTRA_COUNT, 0), (2, 1, 0), (2, EXTRA_COUNT, 1)):
        with pytest.raises(ValueError, match="bundle has 2"):
            write_observation(
                frozen(1.0, 1.0),
                np.zeros(features),
                np.zeros(extras),
                np.empty(2 + EXTRA_COUNT + width, np.float32),
            )


def test_knowing_nothing_is_a_posterior() -> None:
    """The neutral extras hold every regime alike and no forecast."""
    extras_E = neutral_extras()
    assert extras_E[: len(REGIMES)].sum() == pytest.approx(1.0)
    assert set(extras_E[len(REGIMES) :].tolist()) == {0.0}


def test_the_width_counts_features_and_extras() -> None:
    """One column per feature and per extra input; an agent sees its own position as well."""
    assert frozen(1.0, 1.0).observation_count == 2 + len(OBSERVATION_EXTRA_NAMES)
    assert frozen(1.0, 1.0).input_count == 2 + len(OBSERVATION_EXTRA_NAMES) + HELD_COUNT
    warm_up()
