"""How much one worker process may do before a fresh one takes its place."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from cifra_jobs.log import get_logger
from cifra_jobs.runtime.heartbeat import resident_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.runtime.children import ChildSpec

__all__ = ["Share"]

_log = get_logger("cifra.process")

#: Seconds between two requests for a successor.
_ASK_AGAIN_S = 30.0
#: The part of its tasks after which a process has its successor booted.
_NEARLY_DONE = 0.9


class Share:
    """The tasks and the memory that a process may use up.

    The end at ``max_tasks`` itself is the worker's, which counts as it runs.

    Args:
        spec: the limits, and whether a successor must have booted first.
        drain: ends the process once its running tasks are done.
        ask: asks the supervisor for a successor; told whether this process waits for it to end.
    """

    def __init__(
        self, spec: ChildSpec, *, drain: Callable[[], object], ask: Callable[[bool], object]
    ) -> None:
        self._spec = spec
        self._drain = drain
        self._ask = ask
        self._weighed_at = 0
        self._asked_at: float | None = None

    def look(self, done: int) -> None:
        """Compare with what was done so far; memory is weighed after tasks alone."""
        spec = self._spec
        if spec.is_replaced_early and spec.max_tasks and done >= _NEARLY_DONE * spec.max_tasks:
            self._ask_again(is_waiting=False)
        if spec.max_memory is None or done == self._weighed_at:
            return
        self._weighed_at = done
        weight = resident_bytes()
        if weight <= spec.max_memory:
            return
        _log.info("over max_memory_per_child: to be replaced", rss=weight, limit=spec.max_memory)
        if spec.is_replaced_early:
            self._ask_again(is_waiting=True)
        else:
            self._drain()

    def _ask_again(self, *, is_waiting: bool) -> None:
        now = monotonic()
        if self._asked_at is None or now - self._asked_at > _ASK_AGAIN_S:
            self._asked_at = now
            self._ask(is_waiting)
