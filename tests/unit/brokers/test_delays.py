import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifra_jobs.brokers.rabbitmq import delays


def matches(pattern: str, key: str) -> bool:
    """A topic exchange's rule: ``*`` is one word, ``#`` at the end is any number of them."""
    expression = re.escape(pattern).replace(r"\*", r"[^.]+").replace(r"\.\#", r"(\..*)?")
    return re.fullmatch(expression, key) is not None


def travel(level: int, key: str) -> list[int]:
    """The levels whose queues hold the message, in order, until it is delivered."""
    held: list[int] = []
    exchange: int | None = level
    while exchange is not None:
        targets = [t for t, pattern in delays.bindings(exchange) if matches(pattern, key)]
        assert len(targets) == 1, (exchange, key, targets)
        if targets[0] is None:
            break
        held.append(targets[0])
        exchange = targets[0] - 1 if targets[0] else None
    return held


@given(st.integers(1, delays.MAX_DELAY_MS))
def test_a_delay_is_held_for_exactly_its_milliseconds(delay_ms: int) -> None:
    level, key = delays.route("default", delay_ms)
    assert sum(delays.hold_ms(each) for each in travel(level, key)) == delay_ms


@given(st.integers(1, delays.MAX_DELAY_MS))
def test_rounding_is_up_by_less_than_a_hundredth_and_leaves_few_hops(delay_ms: int) -> None:
    level, key = delays.route("default", delay_ms, is_roundable=True)
    hops = travel(level, key)
    held_ms = sum(delays.hold_ms(each) for each in hops)
    assert held_ms >= delay_ms or held_ms == delays.MAX_DELAY_MS
    assert held_ms - delay_ms <= delay_ms / 128
    assert len(hops) <= 8 or held_ms == delays.MAX_DELAY_MS


@pytest.mark.parametrize(
    ("delay_ms", "route"),
    [
        (1, (0, "q.1")),
        (2, (1, "q.0.1")),
        (1500, (10, "q.0.0.1.1.1.0.1.1.1.0.1")),
        (delays.MAX_DELAY_MS, (27, "q" + ".1" * 28)),
        (delays.MAX_DELAY_MS + 1, (27, "q" + ".1" * 28)),
        (10**12, (27, "q" + ".1" * 28)),
    ],
)
def test_a_delay_enters_at_its_highest_bit(delay_ms: int, route: tuple[int, str]) -> None:
    assert delays.route("q", delay_ms) == route


@pytest.mark.parametrize(
    ("delay_ms", "rounded"), [(1, 1), (255, 255), (257, 258), (1001, 1004), (60_001, 60_160)]
)
def test_a_roundable_delay_keeps_eight_significant_bits(delay_ms: int, rounded: int) -> None:
    assert delays.round_up(delay_ms) == rounded


def test_a_delay_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 ms, not 0"):
        delays.route("q", 0)


def test_a_queue_whose_name_ends_like_another_gets_only_its_own() -> None:
    assert not matches("default.#", delays.route("a_default", 5)[1])
    assert matches("default.#", delays.route("default", 5)[1])
