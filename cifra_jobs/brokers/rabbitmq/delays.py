"""The ladder of delays: a number of milliseconds becomes a level and a routing key.

Level *k* is a queue that holds for 2^k ms and dead-letters onward. The routing key spells the
delay in binary, least significant bit first and cut off at the highest set bit:
``<queue>.<b0>.<b1>…<btop>``. A message enters at the level of its highest set bit; each exchange
is bound so that it goes straight on to the next set bit below, and from the last one to the
delivery exchange. So a delay costs one hop for each set bit, and is never early.
"""

from __future__ import annotations

__all__ = ["LEVEL_COUNT", "MAX_DELAY_MS", "bindings", "hold_ms", "round_up", "route"]

#: 2^28 ms are 74.6 hours; beyond that the worker sends the remainder on again.
LEVEL_COUNT = 28

#: The longest delay that the ladder can hold, in milliseconds.
MAX_DELAY_MS = 2**LEVEL_COUNT - 1

#: Rounding up to so many bits adds less than 1/128 to a delay and leaves at most 8 hops.
_SIGNIFICANT_BITS = 8


def round_up(delay_ms: int) -> int:
    """The delay rounded up to 8 significant bits: at most 0.8 % longer, and far fewer hops."""
    shift = max(0, delay_ms.bit_length() - _SIGNIFICANT_BITS)
    return -(-delay_ms >> shift) << shift


def route(queue: str, delay_ms: int, *, is_roundable: bool = False) -> tuple[int, str]:
    """Where a delayed message enters the ladder.

    Args:
        queue: short name of the queue that gets the message at the end.
        delay_ms: at least 1; what is over `MAX_DELAY_MS` is held for `MAX_DELAY_MS`.
        is_roundable: whether the delay may be made a little longer to save hops.

    Returns:
        The level to publish to, and the routing key.

    Raises:
        ValueError: the delay is not positive.
    """
    if delay_ms <= 0:
        raise ValueError(f"a delay must be at least 1 ms, not {delay_ms}")
    held_ms = min(round_up(delay_ms) if is_roundable else delay_ms, MAX_DELAY_MS)
    bits = f"{held_ms:b}"
    return len(bits) - 1, f"{queue}.{'.'.join(reversed(bits))}"


def hold_ms(level: int) -> int:
    """How long a message stays in the queue of this level."""
    return 1 << level


def bindings(level: int) -> list[tuple[int | None, str]]:
    """The bindings of a level's topic exchange.

    Returns:
        Pairs of target and pattern; the target is a level whose queue is to hold the message, or
        ``None`` for the delivery exchange.
    """
    pairs: list[tuple[int | None, str]] = [
        (lower, f"*.{'*.' * lower}1{'.0' * (level - lower)}.#") for lower in range(level + 1)
    ]
    pairs.append((None, f"*{'.0' * (level + 1)}.#"))
    return pairs
