"""One task's way through a store, with few words."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from cifra_jobs.clock import now_ms
from cifra_jobs.jobs.state import TaskRecord, TaskState
from cifra_jobs.store.base import (
    Beat,
    Claim,
    ClaimReply,
    Created,
    Finish,
    Get,
    Progress,
    Release,
    Reply,
    Revoke,
    SendFailed,
    Stage,
    Started,
    Watch,
)

if TYPE_CHECKING:
    from cifra_jobs.store.base import Operation, StateStore

__all__ = ["Story"]

_HOUR_MS = 3_600_000
#: The token of the first attempt.
FIRST = "t1"


class Story:
    """Commits operations about one task; each method returns the reply.

    Args:
        store: the make under test.
    """

    def __init__(self, store: StateStore) -> None:
        self.store = store
        self.id = str(uuid.uuid4())
        self.now = now_ms()

    def do(self, operation: Operation) -> Reply:
        """Commit one operation."""
        (reply,) = self.store.commit([operation])
        return reply

    def created(self, state: TaskState = TaskState.QUEUED, **changes: Any) -> Reply:
        """The task is about to be published."""
        operation = Created(
            self.id, "mails.send", "default", state, 5, self.now, None, None, None, _HOUR_MS
        )
        return self.do(operation._replace(**changes))

    def send_failed(self) -> Reply:
        """Its publish was not confirmed."""
        return self.do(SendFailed(self.id, '{"type":"BrokerUnavailable"}', self.now + 1))

    def claim(
        self, token: str = FIRST, task_round: int = 0, worker: str = "w1", replays: int = 0
    ) -> ClaimReply:
        """A worker asks for it."""
        reply = self.do(
            Claim(
                self.id,
                task_round,
                token,
                worker,
                "mails.send",
                "default",
                self.now,
                self.now,
                _HOUR_MS,
                replays,
            )
        )
        assert isinstance(reply, ClaimReply)
        return reply

    def started(self, token: str = FIRST, attempts: int = 1) -> Reply:
        """It runs."""
        return self.do(Started(self.id, token, "w1", attempts, self.now + 2))

    def progress(self, token: str = FIRST, percent: float | None = 50.0) -> Reply:
        """It says how far it is."""
        return self.do(Progress(self.id, token, percent, 'half "way"', "READING", '{"rows":[]}'))

    def stage(self, token: str = FIRST, result: str = '"staged"') -> Reply:
        """Its result is stored before its follow-ups are sent."""
        return self.do(Stage(self.id, token, result, _HOUR_MS))

    def finish(
        self, token: str = FIRST, state: TaskState = TaskState.SUCCESS, **changes: Any
    ) -> Reply:
        """An attempt of it ended."""
        operation = Finish(
            task_id=self.id,
            token=token,
            state=state,
            round=0,
            task_name="mails.send",
            queue="default",
            worker="w1",
            attempts=1,
            created_at=self.now,
            started_at=self.now + 2,
            now=self.now + 3,
            eta=None,
            result=None,
            result_ttl_ms=_HOUR_MS,
            error=None,
            handed_over=True,
            ttl_ms=_HOUR_MS,
        )
        return self.do(operation._replace(**changes))

    def release(self, token: str = FIRST) -> Reply:
        """Its worker gives it back unrun."""
        return self.do(Release(self.id, token))

    def revoke(self) -> Reply:
        """Somebody cancels it."""
        return self.do(Revoke(self.id, self.now + 4, '{"type":"TaskRevoked"}'))

    def beat(self, worker: str = "w1", ttl_ms: int = _HOUR_MS) -> Reply:
        """A worker is alive."""
        return self.do(Beat(worker, '{"pid":1}', ttl_ms))

    def watch(self, channel: str) -> Reply:
        """Somebody asks for its news."""
        return self.do(Watch(self.id, channel))

    def look(self) -> TaskRecord | None:
        """What the store knows of it."""
        reply = self.do(Get(self.id))
        assert reply is None or isinstance(reply, TaskRecord)
        return reply

    @property
    def record(self) -> TaskRecord:
        """What the store knows of it, which must be something."""
        record = self.look()
        assert record is not None, "the store knows nothing of the task"
        return record

    @property
    def state(self) -> TaskState:
        """The state that the store has for it."""
        return self.record.state
