"""The leak detector that needs no statistics: without its future, a past decision is the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """``bar`` is the first whose decision changed once all bars from ``cut`` on were deleted."""

    cut: int
    bar: int


def truncation_leaks(
    decide: Callable[[Floats], Floats], known_TF: Floats, cuts: Sequence[int]
) -> tuple[Leak, ...]:
    """Return a leak for each cut at which ``decide`` answers otherwise on the shorter history.

    ``decide`` maps what is known at the closes [T, F] to one row of decisions a bar. They are
    compared bit for bit, NaN equal to NaN. ValueError for a cut outside [1, T) or an answer of
    another length than its history.
    """
    whole_T = _decisions(decide, known_TF)
    found = []
    for cut in cuts:
        if not 1 <= cut < len(known_TF):
            raise ValueError(f"cut {cut} of {len(known_TF)} bars")
        short_T = _decisions(decide, known_TF[:cut].copy())
        same_T = (short_T == whole_T[:cut]) | (np.isnan(short_T) & np.isnan(whole_T[:cut]))
        differing = np.flatnonzero(~same_T.reshape(cut, -1).all(axis=1))
        if len(differing):
            found.append(Leak(cut=cut, bar=int(differing[0])))
    return tuple(found)


def _decisions(decide: Callable[[Floats], Floats], known_TF: Floats) -> Floats:
    decided_T = np.asarray(decide(known_TF), dtype=np.float64)
    if len(decided_T) != len(known_TF):
        raise ValueError(f"{len(decided_T)} decisions for {len(known_TF)} bars")
    return decided_T
