"""Parts that hold a lock, a thread or a connection start afresh in a forked child."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["Renewable", "renew_after_fork"]


class Renewable(Protocol):
    """A part that can forget what a fork cannot carry over."""

    def renew(self) -> None:
        """Forget threads, locks, connections and queued work; called in the child, alone."""
        ...


_parts: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_after_fork(part: Renewable) -> None:
    """Have ``part.renew()`` called in every child forked from now on, as long as it lives."""
    _parts.add(part)


def _renew_all() -> None:
    for part in list(_parts):
        part.renew()


os.register_at_fork(after_in_child=_renew_all)
