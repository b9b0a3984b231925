"""Tasks that say ``self`` without declaring it, as the platform's documentation does."""
# ruff: noqa: F821
# mypy: disable-error-code="name-defined"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cifra_jobs import task


@task
async def in_async() -> str:
    await self.update_progress(10, "in async")
    return str(self.request.id)


@task
def in_thread() -> str:
    self.update_progress(10, "in a thread")
    return str(self.request.id)


@task
def in_nested_function() -> str:
    def inner() -> str:
        return str(self.request.id)

    return inner()


@task
def in_comprehension() -> list[Any]:
    return [self.request.id for _ in range(1)]


@task
def in_lambda() -> str:
    tell: Callable[[], Any] = lambda: self.request.id  # noqa: E731 - a lambda is the point
    return str(tell())
