"""Every built-in feature computed again from the whole history, by numpy and plain loops."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kernels.features import RESEARCH_FEATURE_NAMES
from tests.naive.naive_book import naive_order_flow_lots

Floats = NDArray[np.float64]
Levels = list[tuple[int, int]]

FAST, SLOW = 5.0, 50.0


@dataclass(kw_only=True)
class NaiveBar:
    """One closed bar."""

    open: float
    high: float
    low: float
    close: float
    volume: float
    signed: float
    notional: float
    flow: float
    spread_bps: float


@dataclass(kw_only=True)
class NaiveFeatures:
    """Keeps every event of one instrument; ``values`` starts from nothing each time."""

    interval_ns: int
    window: int
    quotes: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    trades: list[tuple[int, int, int, int]] = field(default_factory=list)
    bars: list[NaiveBar] = field(default_factory=list)
    bar_index: int = -1
    bar_quotes_from: int = 0
    bar_trades_from: int = 0
    book: tuple[Levels, Levels] | None = None
    mark: tuple[int, float] | None = None
    depth_samples: list[float] = field(default_factory=list)
    basis_samples: list[float] = field(default_factory=list)
    last_ns: int = 0
    trade_rate_ns: int = -1
    written: dict[str, float] = field(default_factory=dict)

    def advance(self, now_ns: int) -> None:
        """Close every bar that ended by now."""
        if self.bar_index < 0:
            self.bar_index = now_ns // self.interval_ns
            self.last_ns = now_ns
        while self.bar_index < now_ns // self.interval_ns:
            self._close()
            self.bar_index += 1
            self.last_ns = self.bar_index * self.interval_ns
            self.trade_rate_ns = self.last_ns
            times = [q[0] for q in self.quotes]
            self.written["quote_intensity"] = self._intensity(times, self.last_ns)

    def quote(self, now_ns: int, quote: tuple[int, int, int, int]) -> None:
        """Take one best bid and ask."""
        self.advance(now_ns)
        self.quotes.append((now_ns, *quote))
        if self.bars:
            self.written["return_live_bps"] = 1e4 * math.log(self.mid() / self.bars[-1].close)
        self._write_basis()

    def trade(self, now_ns: int, price: int, lots: int, sign: int) -> None:
        """Take one trade."""
        self.advance(now_ns)
        self.trades.append((now_ns, price, lots, sign))
        self.trade_rate_ns = now_ns

    def take_book(self, bids: Levels, asks: Levels) -> None:
        """Take a whole book, best levels first."""
        self.book = (bids, asks)
        if self.depth_samples:
            average = mean_then_exponential(np.array(self.depth_samples), 1 / SLOW)
            self.written["depth_ratio"] = math.log(self.depth_lots() / average)

    def take_mark(self, mark: int, funding_frac: float) -> None:
        """Take a mark price and a funding rate."""
        self.mark = (mark, funding_frac)
        self._write_basis()

    def _write_basis(self) -> None:
        if self.mark is not None and self.quotes and self.basis_samples:
            average = mean_then_exponential(np.array(self.basis_samples), 1 / SLOW)
            self.written["basis_deviation_bps"] = self.basis_bps() - average

    def mid(self) -> float:
        """Return the last middle."""
        return (self.quotes[-1][1] + self.quotes[-1][3]) / 2

    def basis_bps(self) -> float:
        """Return mark over middle."""
        assert self.mark is not None
        return 1e4 * (self.mark[0] / self.mid() - 1)

    def flows(self) -> list[float]:
        """Return the order flow of every quote, 0 for the first."""
        pairs = zip(self.quotes, self.quotes[1:], strict=False)
        return [0.0] + [float(naive_order_flow_lots(a[1:], b[1:])) for a, b in pairs]

    def depth_lots(self) -> float:
        """Return the lots on 20 levels of both sides."""
        assert self.book is not None
        return float(sum(lots for side in self.book for _, lots in side[:20]))

    def _close(self) -> None:
        quotes = self.quotes[self.bar_quotes_from :]
        trades = self.trades[self.bar_trades_from :]
        flows = self.flows()[self.bar_quotes_from :]
        self.bar_quotes_from = len(self.quotes)
        self.bar_trades_from = len(self.trades)
        if not self.quotes:
            return
        mids = [(q[1] + q[3]) / 2 for q in quotes] or [self.mid()]
        spreads = [1e4 * (q[3] - q[1]) / ((q[1] + q[3]) / 2) for q in quotes or self.quotes[-1:]]
        self.bars.append(
            NaiveBar(
                open=mids[0],
                high=max(mids),
                low=min(mids),
                close=mids[-1],
                volume=float(sum(t[2] for t in trades)),
                signed=float(sum(t[2] * t[3] for t in trades)),
                notional=float(sum(t[1] * t[2] for t in trades)),
                flow=float(sum(flows)) if quotes else 0.0,
                spread_bps=float(np.mean(spreads)),
            )
        )
        if self.book is not None:
            self.depth_samples.append(self.depth_lots())
        if self.mark is not None:
            self.basis_samples.append(self.basis_bps())

    def values(self) -> dict[str, float]:
        """Return every built-in feature by name; 0 before its warm-up."""
        out = dict.fromkeys(RESEARCH_FEATURE_NAMES, 0.0) | self.written
        self._event_values(out)
        if self.bars:
            self._bar_values(out)
        if self._held(self.window // 5):
            self._short_values(out, self._held(self.window // 5))
        if self._held(self.window):
            self._long_values(out, self._held(self.window))
        return out

    def _held(self, length: int, bars: int = -1) -> int:
        """Return how many bars a window holds, 0 while they are too few."""
        held = min(length, (len(self.bars) if bars < 0 else bars) - 20)
        return held if held >= min(length, 20) else 0

    def _event_values(self, out: dict[str, float]) -> None:
        day, funding = 86_400 * 10**9, 8 * 3600 * 10**9
        if self.bar_index >= 0:
            out["time_of_day_sin"] = math.sin(2 * math.pi * (self.last_ns % day) / day)
            out["time_of_day_cos"] = math.cos(2 * math.pi * (self.last_ns % day) / day)
            out["funding_phase"] = (self.last_ns % funding) / funding
        if self.trade_rate_ns >= 0:
            times = [t[0] for t in self.trades]
            out["trade_intensity"] = self._intensity(times, self.trade_rate_ns)
        if self.quotes:
            now, bid, bid_lots, ask, ask_lots = self.quotes[-1]
            mid, both = (bid + ask) / 2, bid_lots + ask_lots
            out["spread_bps"] = 1e4 * (ask - bid) / mid
            out["imbalance_top"] = (bid_lots - ask_lots) / both
            micro = (bid * ask_lots + ask * bid_lots) / both
            out["microprice_deviation_bps"] = 1e4 * (micro - mid) / mid
            left = self._left([q[0] for q in self.quotes], now, FAST)
            flows = np.array(self.flows())
            size = np.sum(np.abs(flows) * left)
            out["order_flow_imbalance"] = float(np.sum(flows * left) / size) if size else 0.0
        if self.trades:
            self._trade_values(out)
        if self.book is not None:
            self._book_values(out)
        if self.mark is not None:
            out["funding_rate_bps"] = 1e4 * self.mark[1]
            out["basis_bps"] = self.basis_bps() if self.quotes else 0.0

    def _left(self, times_ns: list[int], now_ns: int, bars: float) -> Floats:
        gaps = np.array([now_ns - t for t in times_ns], dtype=np.float64)
        return np.exp(-gaps / (bars * self.interval_ns))

    def _intensity(self, times_ns: list[int], now_ns: int) -> float:
        fast = float(np.sum(self._left(times_ns, now_ns, FAST))) / FAST
        slow = float(np.sum(self._left(times_ns, now_ns, SLOW))) / SLOW
        return math.log((fast + 1 / SLOW) / (slow + 1 / SLOW))

    def _trade_values(self, out: dict[str, float]) -> None:
        times = [t[0] for t in self.trades]
        lots = np.array([float(t[2]) for t in self.trades])
        signed = np.array([float(t[2] * t[3]) for t in self.trades])
        fast, slow = (self._left(times, times[-1], bars) for bars in (FAST, SLOW))
        out["flow_fast"] = float(np.sum(signed * fast) / np.sum(lots * fast))
        out["flow_slow"] = float(np.sum(signed * slow) / np.sum(lots * slow))
        size_fast = np.sum(lots * fast) / np.sum(fast)
        size_slow = np.sum(lots * slow) / np.sum(slow)
        out["trade_size_ratio"] = math.log(size_fast / size_slow)

    def _book_values(self, out: dict[str, float]) -> None:
        assert self.book is not None
        bids, asks = self.book
        for depth in (5, 10, 20):
            bid = sum(lots for _, lots in bids[:depth])
            ask = sum(lots for _, lots in asks[:depth])
            out[f"imbalance_{depth}"] = (bid - ask) / (bid + ask)
        mid = (bids[0][0] + asks[0][0]) / 2
        far_bid = np.average([mid - p for p, _ in bids[:20]], weights=[q for _, q in bids[:20]])
        far_ask = np.average([p - mid for p, _ in asks[:20]], weights=[q for _, q in asks[:20]])
        out["depth_slope"] = float((far_ask - far_bid) / (far_ask + far_bid))

    def _bar_values(self, out: dict[str, float]) -> None:
        count = len(self.bars)
        log_close = np.log([b.close / self.bars[0].close for b in self.bars])
        change = np.diff(log_close)
        for back, needed in ((1, 2), (5, 6), (20, 21)):
            if count >= needed:
                out[f"return_{back}_bps"] = 1e4 * float(log_close[-1] - log_close[-1 - back])
        if count >= 11:
            second = log_close[-1] - 2 * log_close[-6] + log_close[-11]
            out["acceleration_5_bps"] = 1e4 * float(second)
        volatility = math.sqrt(mean_then_exponential(change**2, 0.06))
        if count >= 20:
            out["volatility_ewma_bps"] = 1e4 * volatility
        if count >= 15:
            gain = mean_then_exponential(np.maximum(change, 0), 1 / 14)
            loss = mean_then_exponential(np.maximum(-change, 0), 1 / 14)
            out["rsi_14"] = 2 * gain / (gain + loss) - 1 if gain + loss else 0.0
            self._wilder_values(out)
        if count >= 35 and volatility:
            macd = [
                mean_then_exponential(log_close[:end], 2 / 13)
                - mean_then_exponential(log_close[:end], 2 / 27)
                for end in range(1, count + 1)
            ]
            signal = mean_then_exponential(np.array(macd), 2 / 10)
            out["macd_12_26"] = macd[-1] / volatility
            out["macd_histogram_9"] = (macd[-1] - signal) / volatility

    def _wilder_values(self, out: dict[str, float]) -> None:
        base = self.bars[0].close
        high = np.log([b.high / base for b in self.bars])
        low = np.log([b.low / base for b in self.bars])
        close = np.log([b.close / base for b in self.bars])
        span = np.maximum(high[1:], close[:-1]) - np.minimum(low[1:], close[:-1])
        up, down = np.diff(high), -np.diff(low)
        plus = np.where((up > down) & (up > 0), up, 0.0)
        minus = np.where((down > up) & (down > 0), down, 0.0)
        directions = []
        for end in range(14, len(span) + 1):
            p = mean_then_exponential(plus[:end], 1 / 14)
            m = mean_then_exponential(minus[:end], 1 / 14)
            directions.append(abs(p - m) / (p + m) if p + m else 0.0)
        atr = mean_then_exponential(span, 1 / 14)
        out["atr_14_bps"] = 1e4 * atr
        out["directional_14"] = (p - m) / atr if atr else 0.0
        if len(self.bars) >= 29:
            out["adx_14"] = mean_then_exponential(np.array(directions), 1 / 14)
        typical = (high + low + close) / 3
        money = (np.exp(typical) * np.array([b.volume for b in self.bars]))[1:]
        step = np.diff(typical)
        money_up = mean_then_exponential(np.where(step > 0, money, 0.0), 1 / 14)
        money_down = mean_then_exponential(np.where(step < 0, money, 0.0), 1 / 14)
        both = money_up + money_down
        out["money_flow_14"] = 2 * money_up / both - 1 if both else 0.0

    def _short_values(self, out: dict[str, float], n: int) -> None:
        log_close = np.log([b.close / self.bars[0].close for b in self.bars])
        change, price = np.diff(log_close)[-n:], log_close[-n:]
        bars = self.bars[-n:]
        deviation = deviation_of(price)
        out["momentum_short"] = t_statistic(change)
        out["volatility_realised_short_bps"] = 1e4 * float(np.sqrt(np.mean(change**2)))
        spans = np.log([b.high / b.low for b in bars])
        out["volatility_parkinson_short_bps"] = 1e4 * math.sqrt(
            float(np.mean(spans**2)) / (4 * math.log(2))
        )
        out["slope_short_bps"] = 1e4 * float(np.polyfit(np.arange(n), price, 1)[0])
        path = float(np.sum(np.abs(change)))
        out["efficiency_ratio_short"] = abs(float(np.sum(change))) / path if path else 0.0
        band = float(price[-1] - np.mean(price)) / (4 * deviation) if deviation else 0.0
        out["bollinger_short"] = 0.5 + band
        out["bollinger_width_short_bps"] = 4e4 * deviation
        out["stochastic_short"] = self._channel(len(self.bars), n)
        ends = range(1, len(self.bars) + 1)
        lengths = [(end, self._held(self.window // 5, end)) for end in ends]
        history = [self._channel(end, held) for end, held in lengths if held]
        if len(history) >= 3:
            out["stochastic_signal_3"] = mean_then_exponential(np.array(history), 0.5)

    def _channel(self, end: int, n: int) -> float:
        bars = self.bars[end - n : end]
        base = self.bars[0].close
        top = math.log(max(b.high for b in bars) / base)
        floor = math.log(min(b.low for b in bars) / base)
        return (
            2 * (math.log(bars[-1].close / base) - floor) / (top - floor) - 1
            if top > floor
            else 0.0
        )

    def _long_values(self, out: dict[str, float], n: int) -> None:
        bars = self.bars[-n:]
        log_close = np.log([b.close / self.bars[0].close for b in self.bars])
        change, price = np.diff(log_close)[-n:], log_close[-n:]
        before = np.diff(log_close)[-n - 1 : -1]
        variance = float(np.mean(change**2))
        bipower = math.pi / 2 * float(np.mean(np.abs(change) * np.abs(before)))
        out["return_long_bps"] = 1e4 * float(np.sum(change))
        out["momentum_long"] = t_statistic(change)
        out["volatility_realised_long_bps"] = 1e4 * math.sqrt(variance)
        out["volatility_bipower_long_bps"] = 1e4 * math.sqrt(bipower)
        spans = np.log([b.high / b.low for b in bars])
        bodies = np.log([b.close / b.open for b in bars])
        garman_klass = np.mean(spans**2 / 2 - (2 * math.log(2) - 1) * bodies**2)
        out["volatility_garman_klass_long_bps"] = 1e4 * math.sqrt(float(garman_klass))
        short = math.sqrt(float(np.mean(change[-self._held(self.window // 5) :] ** 2)))
        if short and variance:
            out["volatility_ratio"] = math.log(short / math.sqrt(variance))
        sizes = np.abs(change)
        if variance:
            out["volatility_of_volatility_long"] = float(deviation_of(sizes) / np.mean(sizes))
            out["downside_share_long"] = float(np.mean(np.minimum(change, 0) ** 2)) / variance
            out["jump_share_long"] = max(0.0, 1 - bipower / variance)
            out["jump_largest_long"] = float(np.max(sizes)) / math.sqrt(variance)
            centred = change - np.mean(change)
            out["skewness_long"] = float(np.mean(centred**3) / np.mean(centred**2) ** 1.5)
            out["kurtosis_long"] = float(np.mean(centred**4) / np.mean(centred**2) ** 2 - 3)
        out["volatility_clustering_long"] = correlation(sizes, np.abs(before))
        out["autocorrelation_long"] = correlation(change, before)
        out["slope_long_bps"] = 1e4 * float(np.polyfit(np.arange(n), price, 1)[0])
        fit = correlation(np.arange(n, dtype=np.float64), price)
        out["trend_fit_long"] = fit * abs(fit)
        out["up_share_long"] = float(np.mean(np.sign(change))) / 2 + 0.5
        path = float(np.sum(sizes))
        out["efficiency_ratio_long"] = abs(float(np.sum(change))) / path if path else 0.0
        deviation = deviation_of(price)
        out["zscore_long"] = float(price[-1] - np.mean(price)) / deviation if deviation else 0.0
        self._long_ratios(out, log_close, n)
        self._long_extremes(out, bars)
        self._long_flow(out, bars, change)

    def _long_ratios(self, out: dict[str, float], log_close: Floats, n: int) -> None:
        spread = {k: deviation_of((log_close[k:] - log_close[:-k])[-n:]) ** 2 for k in (1, 5, 20)}
        if spread[1]:
            out["variance_ratio_5_long"] = spread[5] / (5 * spread[1]) - 1
            out["variance_ratio_20_long"] = spread[20] / (20 * spread[1]) - 1
        if spread[5] and spread[20]:
            hurst = math.log(spread[20] / spread[5]) / (2 * math.log(4)) - 0.5
            out["hurst_long"] = min(0.5, max(-0.5, hurst))

    def _long_extremes(self, out: dict[str, float], bars: list[NaiveBar]) -> None:
        n = len(bars)
        highs, lows = [b.high for b in bars], [b.low for b in bars]
        at_high = max(i for i in range(n) if highs[i] == max(highs))
        at_low = max(i for i in range(n) if lows[i] == min(lows))
        out["aroon_long"] = (at_high - at_low) / n
        out["channel_position_long"] = self._channel(len(self.bars), n)
        closes = [b.close for b in bars]
        out["drawdown_long_frac"] = 1 - closes[-1] / max(closes)
        out["max_drawdown_long_frac"] = max(
            1 - closes[j] / closes[i] for i in range(n) for j in range(i, n)
        )

    def _long_flow(self, out: dict[str, float], bars: list[NaiveBar], change: Floats) -> None:
        volume = np.array([b.volume for b in bars])
        signed = np.array([b.signed for b in bars])
        spread = np.array([b.spread_bps for b in bars])
        if volume.sum() > 0:
            vwap = sum(b.notional for b in bars) / float(volume.sum())
            out["vwap_deviation_long_bps"] = 1e4 * (bars[-1].close / vwap - 1)
        if np.var(signed) > 0:
            cover = float(np.mean((signed - signed.mean()) * (change - change.mean())))
            out["kyle_lambda_long_bps"] = 1e4 * cover * float(volume.mean() / np.var(signed))
        out["flow_correlation_long"] = correlation(signed, change)
        out["impact_correlation_long"] = correlation(np.array([b.flow for b in bars]), change)
        if deviation_of(volume):
            out["volume_zscore_long"] = float((volume[-1] - volume.mean()) / deviation_of(volume))
        if deviation_of(spread):
            out["spread_zscore_long"] = float((spread[-1] - spread.mean()) / deviation_of(spread))
        n = self._held(self.window // 5)
        part = float(np.mean(np.abs(change[-n:])) * volume.mean())
        whole = float(np.mean(np.abs(change)) * volume[-n:].mean())
        if part > 0 and whole > 0:
            out["illiquidity_ratio"] = math.log(part / whole)


def mean_then_exponential(values: Floats, weight: float) -> float:
    """Return the mean of the first 1/weight values, smoothed exponentially from there on."""
    average = 0.0
    for count, value in enumerate(values, start=1):
        share = max(weight, 1 / count)
        average = (1 - share) * average + share * float(value)
    return average


def deviation_of(values: Floats) -> float:
    """Return the standard deviation, exactly 0 for a constant series (numpy's mean may round)."""
    return float(np.std(values)) if np.ptp(values) > 0 else 0.0


def t_statistic(values: Floats) -> float:
    """Return mean over standard error, within ±100, 0 for a constant series."""
    deviation = deviation_of(values)
    if not deviation:
        return 0.0
    return min(100.0, max(-100.0, float(np.mean(values)) / deviation * math.sqrt(len(values))))


def correlation(x: Floats, y: Floats) -> float:
    """Return the correlation, 0 where one series is constant."""
    if not (deviation_of(x) and deviation_of(y)):
        return 0.0
    dx, dy = x - np.mean(x), y - np.mean(y)
    scale = math.sqrt(float(np.sum(dx**2)) * float(np.sum(dy**2)))
    return float(np.sum(dx * dy)) / scale
