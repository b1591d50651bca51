"""The token bucket: never more than burst plus rate times time, and the reserve is kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from risk.throttle import NANO, Throttle

START_NS = 1_700_000_000_000_000_000


@given(
    st.floats(0.1, 1000.0),
    st.integers(2, 50),
    st.lists(st.tuples(st.integers(-(10**9), 10**9), st.booleans()), max_size=120),
)
def test_no_span_holds_more_than_burst_and_rate(
    rate_per_s: float, burst: int, steps: list[tuple[int, bool]]
) -> None:
    """In every span the messages taken stay within the bucket, even when the clock runs back."""
    reserve = burst // 2
    throttle = Throttle.full(rate_per_s=rate_per_s, burst=burst, reserve=reserve, now_ns=START_NS)
    now_ns = latest_ns = START_NS
    taken_ns: list[int] = []
    for elapsed_ns, may_use_reserve in steps:
        now_ns += elapsed_ns
        latest_ns = max(latest_ns, now_ns)
        throttle = throttle.refill(now_ns)
        room = throttle.room(may_use_reserve=may_use_reserve)
        after = throttle.take(may_use_reserve=may_use_reserve)
        assert (after is None) == (room < 1.0)
        if after is not None:
            throttle = after
            taken_ns.append(latest_ns)
            assert may_use_reserve or throttle.level_nano >= reserve * NANO
        assert 0 <= throttle.level_nano <= burst * NANO
    for first, first_ns in enumerate(taken_ns):
        for last in range(first, len(taken_ns)):
            span_s = (taken_ns[last] - first_ns) / NANO
            assert last - first + 1 <= burst + rate_per_s * span_s + 1e-6


def test_time_refills_exactly() -> None:
    """At 10 messages a second an empty bucket holds one after 100 ms and none just before."""
    throttle = Throttle.full(rate_per_s=10.0, burst=1, reserve=0, now_ns=START_NS).spend()
    assert throttle.refill(START_NS + NANO // 10 - 1).take(may_use_reserve=False) is None
    assert throttle.refill(START_NS + NANO // 10).take(may_use_reserve=False) is not None


def test_new_limits_keep_the_level() -> None:
    """Changing limits never adds a token, and cuts a level above the new burst."""
    throttle = Throttle.full(rate_per_s=1.0, burst=10, reserve=2, now_ns=START_NS)
    assert throttle.limited(rate_per_s=1.0, burst=4, reserve=2).level_nano == 4 * NANO
    spent = throttle.spend().spend()
    assert spent.limited(rate_per_s=9.0, burst=99, reserve=2).level_nano == 8 * NANO
