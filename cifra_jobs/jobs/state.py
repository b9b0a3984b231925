"""The states of a task, the legal arrows between them, and the record that is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = [
    "ARROWS",
    "FINAL_STATES",
    "TaskRecord",
    "TaskState",
    "can_move",
    "status_of",
]


class TaskState(StrEnum):
    """The fine state of a task; ``status_of`` gives the four-word status."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SNOOZED = "snoozed"
    SUCCESS = "success"
    FAILED = "failed"
    EXPIRED = "expired"
    REVOKED = "revoked"
    SKIPPED = "skipped"


FINAL_STATES = frozenset(
    {
        TaskState.SUCCESS,
        TaskState.FAILED,
        TaskState.EXPIRED,
        TaskState.REVOKED,
        TaskState.SKIPPED,
    }
)

_WAITING = frozenset({TaskState.SCHEDULED, TaskState.QUEUED, TaskState.RETRYING, TaskState.SNOOZED})

#: From each state, the states that may follow. A final state has no arrows: a late duplicate
#: never turns ``success`` back into ``running``; only putting a dead letter back opens a task that
#: had failed or expired, as a new life of the record. A waiting task may reach any final state
#: without a recorded run: its ``running`` may have been lost with Redis or saved as one write.
ARROWS: dict[TaskState, frozenset[TaskState]] = {
    **{
        waiting: frozenset({TaskState.QUEUED, TaskState.RUNNING, TaskState.RETRYING})
        | {TaskState.SNOOZED}
        | FINAL_STATES
        for waiting in _WAITING
    },
    # running -> running: another worker took over after the first one died.
    TaskState.RUNNING: frozenset(
        {TaskState.RUNNING, TaskState.QUEUED, TaskState.RETRYING, TaskState.SNOOZED}
    )
    | FINAL_STATES,
    **{final: frozenset() for final in FINAL_STATES},
}

_STATUS = {
    **dict.fromkeys(_WAITING, "pending"),
    TaskState.RUNNING: "running",
    TaskState.SUCCESS: "success",
    **dict.fromkeys(FINAL_STATES - {TaskState.SUCCESS}, "failed"),
}


def can_move(current: TaskState | None, target: TaskState) -> bool:
    """Whether a task in ``current`` (``None``: no record) may become ``target``."""
    return current is None or target in ARROWS[current]


def status_of(state: TaskState | str) -> str:
    """The status word of a state: ``pending``, ``running``, ``success`` or ``failed``."""
    return _STATUS[TaskState(state)]


@dataclass(slots=True)
class TaskRecord:
    """What the store remembers of one task. Times are milliseconds since the epoch.

    ``result`` and ``error`` are JSON text as written by the codec, so that reading a status never
    builds a user's objects.
    """

    task_id: str
    state: TaskState
    task_name: str = ""
    queue: str = ""
    priority: int | None = None
    #: Runs that were started.
    attempts: int = 0
    created_at: int | None = None
    #: When it is due, for a delayed task.
    eta: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    worker: str | None = None
    progress: float = 0.0
    message: str | None = None
    stage: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    result: str | None = None
    #: True once a stored result has passed its TTL.
    result_expired: bool = False
    #: JSON: {"type", "message", "traceback", ...}; see ``jobs/failure.py``.
    error: str | None = None
    root_id: str | None = None
    parent_id: str | None = None
    revoked: bool = False

    @property
    def is_terminal(self) -> bool:
        """Whether the task has ended."""
        return self.state in FINAL_STATES
