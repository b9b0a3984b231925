"""How long to wait before trying again: pure functions, no clock."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["exponential", "reconnect_delays"]

#: 2**n past this exponent only overflows floats; every cap is reached long before.
_MAX_EXPONENT = 62


def exponential(n: int, *, base: float, cap: float, jitter: bool = False) -> float:
    """Delay of retry ``n`` (0-based): ``base * 2**n``, at most ``cap``; any unit.

    Args:
        n: how many retries came before.
        base: delay of the first retry.
        cap: upper bound of the delay.
        jitter: full jitter: uniform between 0 and the delay, so that a crowd spreads out.
    """
    delay: float = min(cap, base * 2 ** min(n, _MAX_EXPONENT))
    return random.uniform(0, delay) if jitter else delay  # noqa: S311 - spreads load, hides nothing


def reconnect_delays(first: float = 0.1, cap: float = 5.0) -> Iterator[float]:
    """Seconds to wait between attempts to reconnect: doubling, half of it jittered, endless."""
    n = 0
    while True:
        delay = exponential(n, base=first, cap=cap)
        yield delay / 2 + random.uniform(0, delay / 2)  # noqa: S311 - spreads load
        n += 1
