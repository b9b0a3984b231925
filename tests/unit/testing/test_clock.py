from datetime import timedelta

import pytest

from cifra_jobs.testing import FakeClock


def test_time_passes_only_by_jumps() -> None:
    clock = FakeClock(start_ms=1_000)
    before = clock.monotonic()
    clock.jump(1.5)
    clock.jump(timedelta(minutes=1))
    assert clock.now_ms() == 62_500
    assert clock.monotonic() - before == 61.5


def test_a_jump_wakes_those_who_watch() -> None:
    clock = FakeClock()
    seen: list[float] = []
    clock.on_jump(lambda: seen.append(clock.monotonic()))
    clock.jump(5)
    assert seen == [5]


def test_a_clock_does_not_jump_back() -> None:
    with pytest.raises(ValueError, match="back"):
        FakeClock().jump(-1)
