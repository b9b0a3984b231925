"""`Running`: one attempt while it runs, as task code (`current_task`) and the worker see it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cifra_jobs import codec
from cifra_jobs.clock import now_ms, system_clock
from cifra_jobs.jobs.current import Request
from cifra_jobs.store.base import Progress

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator
    from concurrent.futures import Future

    from cifra_jobs.middleware.attempt import Attempt
    from cifra_jobs.runtime.worker import Worker

__all__ = ["Running"]

#: Seconds between two writes of a task's progress: at most ten a second.
_PROGRESS_S = 0.1


class Running:
    """One attempt while it runs.

    Attributes:
        stop_reason: why it was told to stop: ``timeout``, ``revoked`` or ``shutdown``.
        beat_at: when the task last called ``heartbeat()``, ms since the epoch.
        asyncio_task: what runs it in the event loop.
        waits_for: what a thread of it is blocked for; cancelled to interrupt it.
        thread_id: the thread that runs its function, while it does.
        wait_count: other tasks that it waits for right now.
        lock: held to interrupt that thread, so that only the right code is hit.
    """

    __slots__ = (
        "_is_planned",
        "_news",
        "_request",
        "_written_at",
        "asyncio_task",
        "attempt",
        "beat_at",
        "is_cancelled",
        "is_soft_due",
        "lock",
        "stop_reason",
        "thread_id",
        "wait_count",
        "waits_for",
        "worker",
    )

    def __init__(self, attempt: Attempt, worker: Worker) -> None:
        self.attempt = attempt
        self.worker = worker
        self.stop_reason: str | None = None
        self.beat_at: int | None = None
        self.is_cancelled = False
        self.is_soft_due = False
        self.wait_count = 0
        self.waits_for: Future[Any] | None = None
        self.asyncio_task: asyncio.Task[None] | None = None
        self.thread_id: int | None = None
        self.lock: threading.Lock | None = None
        self._request: Request | None = None
        self._news: Progress | None = None
        self._written_at = 0.0
        self._is_planned = False

    @property
    def request(self) -> Request:
        """Facts of the run, put together when they are first asked for."""
        if self._request is None:
            attempt, message = self.attempt, self.attempt.message
            options = message.options
            self._request = Request(
                id=message.message_id,
                task=message.actor_name,
                retries=attempt.retries,
                queue=attempt.delivery.queue,
                priority=attempt.delivery.priority,
                args=message.args,
                kwargs=message.kwargs,
                headers=options.get("headers", {}),
                enqueued_at=datetime.fromtimestamp(message.message_timestamp / 1000, UTC),
                root_id=options.get("root_id", message.message_id),
                parent_id=options.get("parent_id"),
                worker=self.worker.name,
                is_redelivered=attempt.delivery.is_redelivered,
            )
        return self._request

    @property
    def context(self) -> Any:
        """What the worker's lifespan hooks opened."""
        return self.worker.context

    def progress(
        self,
        percent: float | None,
        message: str | None,
        stage: str | None,
        meta: dict[str, Any] | None,
    ) -> None:
        """Take news; the first is written at once, more of it after a tenth of a second."""
        # Outside the store: a value that cannot be told is the caller's mistake.
        packed = None if meta is None else codec.dumps(codec.pack(meta, "meta"), "meta").decode()
        before = self._news
        news = Progress(
            self.attempt.message.message_id,
            self.attempt.token,
            percent if percent is not None or before is None else before.progress,
            message if message is not None or before is None else before.message,
            stage if stage is not None or before is None else before.stage,
            packed if packed is not None or before is None else before.meta,
        )
        self._news = news
        if self._is_planned:
            return
        self._is_planned = True
        wait = self._written_at + _PROGRESS_S - system_clock.monotonic()
        if wait <= 0:
            self.write_progress()
        else:
            self.worker.timers.call_later(wait, self.write_progress)

    def write_progress(self) -> None:
        """Hand the latest news to the store, if there is any."""
        # First: news that come from here on plan their own writing.
        self._is_planned = False
        news = self.take_progress()
        if news is not None:
            self._written_at = system_clock.monotonic()
            # A task that tells its progress is seen to run.
            self.worker.app.commit.submit([*self.worker.roster.news_of(self), news])

    def take_progress(self) -> Progress | None:
        """The news not yet written, for whoever writes it with something else."""
        news, self._news = self._news, None
        return news

    def beat(self) -> None:
        """Note that the task is alive: shown beside it wherever running tasks are."""
        self.beat_at = now_ms()

    @contextmanager
    def lent(self, waiting: Future[Any], *, is_async: bool) -> Iterator[None]:
        """Lend the slot, and prefetch credit, while the run waits for another task."""
        self.worker.lending.lend(self, is_async=is_async)
        self.waits_for = waiting
        try:
            yield
        finally:
            self.waits_for = None
            self.worker.lending.reclaim(self)
