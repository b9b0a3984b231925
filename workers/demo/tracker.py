"""Follows the sent tasks to their ends; it is told of each end and asks for none."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cifra_jobs import TaskHandle, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass
class Followed:
    """One sent task.

    Attributes:
        id: Its id.
        must_fail: Whether it was sent to fail for good.
        least_attempts: How many runs it must take at least.
        status: How it ended; ``None`` while it has not.
        progress: Percent done, as last asked for.
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
            return f"ended after {self.status.attempts} run, without the retry it was sent for"
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
        task = Followed(task_id, must_fail, least_attempts)
        self.kinds[name].tasks[task_id] = task
        await TaskHandle(task_id).wait()
        task.status = await TaskStatus.get(task_id)
        task.progress = 100
        return task.status

    async def refresh_progress(self, names: Iterable[str]) -> None:
        """Ask how far the running tasks of some names are, as a front end does."""
        for name in names:
            for task in self.kinds[name].tasks.values():
                if task.status is None:
                    status = await TaskStatus.get(task.id)
                    task.progress = max(task.progress, status.progress or 0)

    def problems(self) -> list[str]:
        """A sentence for every task that has not ended as it should."""
        return [
            f"{name} {task.id} {task.problem}."
            for name, kind in self.kinds.items()
            for task in kind.tasks.values()
            if task.problem
        ]
