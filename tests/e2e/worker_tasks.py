"""Tasks that write down what happens to them, for test_worker_processes.py.

``python worker_tasks.py TASK COUNT`` sends; ``python worker_tasks.py work ENTRY`` works.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import cifra_jobs
from cifra_jobs import current_task, task

if "BROKEN" in os.environ and __name__ != "__main__":
    raise RuntimeError("broken on purpose")

_FOLDER = Path(os.environ["LEDGER"])


def _note(what: str, number: int) -> None:
    line = f"{what} {number} {os.getpid()} {current_task.request.id}\n"
    with (_FOLDER / "ledger").open("a") as file:
        file.write(line)


@task(retry=0)
def hold(number: int) -> None:
    """Run until the gate is opened."""
    _note("start", number)
    pause = threading.Event()
    while not (_FOLDER / "gate").exists():
        pause.wait(0.02)
    _note("done", number)


@task(retry=0)
async def hold_async(number: int) -> None:
    """Run on the event loop until the gate is opened."""
    _note("start", number)
    while not (_FOLDER / "gate").exists():  # noqa: ASYNC110 - the gate belongs to the test
        await asyncio.sleep(0.02)
    _note("done", number)


@task(retry=0)
def hold_in_c(number: int) -> None:
    """Run in a call that nothing can interrupt, unless the gate is open."""
    _note("start", number)
    if not (_FOLDER / "gate").exists():
        threading.Event().wait(300)
    _note("done", number)


@task(retry=0)
def nap(number: int) -> None:
    """Run for a moment."""
    _note("start", number)
    threading.Event().wait(0.02)
    _note("done", number)


@task(retry=0)
def eat(number: int) -> None:
    """Keep ten megabytes for ever; slowly, as memory is weighed twice a second."""
    threading.Event().wait(0.05)
    _hoard.append(bytearray(os.urandom(1) * 10_000_000))
    _note("done", number)


_hoard: list[bytearray] = []
_TASKS: dict[str, Any] = {each.actor_name: each for each in (hold, hold_async, hold_in_c, nap, eat)}


def main() -> int:
    """Send, or work."""
    if sys.argv[1] == "work":
        from cifra_jobs.config import Settings, WorkerEntry
        from cifra_jobs.log import configure_logging
        from cifra_jobs.runtime.fleet import run_workers

        settings = Settings()
        configure_logging(settings.logging)
        entry = WorkerEntry(queues=["default"], **json.loads(sys.argv[2]))
        return run_workers(settings, {"w": entry}, include=["worker_tasks"])
    which = _TASKS[sys.argv[1]]
    handles = cifra_jobs.send_many([which.s(number) for number in range(int(sys.argv[2]))])
    print(len(list(handles)))  # noqa: T201 - the answer to the test
    return 0


if __name__ == "__main__":
    sys.exit(main())
