"""Latency per stage: histograms that cost a fifth of a microsecond and are right to one percent.

Buckets as in HdrHistogram: exact below 128 ns, then 64 buckets per power of two, so a bucket is at
most 1/64 of its value wide and its middle is off by at most 1/128 (0.8 %). Not for two threads at
once. ``expose`` prints metrics in the text format of Prometheus; only it knows that library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import mul
from typing import TYPE_CHECKING, NamedTuple, TypedDict

if TYPE_CHECKING:
    from prometheus_client import Metric

    from daemon.metric_families import Family

STAGES: tuple[str, ...] = (
    "decode",
    "book",
    "features",
    "decide",
    "gate",
    "journal",
    "send",
    "tick_to_order",
    "data_age",
    "answer_ws",
    "answer_rest",
    "collect",
)
"""The stages of one tick, in the order of every report; ``answer_*`` are round trips of requests
about orders, by the way they took, ``collect`` is garbage, between two turns."""

_EXACT_BITS = 7
_HALF_COUNT = 1 << (_EXACT_BITS - 1)
_VALUE_MAX = 2**63 - 1
_BUCKET_COUNT = (63 - _EXACT_BITS) * _HALF_COUNT + 2 * _HALF_COUNT
_BLOCK = 64
_NS_PER_S = 1_000_000_000
_COARSE_BITS = range(_EXACT_BITS, 35)
"""Coarse buckets end at each power of two from 128 ns to 17 s."""


def _lowest(bucket: int) -> int:
    """Return the smallest value that falls into a bucket."""
    if bucket < 2 * _HALF_COUNT:
        return bucket
    shift = (bucket >> 6) - 1
    return (bucket - (shift << 6)) << shift


def _middle(bucket: int) -> int:
    """Return the middle of a bucket's range of values."""
    return (_lowest(bucket) + _lowest(bucket + 1)) // 2


_MIDDLES = tuple(_middle(bucket) for bucket in range(_BUCKET_COUNT))


class Buckets(NamedTuple):
    """A histogram as Prometheus wants it: per bound, how many are at most that long; all, total.

    A bound is the largest whole nanosecond below a power of two, so every count is exact. The
    total is within 0.8 %: it is added up from the middles of the fine buckets.
    """

    reached: tuple[tuple[int, int], ...]
    number: int
    total_ns: int


class StageSummary(TypedDict):
    """What a report says of one stage; all but ``count`` in nanoseconds, 0 when nothing came."""

    count: int
    p50: int
    p99: int
    p999: int
    max: int


class Histogram:
    """Counts of durations in log-linear buckets, with the exact largest value."""

    __slots__ = ("_buckets", "max_ns")

    def __init__(self) -> None:
        """Start empty, with all buckets (about 30 kB) in place."""
        self._buckets = [0] * _BUCKET_COUNT
        self.max_ns = 0

    def record(self, duration_ns: int) -> None:
        """Count one duration; negative ones count as 0, those beyond 2**63 - 1 as that."""
        if duration_ns > self.max_ns:
            self.max_ns = duration_ns = min(duration_ns, _VALUE_MAX)
        elif duration_ns < 0:
            duration_ns = 0
        shift = duration_ns.bit_length() - _EXACT_BITS
        if shift <= 0:
            self._buckets[duration_ns] += 1
        else:
            self._buckets[(shift << 6) + (duration_ns >> shift)] += 1

    @property
    def count(self) -> int:
        """How many durations were recorded."""
        return sum(self._buckets)

    def quantiles(self, fractions: Iterable[float]) -> tuple[int, ...]:
        """Return the duration at each rank, within 0.8 %, never above the largest one recorded.

        ``fractions`` rise within 0 to 1. The rank is the nearest: the smallest duration that at
        least this share does not exceed. Zeros when nothing was recorded.
        """
        buckets = self._buckets
        # whole blocks are added up in C: walking all buckets took ten times as long
        blocks = [sum(buckets[at : at + _BLOCK]) for at in range(0, _BUCKET_COUNT, _BLOCK)]
        total = sum(blocks)
        found: list[int] = []
        block, below_count = 0, 0
        for fraction in fractions:
            if not total:
                found.append(0)
                continue
            rank = max(1, -int(-fraction * total // 1))
            while below_count + blocks[block] < rank:
                below_count += blocks[block]
                block += 1
            bucket, reached = block * _BLOCK - 1, below_count
            while reached < rank:
                bucket += 1
                reached += buckets[bucket]
            found.append(min(_MIDDLES[bucket], self.max_ns))
        return tuple(found)

    def buckets(self) -> Buckets:
        """Return cumulative counts below each power of two; about 30 us, whatever was recorded."""
        counts: list[tuple[int, int]] = []
        below_count = total_ns = start = 0
        for bits in _COARSE_BITS:
            end = (bits - _EXACT_BITS) * _HALF_COUNT + 2 * _HALF_COUNT
            part = self._buckets[start:end]
            if found := sum(part):
                below_count += found
                total_ns += sum(map(mul, part, _MIDDLES[start:end]))
            counts.append(((1 << bits) - 1, below_count))
            start = end
        beyond = self._buckets[start:]
        if found := sum(beyond):
            below_count += found
            total_ns += sum(map(mul, beyond, _MIDDLES[start:]))
        return Buckets(reached=tuple(counts), number=below_count, total_ns=total_ns)

    def spread(self) -> list[tuple[int, int]]:
        """Return largest duration and count of each bar of a chart, four to a power of two.

        From the first bar that holds something to the last, gaps included; empty where nothing is.
        """
        step = _BLOCK // 4
        counts = [sum(self._buckets[at : at + step]) for at in range(0, _BUCKET_COUNT, step)]
        held = [place for place, count in enumerate(counts) if count]
        if not held:
            return []
        return [
            (_lowest((place + 1) * step) - 1, counts[place])
            for place in range(held[0], held[-1] + 1)
        ]

    def copy(self) -> Histogram:
        """Return another histogram with the same counts."""
        twin = Histogram()
        twin._buckets = self._buckets.copy()
        twin.max_ns = self.max_ns
        return twin

    def since(self, earlier: Histogram) -> Histogram:
        """Return what was recorded since ``earlier`` was copied; its largest is that of all."""
        recent = Histogram()
        recent._buckets = [a - b for a, b in zip(self._buckets, earlier._buckets, strict=True)]
        recent.max_ns = self.max_ns
        return recent

    def merge(self, other: Histogram) -> None:
        """Add the counts of another histogram to this one."""
        self._buckets = [a + b for a, b in zip(self._buckets, other._buckets, strict=True)]
        self.max_ns = max(self.max_ns, other.max_ns)

    def summary(self) -> StageSummary:
        """Return count, median, tail and maximum."""
        p50, p99, p999 = self.quantiles((0.5, 0.99, 0.999))
        return {"count": self.count, "p50": p50, "p99": p99, "p999": p999, "max": self.max_ns}


class Metrics:
    """One histogram per stage."""

    __slots__ = ("_histograms",)

    def __init__(self, stages: Iterable[str] = STAGES) -> None:
        """Make an empty histogram for every stage."""
        self._histograms = {stage: Histogram() for stage in stages}

    def record(self, stage: str, duration_ns: int) -> None:
        """Count one duration of a stage; an unknown stage is our own bug (KeyError)."""
        self._histograms[stage].record(duration_ns)

    def recorder(self, stage: str) -> Callable[[int], None]:
        """Return the recording function of one stage, for hot paths; KeyError when unknown."""
        return self._histograms[stage].record

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages there are, in the order of every report."""
        return tuple(self._histograms)

    def histogram(self, stage: str) -> Histogram:
        """Return one stage's histogram; KeyError when unknown."""
        return self._histograms[stage]

    def summary(self) -> dict[str, StageSummary]:
        """Return the summary of every stage, also of those where nothing was recorded."""
        return {stage: histogram.summary() for stage, histogram in self._histograms.items()}


def expose(family: Family) -> bytes:
    """Print one family in the text format 0.0.4 of Prometheus, heading included."""
    from prometheus_client import generate_latest
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    spec = family.spec
    metric: Metric
    if spec.kind == "histogram":
        metric = histogram = HistogramMetricFamily(spec.name, spec.sentence, labels=spec.labels)
        for labels, value in family.samples:
            assert isinstance(value, Buckets), "a histogram's samples are buckets"
            bounds = [(repr(bound_ns / _NS_PER_S), n) for bound_ns, n in value.reached]
            bounds.append(("+Inf", value.number))
            histogram.add_metric(labels, bounds, value.total_ns / _NS_PER_S)
    else:
        make = CounterMetricFamily if spec.kind == "counter" else GaugeMetricFamily
        metric = plain = make(spec.name, spec.sentence, labels=spec.labels)
        for labels, value in family.samples:
            assert not isinstance(value, Buckets), "only a histogram's samples are buckets"
            plain.add_metric(labels, value)
    return bytes(generate_latest(_Single(metric)))


def expose_process() -> Iterable[bytes]:
    """Print what the library knows of this process and interpreter: CPU, memory, files, GC."""
    from prometheus_client import GC_COLLECTOR, PROCESS_COLLECTOR, generate_latest

    for collector in (PROCESS_COLLECTOR, GC_COLLECTOR):
        yield bytes(generate_latest(collector))


class _Single:
    """The least a registry can be: one metric."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        """Return the metric."""
        return (self._metric,)
