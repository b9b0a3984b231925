"""Follows the sent tasks to their ends; it is told of each end and asks for none."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cifra_jobs import TaskHandle, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Followed:
    """One sent task.

    Attributes:
        id: Its id.
        must_fail: Whether it was sent to fail for good.
        least_attempts: How many runs it must take at least.
        status: How it ended; ``None`` while it has not.
        progress: Percent done, as last heard.
    """

    id: str
    must_fail: bool = False
    least_attempts: int = 1
    status: TaskStatus | None = None
    progress: float = 0

    @property
    def problem(self) -> str:
        """What is wrong with its end; empty when nothing is."""
        if self.status is None:
            return "has not ended"
        if self.must_fail != (self.status.status == "failed"):
            return f"ended as {self.status.state} ({self.status.error or 'without an error'})"
        if self.status.attempts < self.least_attempts:
            return f"ended after {self.status.attempts} of at least {self.least_attempts} runs"
        return ""


@dataclass
class Kind:
    """All tasks of one name.

    Attributes:
        total: How many there will be in all, as far as that is known beforehand.
    """

    total: int = 0
    tasks: dict[str, Followed] = field(default_factory=dict)

    @property
    def ended(self) -> list[Followed]:
        """Those that have ended."""
        return [task for task in self.tasks.values() if task.status is not None]


class Tracker:
    """Keeps what is known of every sent task, by task name."""

    def __init__(self, totals: dict[str, int]) -> None:
        """Begin with how many tasks of each name there will be."""
        self.kinds: defaultdict[str, Kind] = defaultdict(Kind)
        for name, total in totals.items():
            self.kinds[name].total = total

    async def follow(
        self, name: str, task_id: str, *, must_fail: bool = False, least_attempts: int = 1
    ) -> TaskStatus:
        """Wait for the end of one task."""
        task = self._begin(name, Followed(task_id, must_fail, least_attempts))
        await TaskHandle[object](task_id).wait()
        return self._end(task, await TaskStatus.get(task_id))

    async def follow_closely(
        self,
        name: str,
        task_id: str,
        *,
        must_fail: bool = False,
        least_attempts: int = 1,
        on_news: Callable[[TaskStatus], None] | None = None,
    ) -> TaskStatus:
        """Wait for the end of one task, and hear of every change on the way."""
        task = self._begin(name, Followed(task_id, must_fail, least_attempts))
        async for status in TaskHandle[object](task_id).follow():
            task.progress = status.progress
            if on_news is not None:
                on_news(status)
        return self._end(task, await TaskStatus.get(task_id))

    def problems(self) -> list[str]:
        """A sentence for every task that has not ended as it should."""
        return [
            f"{name} {task.id} {task.problem}."
            for name, kind in self.kinds.items()
            for task in kind.tasks.values()
            if task.problem
        ]

    def _begin(self, name: str, task: Followed) -> Followed:
        self.kinds[name].tasks[task.id] = task
        return task

    def _end(self, task: Followed, status: TaskStatus) -> TaskStatus:
        task.status = status
        task.progress = 100
        return status
