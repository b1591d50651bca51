"""What every built-in feature is: name, unit, group, formula, source and what it waits for.

Words of the formulas. c: close of a bar (middle of the touch), h, l, o: high, low, open; r: log
return of one bar; n: bars of the window, ``short`` = window_bars // 5, ``long`` = window_bars, read
from 20 bars on (from n if that is less) and growing to n; v: traded lots of a bar, s: lots bought
less lots sold by aggressors; E[x]: mean over the window; x(k): over k bars. Returns and
volatilities are per bar. "Decayed" sums fade with time constants of 5 (fast) and 50 (slow) bars.
Order of the table = order in the state; the first 50 are the default.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kernels import feature_slots as at

Window = Literal["none", "short", "long"]
Needs = Literal["time", "quote", "book", "mark", "book_average", "mark_average"]
Formula = Callable[[NDArray[np.float64], NDArray[np.float64]], float]

NEEDED_SLOTS: dict[Needs, tuple[int, ...]] = {
    "time": (),
    "quote": (at.MID_TICKS,),
    "book": (at.HAS_BOOK,),
    "mark": (at.HAS_MARK, at.MID_TICKS),
    "book_average": (at.DEPTH_COUNT,),
    "mark_average": (at.BASIS_COUNT,),
}
"""Entries of the state that must be positive before a feature means something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One named input of the models.

    ``bars`` closed bars are needed, plus those of the window and its lags. ``slot`` is the place
    of a built-in in the state, -1 for a registered one, which has a ``formula`` instead. Raise
    ``revision`` when the meaning changes: it enters the schema's hash.
    """

    name: str
    unit: str
    group: str
    summary: str
    source: str
    bars: int = 0
    window: Window = "none"
    needs: Needs = "quote"
    revision: int = 1
    slot: int = -1
    formula: Formula | None = None
    memory_floats: int = 0
    updates_on: Literal["bar", "quote"] = "bar"

    def bars_needed(self, window_bars: int) -> int:
        """Return how many closed bars the first value takes, given the long window's length."""
        if self.window == "none":
            return self.bars
        span = window_bars if self.window == "long" else short_bars(window_bars)
        return self.bars + min(span, at.WINDOW_START_BARS) + at.LAG_BARS

    @property
    def warm_up(self) -> str:
        """What must have been seen before the value is other than 0, in words."""
        parts = [f"one {self.needs.replace('_', ' ')}"] if self.needs != "time" else []
        if self.window != "none":
            start = f"{at.WINDOW_START_BARS} bars of the {self.window} window (or all, if shorter)"
            parts.append(f"{start} and {self.bars + at.LAG_BARS} bars before")
        elif self.bars:
            parts.append(f"{self.bars} bars")
        return ", ".join(parts) or "nothing"


def short_bars(window_bars: int) -> int:
    """Return the length of the short window that goes with a long one."""
    return max(2, window_bars // 5)


_Row = tuple[str, str, str, int, Window, Needs, str, str]

_RETURNS: tuple[_Row, ...] = (
    ("return_1_bps", "bps", "returns", 2, "none", "quote", "ln c/c(-1)", "definition"),
    ("return_5_bps", "bps", "returns", 6, "none", "quote", "ln c/c(-5)", "definition"),
    ("return_20_bps", "bps", "returns", 21, "none", "quote", "ln c/c(-20)", "definition"),
    ("return_long_bps", "bps", "returns", 0, "long", "quote", "sum r over long", "definition"),
    ("return_live_bps", "bps", "returns", 1, "none", "quote", "ln mid/c, at every quote", "own"),
    ("momentum_long", "t", "returns", 0, "long", "quote",
     "E[r]/sd(r)*sqrt(n), within ±100", "Moskowitz, Ooi, Pedersen 2012, scaled as a t statistic"),
)  # fmt: skip
_VOLATILITY: tuple[_Row, ...] = (
    ("volatility_ewma_bps", "bps", "volatility", 20, "none", "quote",
     "sqrt of the exponential mean of r^2, weight 0.06", "RiskMetrics 1996"),
    ("volatility_realised_short_bps", "bps", "volatility", 0, "short", "quote",
     "sqrt(E[r^2])", "Andersen, Bollerslev 1998"),
    ("volatility_realised_long_bps", "bps", "volatility", 0, "long", "quote",
     "sqrt(E[r^2])", "Andersen, Bollerslev 1998"),
    ("volatility_bipower_long_bps", "bps", "volatility", 0, "long", "quote",
     "sqrt(pi/2 E[|r||r(-1)|]): jumps left out", "Barndorff-Nielsen, Shephard 2004"),
    ("volatility_parkinson_short_bps", "bps", "volatility", 0, "short", "quote",
     "sqrt(E[ln(h/l)^2]/(4 ln 2))", "Parkinson 1980"),
    ("volatility_garman_klass_long_bps", "bps", "volatility", 0, "long", "quote",
     "sqrt(E[ln(h/l)^2/2 - (2 ln 2 - 1) ln(c/o)^2])", "Garman, Klass 1980"),
    ("volatility_ratio", "ln", "volatility", 0, "long", "quote",
     "ln(realised short / realised long), 0 if either is 0", "own"),
    ("volatility_of_volatility_long", "ratio", "volatility", 0, "long", "quote",
     "sd(|r|)/E[|r|]", "coefficient of variation"),
)  # fmt: skip
_TREND: tuple[_Row, ...] = (
    ("adx_14", "0..1", "trend", 29, "none", "quote",
     "Wilder mean of |+DM - -DM|/(+DM + -DM)", "Wilder 1978"),
    ("directional_14", "-1..1", "trend", 15, "none", "quote",
     "(+DM - -DM)/TR of Wilder means", "Wilder 1978"),
    ("slope_short_bps", "bps", "trend", 0, "short", "quote",
     "least-squares slope of ln c per bar", "definition"),
    ("slope_long_bps", "bps", "trend", 0, "long", "quote",
     "least-squares slope of ln c per bar", "definition"),
    ("efficiency_ratio_short", "0..1", "trend", 0, "short", "quote",
     "|sum r|/sum |r|", "Kaufman 1995"),
    ("efficiency_ratio_long", "0..1", "trend", 0, "long", "quote",
     "|sum r|/sum |r|", "Kaufman 1995"),
)  # fmt: skip
_REVERSION: tuple[_Row, ...] = (
    ("zscore_long", "sd", "reversion", 0, "long", "quote",
     "(ln c - E[ln c])/sd(ln c)", "definition"),
    ("bollinger_short", "%b", "reversion", 0, "short", "quote",
     "1/2 + (ln c - E[ln c])/(4 sd(ln c)): 0 lower band, 1 upper", "Bollinger 2001"),
    ("variance_ratio_5_long", "ratio", "reversion", 0, "long", "quote",
     "Var(r(5))/(5 Var(r)) - 1, overlapping", "Lo, MacKinlay 1988"),
    ("autocorrelation_long", "-1..1", "reversion", 0, "long", "quote",
     "corr(r, r(-1))", "definition"),
    ("hurst_long", "-1/2..1/2", "reversion", 0, "long", "quote",
     "ln(Var(r(20))/Var(r(5)))/(2 ln 4) - 1/2", "aggregated variance, Taqqu, Teverovsky 1995"),
)  # fmt: skip
_OSCILLATORS: tuple[_Row, ...] = (
    ("rsi_14", "-1..1", "oscillators", 15, "none", "quote",
     "2 gain/(gain + loss) - 1 of Wilder means of log returns (RSI/50 - 1)", "Wilder 1978"),
    ("macd_12_26", "sd", "oscillators", 35, "none", "quote",
     "(ema 12 - ema 26 of ln c)/exponential volatility", "Appel 1979, normalised"),
    ("macd_histogram_9", "sd", "oscillators", 35, "none", "quote",
     "(macd - ema 9 of macd)/exponential volatility", "Appel 1979, normalised"),
    ("stochastic_short", "-1..1", "oscillators", 0, "short", "quote",
     "2 (c - lowest l)/(highest h - lowest l) - 1 in logs", "Lane 1984, %K"),
)  # fmt: skip
_FLOW: tuple[_Row, ...] = (
    ("vwap_deviation_long_bps", "bps", "flow", 0, "long", "quote",
     "c/(sum price*lots / sum lots) - 1, 0 without trades", "definition"),
    ("flow_fast", "-1..1", "flow", 0, "none", "quote",
     "decayed s / decayed v, fast", "order imbalance, Chordia, Subrahmanyam 2004"),
    ("flow_slow", "-1..1", "flow", 0, "none", "quote",
     "decayed s / decayed v, slow", "order imbalance, Chordia, Subrahmanyam 2004"),
    ("trade_intensity", "ln", "flow", 0, "none", "quote",
     "ln((f + 1/50)/(s + 1/50)) of decayed trades per bar, fast and slow", "own"),
    ("kyle_lambda_long_bps", "bps", "flow", 0, "long", "quote",
     "Cov(s, r)/Var(s) E[v]: move per mean volume of one-sided flow", "Kyle 1985, by regression"),
)  # fmt: skip
_BOOK: tuple[_Row, ...] = (
    ("spread_bps", "bps", "book", 0, "none", "quote", "(ask - bid)/mid", "definition"),
    ("imbalance_top", "-1..1", "book", 0, "none", "quote",
     "(bid lots - ask lots)/(sum) at the touch", "Cartea, Donnelly, Jaimungal 2018"),
    ("imbalance_5", "-1..1", "book", 0, "none", "book", "the same over 5 levels", "same"),
    ("imbalance_10", "-1..1", "book", 0, "none", "book", "the same over 10 levels", "same"),
    ("imbalance_20", "-1..1", "book", 0, "none", "book", "the same over 20 levels", "same"),
    ("microprice_deviation_bps", "bps", "book", 0, "none", "quote",
     "(microprice - mid)/mid", "Gatheral, Oomen 2010"),
    ("order_flow_imbalance", "-1..1", "book", 0, "none", "quote",
     "decayed e / decayed |e|, fast, e as in equation 4", "Cont, Kukanov, Stoikov 2014"),
    ("depth_slope", "-1..1", "book", 0, "none", "book",
     "(A - B)/(A + B), lots-weighted mean distance of 20 asks and bids from mid", "own"),
)  # fmt: skip
_TAIL: tuple[_Row, ...] = (
    ("skewness_long", "ratio", "tail", 0, "long", "quote", "third moment of r", "definition"),
    ("kurtosis_long", "ratio", "tail", 0, "long", "quote", "fourth moment - 3", "definition"),
    ("jump_share_long", "0..1", "tail", 0, "long", "quote",
     "max(0, 1 - bipower/realised variance)", "Huang, Tauchen 2005"),
    ("drawdown_long_frac", "frac", "drawdown", 0, "long", "quote",
     "1 - c/highest c of the window", "definition"),
    ("time_of_day_sin", "-1..1", "time", 0, "none", "time",
     "sin of UTC day angle at the last bar's end", "definition"),
    ("time_of_day_cos", "-1..1", "time", 0, "none", "time",
     "cos of UTC day angle at the last bar's end", "definition"),
    ("funding_rate_bps", "bps", "funding", 0, "none", "mark", "as the venue states it", "venue"),
    ("basis_bps", "bps", "funding", 0, "none", "mark", "mark/mid - 1", "definition"),
)  # fmt: skip
_RESEARCH: tuple[_Row, ...] = (
    ("momentum_short", "t", "returns", 0, "short", "quote",
     "E[r]/sd(r)*sqrt(n), within ±100", "as momentum_long"),
    ("up_share_long", "0..1", "returns", 0, "long", "quote",
     "share of bars with r > 0, r = 0 counted half", "definition"),
    ("acceleration_5_bps", "bps", "returns", 11, "none", "quote",
     "ln c/c(-5) - ln c(-5)/c(-10)", "definition"),
    ("atr_14_bps", "bps", "volatility", 15, "none", "quote",
     "Wilder mean of the true range in logs", "Wilder 1978"),
    ("bollinger_width_short_bps", "bps", "volatility", 0, "short", "quote",
     "4 sd(ln c)", "Bollinger 2001"),
    ("volatility_clustering_long", "-1..1", "volatility", 0, "long", "quote",
     "corr(|r|, |r(-1)|)", "Ding, Granger, Engle 1993"),
    ("downside_share_long", "0..1", "tail", 0, "long", "quote",
     "sum of r^2 with r < 0 / sum r^2", "Barndorff-Nielsen, Kinnebrock, Shephard 2010"),
    ("trend_fit_long", "-1..1", "trend", 0, "long", "quote",
     "sign of the slope times R^2 of ln c on time", "definition"),
    ("aroon_long", "-1..1", "trend", 0, "long", "quote",
     "(bar of highest h - bar of lowest l)/n, newest of equals", "Chande 1995"),
    ("channel_position_long", "-1..1", "trend", 0, "long", "quote",
     "2 (c - lowest l)/(highest h - lowest l) - 1 in logs", "Donchian"),
    ("variance_ratio_20_long", "ratio", "reversion", 0, "long", "quote",
     "Var(r(20))/(20 Var(r)) - 1, overlapping", "Lo, MacKinlay 1988"),
    ("stochastic_signal_3", "-1..1", "oscillators", 2, "short", "quote",
     "ema 3 of stochastic_short", "Lane 1984, %D"),
    ("money_flow_14", "-1..1", "flow", 15, "none", "quote",
     "2 up/(up + down) - 1 of Wilder means of typical price times v", "Quong, Soudack 1989"),
    ("volume_zscore_long", "sd", "flow", 0, "long", "quote", "(v - E[v])/sd(v)", "definition"),
    ("trade_size_ratio", "ln", "flow", 0, "none", "quote",
     "ln of decayed mean trade size, fast over slow", "own"),
    ("quote_intensity", "ln", "flow", 0, "none", "quote",
     "as trade_intensity, of quotes, at the last bar's end", "own"),
    ("flow_correlation_long", "-1..1", "flow", 0, "long", "quote", "corr(s, r)", "definition"),
    ("illiquidity_ratio", "ln", "flow", 0, "long", "quote",
     "ln of E[|r|]/E[v], short over long, 0 without trades", "Amihud 2002, relative"),
    ("spread_zscore_long", "sd", "book", 0, "long", "quote",
     "(mean spread of the bar - E)/sd", "definition"),
    ("impact_correlation_long", "-1..1", "book", 0, "long", "quote",
     "corr(order flow imbalance of the bar, r)", "Cont, Kukanov, Stoikov 2014"),
    ("depth_ratio", "ln", "book", 0, "none", "book_average",
     "ln of lots on 20 levels a side / its average over bars, weight 1/50", "own"),
    ("jump_largest_long", "sd", "tail", 0, "long", "quote",
     "largest |r| / realised volatility", "Lee, Mykland 2008, without the local volatility"),
    ("max_drawdown_long_frac", "frac", "drawdown", 0, "long", "quote",
     "largest 1 - c/earlier c inside the window", "definition"),
    ("funding_phase", "0..1", "time", 0, "none", "time",
     "share of the 8 h funding interval gone at the last bar's end", "venue"),
    ("basis_deviation_bps", "bps", "funding", 0, "none", "mark_average",
     "basis less its average over bars, weight 1/50", "own"),
)  # fmt: skip

_TABLE = (
    _RETURNS + _VOLATILITY + _TREND + _REVERSION + _OSCILLATORS + _FLOW + _BOOK + _TAIL + _RESEARCH
)

BUILT_IN: tuple[Feature, ...] = tuple(
    Feature(
        name=name,
        unit=unit,
        group=group,
        bars=bars,
        window=window,
        needs=needs,
        summary=summary,
        source=source,
        slot=slot,
    )
    for slot, (name, unit, group, bars, window, needs, summary, source) in enumerate(_TABLE)
)
"""Every built-in feature, in the order of the state."""

DEFAULT_COUNT = 50
