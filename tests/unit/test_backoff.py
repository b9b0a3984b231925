"""How long to wait before trying again."""

from __future__ import annotations

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from cifra_jobs.backoff import exponential, reconnect_delays

SECONDS = st.floats(0, 1e9)


@given(st.integers(0, 10_000), SECONDS, SECONDS)
def test_a_delay_doubles_up_to_its_cap(n: int, base: float, cap: float) -> None:
    delay = exponential(n, base=base, cap=cap)
    assert 0 <= delay <= cap
    if n < 60:
        assert delay == min(cap, base * 2**n)
    assert exponential(n + 1, base=base, cap=cap) >= delay


@given(st.integers(0, 10_000), SECONDS, SECONDS)
def test_jitter_stays_within_the_delay(n: int, base: float, cap: float) -> None:
    assert (
        0 <= exponential(n, base=base, cap=cap, jitter=True) <= exponential(n, base=base, cap=cap)
    )


def test_the_documented_delays() -> None:
    assert [exponential(n, base=60, cap=600) for n in range(5)] == [60, 120, 240, 480, 600]


def test_jitter_uses_the_whole_range() -> None:
    drawn = [exponential(0, base=1, cap=1, jitter=True) for _ in range(300)]
    assert min(drawn) < 0.1
    assert max(drawn) > 0.9


def test_reconnects_never_end_and_never_hurry() -> None:
    delays = list(islice(reconnect_delays(0.1, 5), 100))
    assert 0.05 <= delays[0] <= 0.1
    assert all(2.5 <= delay <= 5 for delay in delays[10:])
