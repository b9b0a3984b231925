"""A free ``self`` under another decorator, whose module is another one."""
# ruff: noqa: F821
# mypy: disable-error-code="name-defined"

from __future__ import annotations

from cifra_jobs import task
from tests.contract.loading import logged_calls


@task
@logged_calls
async def under_a_decorator() -> str:
    await self.update_progress(10, "wrapped")
    return str(self.request.id)
