"""A message that was confirmed is run, once, and its outcome recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifra_jobs import task

if TYPE_CHECKING:
    from cifra_jobs.runtime.worker import Worker
    from tests.contract.kit import Ledger, TestApp


async def test_a_task_runs_and_its_result_comes_back(
    app: TestApp, worker: Worker, ledger: Ledger
) -> None:
    @task
    async def add(x: int, y: int) -> int:
        ledger("ran")
        return x + y

    handle = await add.delay(1, 2)
    assert await handle.get(5) == 3
    assert ledger.entries == ["ran"]
    assert app.state(handle) == "success"
    assert app.dead() == []
