"""The records of a `MemoryStore`, and when they go."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cifra_jobs.jobs.state import TaskRecord, TaskState

if TYPE_CHECKING:
    from cifra_jobs.clock import Clock

__all__ = ["Entry", "Shelf"]


@dataclass(slots=True)
class Entry:
    """A record and what is kept beside it."""

    task: TaskRecord
    expires_at: int
    #: False: the id was never sent, somebody only revoked or awaits it.
    is_known: bool = False
    round: int = 0
    #: Empty: nobody holds the task. ``None``: nobody ever did.
    token: str | None = None
    result_until: int = 0
    is_send_failed: bool = False
    is_staged: bool = False
    is_handed_over: bool = True
    deaths: int = 0
    replays: int = 0
    channels: list[str] = field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        """In a final state that no claim revives."""
        return self.is_known and self.task.is_terminal and not self.is_send_failed

    def is_held_by_another(self, token: str) -> bool:
        """Whether a token other than this one holds the task."""
        return bool(self.token) and self.token != token

    def revive(self, state: TaskState) -> None:
        """Make it known, and take a failed send back."""
        self.is_known = True
        self.task.state = state
        if self.is_send_failed:
            self.is_send_failed = False
            self.task.error = self.task.finished_at = None

    def reopen(self, replays: int) -> bool:
        """Open it again where its message was put back from the dead once more."""
        task = self.task
        if task.state not in {TaskState.FAILED, TaskState.EXPIRED} or replays <= self.replays:
            return False
        self.replays, self.deaths, self.is_staged = replays, 0, False
        task.state, task.error, task.result = TaskState.QUEUED, None, None
        task.attempts, task.started_at, task.finished_at = 0, None, None
        return True


class Shelf:
    """Entries by task id, each until its time.

    Args:
        clock: when they expire.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        #: (when, id): at least one item for each entry, not later than its end.
        self._due: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, task_id: str) -> Entry | None:
        """The entry of an id."""
        return self._entries.get(task_id)

    def take(self, task_id: str, ttl_ms: int) -> Entry:
        """The entry of an id; a new one lives for ``ttl_ms``."""
        entry = self._entries.get(task_id)
        if entry is None:
            blank = TaskRecord(task_id, TaskState.QUEUED)
            entry = self._entries[task_id] = Entry(blank, self._clock.now_ms() + ttl_ms)
            heapq.heappush(self._due, (entry.expires_at, task_id))
        return entry

    def live_on(self, entry: Entry, ttl_ms: int) -> None:
        """Let it live for ``ttl_ms`` from now."""
        until = self._clock.now_ms() + ttl_ms
        if until < entry.expires_at:
            heapq.heappush(self._due, (until, entry.task.task_id))
        entry.expires_at = until

    def forget_expired(self) -> None:
        """Drop the entries whose time is over."""
        now = self._clock.now_ms()
        while self._due and self._due[0][0] <= now:
            _, task_id = heapq.heappop(self._due)
            entry = self._entries.get(task_id)
            if entry is None:
                continue
            if entry.expires_at <= now:
                del self._entries[task_id]
            else:
                heapq.heappush(self._due, (entry.expires_at, task_id))
