"""Documented names of later releases: importable, and refused with a sentence when used."""

from __future__ import annotations

from typing import Any, NoReturn

from cifra_jobs.errors import NotYetBuilt

__all__ = ["chain", "chord", "group", "rate_limit", "scheduled_task", "task_monitor"]


def rate_limit(*_args: Any, **_options: Any) -> NoReturn:
    """Cluster-wide rate limits: not in this release.

    Raises:
        NotYetBuilt: always.
    """
    raise NotYetBuilt(
        "@rate_limit is not built yet; take it off, or limit the worker's concurrency"
    )


def scheduled_task(*_args: Any, **_options: Any) -> NoReturn:
    """Cron schedules: not in this release.

    Raises:
        NotYetBuilt: always.
    """
    raise NotYetBuilt("@scheduled_task is not built yet; send the task from cron meanwhile")


def chain(*_tasks: Any) -> NoReturn:
    """One after another: not in this release.

    Raises:
        NotYetBuilt: always.
    """
    raise NotYetBuilt("chain is not built yet; Dramatiq's message | message works")


def group(*_tasks: Any) -> NoReturn:
    """Side by side: not in this release.

    Raises:
        NotYetBuilt: always.
    """
    raise NotYetBuilt("group is not built yet; send_many and the handles' get() work")


def chord(*_arguments: Any) -> NoReturn:
    """A group and a join: not in this release.

    Raises:
        NotYetBuilt: always.
    """
    raise NotYetBuilt("chord is not built yet")


class _TaskMonitor:
    """Statistics and history: not in this release."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotYetBuilt(f"task_monitor.{name} is not built yet; TaskStatus.get(id) works")


task_monitor = _TaskMonitor()
