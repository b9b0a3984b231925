"""Who runs in this worker: told to the store, shown to people, and asked to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cifra_jobs.clock import now_ms
from cifra_jobs.log import get_logger
from cifra_jobs.runtime.running import Running
from cifra_jobs.store.base import Progress, Started

if TYPE_CHECKING:
    from cifra_jobs.middleware.attempt import Attempt
    from cifra_jobs.runtime.worker import Worker
    from cifra_jobs.store.base import Operation

__all__ = ["Roster"]

log = get_logger(__name__)

#: Seconds after which a run that has not ended is told to the store as started: most no-ops have.
_ANNOUNCE_S = 0.005


class Roster:
    """The runs of one worker, from the call of their function to its end."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._running: dict[str, Running] = {}
        self._fresh: dict[str, Running] = {}
        self._is_announcing = False
        #: The last news of runs that have just ended, until settlement writes it.
        self._unwritten: dict[str, Progress] = {}

    def all(self) -> list[Running]:
        """The runs of this moment."""
        return list(self._running.values())

    def facts(self) -> list[dict[str, Any]]:
        """The attempts being run: task, id, since and last ``heartbeat()`` (ms since the epoch)."""
        return [
            {
                "task": each.attempt.message.actor_name,
                "id": each.attempt.message.message_id,
                "since": each.attempt.started_at,
                "heartbeat": each.beat_at,
            }
            for each in list(self._running.values())
        ]

    def begin(self, attempt: Attempt) -> Running:
        """An attempt's function is about to be called."""
        running = Running(attempt, self._worker)
        attempt.started_at = now_ms()
        self._running[attempt.token] = running
        self._fresh[attempt.token] = running
        if not self._is_announcing:
            self._is_announcing = True
            self._worker.timers.call_later(_ANNOUNCE_S, self._announce)
        return running

    def started(self, attempt: Attempt) -> Started:
        """What tells the store that an attempt runs, or is about to."""
        return Started(
            attempt.message.message_id,
            attempt.token,
            self._worker.worker_id,
            attempt.retries + 1,
            attempt.started_at or now_ms(),
        )

    def news_of(self, running: Running) -> list[Operation]:
        """What tells the store that a run has begun, unless it was told or is over."""
        attempt = running.attempt
        if self._fresh.pop(attempt.token, None) is None:
            return []
        log.info(
            "task state",
            task_id=attempt.message.message_id,
            task=attempt.message.actor_name,
            queue=attempt.delivery.queue,
            attempt=attempt.retries + 1,
            **{"from": "queued", "to": "running"},
        )
        return [self.started(attempt)]

    def end(self, running: Running) -> None:
        """The function has returned or raised."""
        token = running.attempt.token
        self._running.pop(token, None)
        self._fresh.pop(token, None)
        news = running.take_progress()
        if news is not None:
            self._unwritten[token] = news

    def last_progress(self, attempt: Attempt) -> Progress | None:
        """News that a run left unwritten: never dropped."""
        return self._unwritten.pop(attempt.token, None) if self._unwritten else None

    def _announce(self) -> None:
        """Tell the store of the runs that have begun and not ended yet."""
        self._is_announcing = False
        started = [op for running in list(self._fresh.values()) for op in self.news_of(running)]
        if started:
            self._worker.app.commit.submit(started)
