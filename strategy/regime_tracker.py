"""What is reported of the regime: a name that does not flicker, its stability, its history.

Weights and agents read the posterior itself; this is for people, alerts and risk settings. A new
name needs a posterior of at least the preset's ``regime_stability_threshold`` and three bars since
the last change. Crisis has a way of its own, quick in and slow out: its posterior alone, at a level
fitted to a rate of false alarms, names it at once (Shiryaev's rule: the posterior of a change is
the statistic to threshold), and it stays until that posterior has fallen to a quarter of the level.

    stability = 1 - H(mean posterior over the window) / ln K      (a stuck label does not make it 1)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kernels.events import REGIMES

Floats = NDArray[np.float64]

CRISIS = "crisis"
DWELL_BARS = 3
RELEASE_FRAC = 0.25
LEVEL_TABLE = "regime_tracker.crisis_level"
FALSE_ALARM_BARS = 720
"""Thirty days of hourly bars: the unit of the rate of false alarms."""


def stability_of(mean_posterior_K: Floats) -> float:
    """Return 1 minus the normalised entropy of a mean posterior; in [0, 1]."""
    if len(mean_posterior_K) < 2:
        return 1.0
    positive_n = mean_posterior_K[mean_posterior_K > 0.0]
    entropy = -float(np.sum(positive_n * np.log(positive_n)))
    return float(np.clip(1.0 - entropy / np.log(len(mean_posterior_K)), 0.0, 1.0))


class RegimeTracker:
    """One instrument's reported regime; a pure fold over posteriors, one per closed bar.

    ``names`` are the regimes in the order of the posterior; ``window`` bars of history are kept.
    ``crisis_level`` 1 or more, or no regime of that name, switches the quick way off.
    """

    def __init__(
        self,
        *,
        threshold: float,
        window: int,
        names: Sequence[str] = REGIMES,
        crisis_level: float = 1.0,
    ) -> None:
        """Start without a report; ValueError for numbers out of range or names that repeat."""
        if not 0.0 <= threshold <= 1.0 or window < 1 or not crisis_level > 0.0:
            raise ValueError(f"threshold {threshold}, window {window}, crisis {crisis_level}")
        if not names or len(set(names)) != len(names):
            raise ValueError(f"regimes {tuple(names)} are empty or repeat")
        self.names = tuple(names)
        self._threshold = threshold
        self._crisis_level = crisis_level
        self._crisis = self.names.index(CRISIS) if CRISIS in self.names else -1
        self._posteriors: deque[Floats] = deque(maxlen=window)
        self._reported: deque[int] = deque(maxlen=window)
        self._current = -1
        self._age = 0
        self._in_alarm = False

    def update(self, posterior_K: Floats) -> int:
        """Take the posterior at a bar's close; return the index of the regime to report.

        A posterior that is not finite changes nothing but the age; ValueError for another length.
        """
        if posterior_K.shape != (len(self.names),):
            raise ValueError(f"posterior {posterior_K.shape} of {len(self.names)} regimes")
        self._age += 1
        if not bool(np.isfinite(posterior_K).all()):
            return max(self._current, 0)
        self._posteriors.append(np.array(posterior_K, dtype=np.float64))
        chosen = self._choose(self._posteriors[-1])
        if chosen != self._current:
            self._current, self._age = chosen, 0
        self._reported.append(chosen)
        return chosen

    def _choose(self, posterior_K: Floats) -> int:
        likeliest = int(np.argmax(posterior_K))
        if self._crisis >= 0 and self._crisis_level < 1.0:
            level = self._crisis_level * (RELEASE_FRAC if self._in_alarm else 1.0)
            self._in_alarm = bool(posterior_K[self._crisis] >= level)
            if self._in_alarm:
                return self._crisis
        is_ripe = self._age >= DWELL_BARS and float(posterior_K[likeliest]) >= self._threshold
        return likeliest if self._current < 0 or is_ripe else self._current

    def use(self, *, threshold: float, window: int) -> None:
        """Take another threshold and length of history from now on; ValueError out of range."""
        if not 0.0 <= threshold <= 1.0 or window < 1:
            raise ValueError(f"threshold {threshold}, window {window}")
        self._threshold = threshold
        if window != self._posteriors.maxlen:
            self._posteriors = deque(self._posteriors, maxlen=window)
            self._reported = deque(self._reported, maxlen=window)

    @property
    def current(self) -> int:
        """Index of the regime reported last; -1 before the first bar."""
        return self._current

    @property
    def state(self) -> Floats:
        """All that is remembered, as one row: age, alarm, names' indices, posteriors."""
        head = [float(self._current), float(self._age), float(self._in_alarm)]
        return np.concatenate((head, list(self._reported), *self._posteriors))

    def restore(self, state: Floats) -> None:
        """Take over what ``state`` gave; ValueError for a row of other regimes."""
        width = len(self.names) + 1
        if len(state) < 3 or (len(state) - 3) % width:
            raise ValueError("history of other regimes")
        bars = (len(state) - 3) // width
        self._current, self._age, self._in_alarm = int(state[0]), int(state[1]), bool(state[2])
        self._reported.clear()
        self._reported.extend(int(index) for index in state[3 : 3 + bars])
        self._posteriors.clear()
        self._posteriors.extend(state[3 + bars :].reshape((bars, len(self.names))).copy())

    @property
    def stability(self) -> float:
        """Stability over the window as the formula above has it; 0 before the first bar."""
        return stability_of(np.mean(self._posteriors, axis=0)) if self._posteriors else 0.0

    def get_regime_info(self) -> dict[str, object]:
        """Return name, confidence, stability, posterior, age in bars and recent history.

        ``regime_confidence`` is the posterior of the reported regime, ``regime_history`` the
        reported names, oldest first. Before the first bar the name is "unknown".
        """
        if not self._posteriors:
            return {
                "current_regime": "unknown",
                "regime_confidence": 0.0,
                "regime_stability": 0.0,
                "regime_probabilities": {},
                "bars_in_regime": 0,
                "is_crisis_alarm": False,
                "regime_history": [],
            }
        latest_K = self._posteriors[-1]
        return {
            "current_regime": self.names[self._current],
            "regime_confidence": float(latest_K[self._current]),
            "regime_stability": self.stability,
            "regime_probabilities": dict(zip(self.names, latest_K.tolist(), strict=True)),
            "bars_in_regime": self._age,
            "is_crisis_alarm": self._in_alarm,
            "regime_history": [self.names[index] for index in self._reported],
        }


def crisis_level_of(tables: Mapping[str, Floats]) -> float:
    """Read the level of the crisis alarm from a bundle's tables; 1, no alarm, where there is none.

    ValueError for a level out of (0, 1].
    """
    if LEVEL_TABLE not in tables:
        return 1.0
    level = float(tables[LEVEL_TABLE].ravel()[0])
    if not 0.0 < level <= 1.0:
        raise ValueError(f"table {LEVEL_TABLE} is {level}, not in (0, 1]")
    return level


def crisis_alarms(crisis_T: Floats, level: float) -> NDArray[np.bool_]:
    """Return whether the alarm is on at each bar: on at ``level``, off below a quarter of it."""
    alarm_T = np.zeros(len(crisis_T), dtype=np.bool_)
    is_on = False
    for t, chance in enumerate(crisis_T.tolist()):
        is_on = chance >= level * (RELEASE_FRAC if is_on else 1.0)
        alarm_T[t] = is_on
    return alarm_T


def false_alarms(alarm_T: NDArray[np.bool_], is_crisis_T: NDArray[np.bool_]) -> int:
    """Count the alarms that began outside a crisis."""
    began_T = alarm_T & ~np.r_[False, alarm_T[:-1]]
    return int((began_T & ~is_crisis_T).sum())


def fit_crisis_level(
    crisis_T: Floats, is_crisis_T: NDArray[np.bool_], alarms_per_30_days: float = 0.7
) -> float:
    """Return the lowest level whose false alarms on a labelled path stay below the given rate."""
    allowed = alarms_per_30_days * len(crisis_T) / FALSE_ALARM_BARS
    for level in (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        if false_alarms(crisis_alarms(crisis_T, level), is_crisis_T) <= allowed:
            return level
    return 0.9
