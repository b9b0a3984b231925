"""The task being run now: `current_task`, in async tasks and in threads alike."""

from __future__ import annotations

import math
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from cifra_jobs.errors import CifraError, TaskRetry

if TYPE_CHECKING:
    from collections.abc import Generator
    from concurrent.futures import Future
    from contextlib import AbstractContextManager
    from datetime import datetime

__all__ = ["CurrentTask", "Done", "Request", "Run", "bound_run", "current_task"]


@dataclass(slots=True, frozen=True)
class Request:
    """Facts of the run.

    Attributes:
        id: the task's id.
        retries: retries used before this run; 0 on the first.
        enqueued_at: when it was first sent, UTC.
        root_id: id of the task at the root of the tree of sends.
        parent_id: id of the task that sent this one.
        worker: name of the worker process.
        is_redelivered: whether RabbitMQ gave it to a worker before.
    """

    id: str
    task: str
    retries: int
    queue: str
    priority: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    headers: dict[str, Any]
    enqueued_at: datetime
    root_id: str
    parent_id: str | None
    worker: str
    is_redelivered: bool


class Run(Protocol):
    """One run, as the executor keeps it."""

    @property
    def request(self) -> Request:
        """Facts of the run."""
        ...

    @property
    def context(self) -> Any:
        """What the worker's lifespan hooks opened."""
        ...

    @property
    def is_cancelled(self) -> bool:
        """Whether the task was revoked, or its worker must stop now."""
        ...

    def progress(
        self,
        percent: float | None,
        message: str | None,
        stage: str | None,
        meta: dict[str, Any] | None,
    ) -> None:
        """Take news of the task; written soon, coalesced."""
        ...

    def beat(self) -> None:
        """Note that the task is alive."""
        ...

    def lent(self, waiting: Future[Any], *, is_async: bool) -> AbstractContextManager[None]:
        """Lend the slot of this run while it waits for another task.

        Whoever interrupts the run cancels ``waiting``.

        Raises:
            WouldDeadlock: a thread waits, and every slot that could free is held by a waiter.
        """
        ...


bound_run: ContextVar[Run | None] = ContextVar("cifra_current_run", default=None)


class Done:
    """Already done; may be awaited, so that one call reads well in async and plain code."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        """Return at once."""
        return
        yield


_DONE = Done()


class CurrentTask:
    """The task being run here and now; the same object everywhere, context-local inside.

    Raises:
        CifraError: any use of it outside of a running task.
    """

    __slots__ = ()

    @property
    def request(self) -> Request:
        """Facts of the run: id, retries, queue, priority, arguments and more."""
        return self._run().request

    @property
    def context(self) -> Any:
        """The merged dict of what the worker's lifespan hooks opened."""
        return self._run().context

    def update_progress(
        self, percent: float | None = None, message: str | None = None, **meta: Any
    ) -> Done:
        """Tell how far the task is; costs no round trip.

        Coalesced to at most 10 writes a second; the last is never dropped.

        Args:
            percent: 0..100; outside values are clamped.
            message: one line for people.
            **meta: more facts, kept beside it.

        Raises:
            TypeError: the message is no text.
            ValueError: the percentage is not a number.
        """
        if not isinstance(message, str | None):
            raise TypeError(f"message={message!r} must be one line of text")
        if percent is not None:
            if math.isnan(percent):
                raise ValueError("percent is not a number (NaN)")
            percent = min(100.0, max(0.0, float(percent)))
        self._run().progress(percent, message, None, meta or None)
        return _DONE

    def update_state(
        self,
        stage: str | None = None,
        meta: dict[str, Any] | None = None,
        *,
        state: str | None = None,
        **more: Any,
    ) -> Done:
        """Name the stage that the task is at, shown as ``.stage``; the status stays ``running``.

        Args:
            stage: a word of the task's own, such as ``"VALIDATING"``.
            meta: facts kept beside it.
            **more: more of them.
            state: Celery's word for ``stage``.
        """
        self._run().progress(None, None, stage or state, {**(meta or {}), **more} or None)
        return _DONE

    def retry(
        self,
        delay: float | timedelta | None = None,
        exc: BaseException | None = None,
        *,
        countdown: float | None = None,
    ) -> NoReturn:
        """Run again later; an attempt is used.

        Args:
            delay: seconds or ``timedelta``; the task's back-off when not given.
            exc: what made it needed; the task's error once the budget is used up.
            countdown: Celery's word for ``delay``.

        Raises:
            TaskRetry: always.
        """
        self._run()
        raise TaskRetry(delay=delay, countdown=countdown, exc=exc) from exc

    def is_cancelled(self) -> bool:
        """Whether the task was revoked: a long loop should look now and then, and return."""
        return self._run().is_cancelled

    def heartbeat(self) -> Done:
        """Tell that a long task is alive."""
        self._run().beat()
        return _DONE

    def _run(self) -> Run:
        run = bound_run.get()
        if run is None:
            raise CifraError("current_task is known only inside a running task")
        return run

    def __repr__(self) -> str:
        run = bound_run.get()
        return "<current_task: none>" if run is None else f"<current_task: {run.request.id}>"


current_task = CurrentTask()
