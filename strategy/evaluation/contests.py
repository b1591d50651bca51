"""Is the best of several really better? SPA (Hansen 2005) and the model confidence set, by arch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from arch.bootstrap import MCS, SPA
from numpy.typing import NDArray

from strategy.evaluation.inference import block_length

Floats = NDArray[np.float64]

REPETITIONS = 1_000
SAME_FRAC = 1e-9
"""Paths that differ by less than this share of the largest deviation are one path."""

PIECES_MAX = 3_000
"""Bars are summed to at most so many pieces first: the tests are about means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """``spa_p``: chance of so large a best lead without any; ``confident``: names not ruled out."""

    spa_p: float | None
    confident: tuple[str, ...]


def superior_p(return_T: Floats, benchmark_TN: Floats, seed: int) -> float | None:
    """Return the consistent SPA p-value of "the best of the others is no better than this one".

    ``return_T`` is the reference, ``benchmark_TN`` the rivals. None where no rival ever differs.
    """
    reference_T, rivals_TN = _pieces(return_T[:, None])[:, 0], _pieces(benchmark_TN)
    lead_TN = rivals_TN - reference_T[:, None]
    varying = lead_TN.std(axis=0) > 1e-14
    if not varying.any():
        return None
    block = max(1, round(max(block_length(lead_T) for lead_T in lead_TN[:, varying].T)))
    test = SPA(-reference_T, -rivals_TN[:, varying], block_size=block, reps=REPETITIONS, seed=seed)
    test.compute()
    return float(test.pvalues["consistent"])


def confidence_set(return_TN: Floats, names: tuple[str, ...], seed: int) -> tuple[str, ...]:
    """Return the names that stay in the 90 % model confidence set of mean return."""
    pieces_TN = _pieces(return_TN)
    distinct: list[int] = []
    same = SAME_FRAC * float(pieces_TN.std(axis=0).max())
    for n in range(pieces_TN.shape[1]):  # equal columns would make a variance of nothing
        if all(np.std(pieces_TN[:, n] - pieces_TN[:, m]) > same for m in distinct):
            distinct.append(n)
    if len(distinct) < 2:
        return names
    block = max(1, round(max(block_length(pieces_TN[:, n]) for n in distinct)))
    losses_TN = -pieces_TN[:, distinct]
    test = MCS(  # method R ends in an error where two pairs tie
        losses_TN, size=0.10, block_size=block, reps=REPETITIONS, method="max", seed=seed
    )
    test.compute()
    kept = {distinct[int(str(place))] for place in test.included}
    kept |= {
        n
        for n in range(len(names))
        if any(np.std(pieces_TN[:, n] - pieces_TN[:, m]) <= same for m in kept)
    }
    return tuple(name for n, name in enumerate(names) if n in kept)


def _pieces(value_TN: Floats) -> Floats:
    piece = max(1, -(-len(value_TN) // PIECES_MAX))
    kept = len(value_TN) // piece * piece
    return np.add.reduceat(value_TN[:kept], np.arange(0, kept, piece), axis=0)
