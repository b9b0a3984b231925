"""What was revoked of late: heard on the control channel, remembered for what has not started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from cifra_jobs.errors import StoreUnavailable, TaskRevoked
from cifra_jobs.jobs.outcome import Ended
from cifra_jobs.jobs.state import TaskState
from cifra_jobs.log import get_logger
from cifra_jobs.store.base import Get

if TYPE_CHECKING:
    from cifra_jobs.middleware.attempt import Attempt
    from cifra_jobs.runtime.worker import Worker
    from cifra_jobs.store.base import Subscription

__all__ = ["Revocations"]

log = get_logger(__name__)

#: Ids remembered; a claimed attempt waits for its slot for less than so many revokes.
_KEPT = 10_000


class Revocations:
    """Revoke signals for one worker. The flag itself is in the store, and is read at each claim."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        #: For attempts that were claimed before and have not started yet.
        self._ids: dict[str, None] = {}
        self._subscription: Subscription | None = None

    def open(self) -> None:
        """Begin to listen."""
        app = self._worker.app
        self._subscription = app.store.subscribe(
            app.control_channel, self._on_control, self._ask_what_was_missed
        )

    def close(self) -> None:
        """Listen no more."""
        if self._subscription is not None:
            self._subscription.close()

    def refusal_of(self, attempt: Attempt) -> Ended | None:
        """What ends a claimed attempt before its function is called."""
        if self._ids and attempt.message.message_id in self._ids:
            error = TaskRevoked("it was revoked before it started")
            return Ended(TaskState.REVOKED, error)
        return None

    def _on_control(self, payload: str) -> None:
        try:
            signal = orjson.loads(payload)
            ids = set(signal["revoke"])
            is_forced = bool(signal["terminate"])
        except (ValueError, KeyError, TypeError):
            log.warning("a control signal cannot be read", payload=payload[:200])
            return
        self._note(ids, is_forced=is_forced)

    def _ask_what_was_missed(self) -> None:
        """Signals were missed: look at the flags of all that is held here."""
        held = [
            each.attempt for each in self._worker.roster.all()
        ] + self._worker.dispatcher.waiting()
        ids = [attempt.message.message_id for attempt in held]

        def done(replies: Any) -> None:
            if not isinstance(replies, StoreUnavailable):
                revoked = {record.task_id for record in replies if record and record.revoked}
                self._note(revoked, is_forced=False)

        if ids:
            self._worker.app.commit.submit([Get(task_id) for task_id in ids], done)

    def _note(self, ids: set[str], *, is_forced: bool) -> None:
        self._ids.update(dict.fromkeys(ids))
        while len(self._ids) > _KEPT:
            del self._ids[next(iter(self._ids))]
        for running in self._worker.roster.all():
            if running.attempt.message.message_id in ids:
                running.is_cancelled = True
                if is_forced:
                    self._worker.interrupt(running, "revoked")
