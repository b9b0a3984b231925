"""A module with a ``self`` of its own, which a task sees as it is."""

from __future__ import annotations

from cifra_jobs import task

self = "this module's own"


@task
def reads_own_self() -> str:
    return self
