"""Assertions about what happens in other threads and processes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from cifra_jobs.clock import system_clock

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["eventually"]

T = TypeVar("T")

#: Seconds between two looks: short at first, for what is nearly there.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.1


def eventually(predicate: Callable[[], T], timeout: float = 5.0, message: str = "") -> T:
    """Wait until ``predicate()`` is true, and return what it returned.

    For facts that announce themselves to nobody, such as a counter of a server; where there is
    an event, a future or a condition, wait on that.

    Args:
        predicate: called again and again, with short pauses. An ``AssertionError`` of it counts
            as false, and is the cause of ours at the end.
        timeout: seconds.
        message: what was hoped for, for the failure.

    Raises:
        AssertionError: it did not become true in time; with the last value seen.
    """
    deadline = system_clock.monotonic() + timeout
    pause = _FIRST_PAUSE
    while True:
        cause: AssertionError | None = None
        seen: object = None
        try:
            value = predicate()
        except AssertionError as error:
            cause = error
        else:
            if value:
                return value
            seen = value
        if system_clock.monotonic() >= deadline:
            hope = message or getattr(predicate, "__name__", "the predicate")
            raise AssertionError(
                f"not within {timeout:g} s: {hope} (last seen: {seen!r})"
            ) from cause
        time.sleep(pause)  # noqa: TID251 - the one place that may: see the docstring
        pause = min(pause * 2, _LONGEST_PAUSE)
