"""Tasks that write down what happens to them, for test_worker_processes.py.

``python worker_tasks.py TASK COUNT`` sends; ``python worker_tasks.py work ENTRY`` works.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import cifra_jobs
from cifra_jobs import current_task, task

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
def nap(number: int) -> None:
    """Run for a moment."""
    _note("start", number)
    threading.Event().wait(0.02)
    _note("done", number)


@task(retry=0)
def eat(number: int) -> None:
    """Keep ten megabytes for ever."""
    _hoard.append(bytearray(os.urandom(1) * 10_000_000))
    _note("done", number)


_hoard: list[bytearray] = []
_TASKS = {"hold": hold, "nap": nap, "eat": eat}


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
