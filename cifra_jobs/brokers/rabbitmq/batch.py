"""Publications that were handed in together, and what became of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cifra_jobs.clock import system_clock
from cifra_jobs.errors import BrokerError
from cifra_jobs.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cifra_jobs.brokers.base import Publication

__all__ = ["Batch"]

_log = get_logger(__name__)

#: Stands where no fate is known yet.
_OPEN: Final = BrokerError("open")


class Batch:
    """Some publications, a deadline, and whom to tell.

    Args:
        publications: what to publish.
        done: is called once, with one entry for each publication.
        timeout_s: how long may be tried.
    """

    __slots__ = (
        "_done",
        "_results",
        "deadline",
        "is_over",
        "publications",
        "refusals",
        "remaining",
        "repaired",
        "strangers",
    )

    def __init__(
        self,
        publications: Sequence[Publication],
        done: Callable[[list[BrokerError | None]], None],
        timeout_s: float,
    ) -> None:
        self.publications = publications
        self.deadline = system_clock.monotonic() + timeout_s
        self.remaining = len(publications)
        #: Queues that must be seen to exist before anything is sent.
        self.strangers: set[str] = set()
        self.is_over = False
        #: How often messages of it were refused: each time is waited longer for.
        self.refusals = 0
        #: Messages whose queue had vanished, and was declared again for them.
        self.repaired: set[int] = set()
        self._done = done
        self._results: list[BrokerError | None] = [_OPEN] * len(publications)

    def is_open(self, index: int) -> bool:
        """Whether nothing is known of this publication yet."""
        return self._results[index] is _OPEN

    def settle(self, index: int, error: BrokerError | None = None) -> bool:
        """The fate of one publication; whether the batch is complete with it."""
        if self._results[index] is _OPEN:
            self._results[index] = error
            self.remaining -= 1
        return not self.remaining

    def finish(self, otherwise: BrokerError | None = None) -> None:
        """Tell the fates, once; ``otherwise`` is that of those which have none."""
        if self.is_over:
            return
        self.is_over = True
        results = [otherwise if each is _OPEN else each for each in self._results]
        try:
            self._done(results)
        except Exception:  # noqa: BLE001 - it is the caller's, and the thread is everybody's
            _log.exception("the callback of a publish failed")
