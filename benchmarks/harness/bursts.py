"""A full queue before warm workers: how fast, and at what cost, it is emptied."""

from __future__ import annotations

from time import monotonic
from typing import Any

from benchmarks.harness.figures import per_task_us
from benchmarks.harness.stage import Stage, StageError


def burst(stage: Stage, task: str, count: int, *args: Any) -> dict[str, float]:
    """Warm the workers, freeze them, fill the queue, let them run; the figures of that run.

    Neither booting nor publishing is in the figures: only what it takes to empty the queue.

    Raises:
        StageError: If not every task runs, or one runs while all should stand still.
    """
    stage.start_workers(task, *args)
    with stage.workers_held():
        stage.ask("load", task, 0, count, *args)
        stage.await_quiet_broker()
        stage.meter.start()
        begin = monotonic()
    times = stage.wait_for_tasks(0, count)
    if min(times) < begin:
        raise StageError(f"{stage.contestant.name}: a task ran while its worker was frozen.")
    stage.settle()
    return cost_figures(count, max(times) - begin, stage.meter.stop())


def cost_figures(count: int, elapsed_s: float, cpu_s: dict[str, float]) -> dict[str, float]:
    """Rate, CPU of each part, and their sum, by the names that tables and goals use."""
    costs = {f"{part} µs": per_task_us(seconds, count) for part, seconds in cpu_s.items()}
    return {"tasks/s": count / elapsed_s, **costs, "total µs": sum(costs.values())}
