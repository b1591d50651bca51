"""Which regime is named in reports and logs: the posterior with hysteresis.

Weights and agents see the whole posterior; a name is for people and for risk settings, and it must
not flicker. So a new name needs a posterior of at least ``regime_stability_threshold``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def reported_regime(
    before: int, regime_K: NDArray[np.float32] | NDArray[np.float64], threshold: float
) -> int:
    """Return the index of the regime to report; ``before`` is -1 when none was reported yet.

    The first report is the most probable regime, whatever its posterior; ties go to the lower
    index. A posterior that is not finite changes nothing.
    """
    if not bool(np.all(np.isfinite(regime_K))):
        return max(before, 0)
    likeliest = int(np.argmax(regime_K))
    if before < 0 or float(regime_K[likeliest]) >= threshold:
        return likeliest
    return before
