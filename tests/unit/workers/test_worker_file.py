from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import workers
from cifra_jobs.config import WorkerFile
from cifra_jobs.jobs.tasks import Task

CHECKOUT = Path(__file__).parents[3]
QUEUES = ("default", "high_priority", "cpu_intensive", "io_intensive")
FILE = WorkerFile.load(CHECKOUT / "workers" / "worker_config.yaml")


def test_every_queue_has_a_worker_of_its_name() -> None:
    assert {name: entry.queues for name, entry in FILE.workers.items()} == {
        name: [name] for name in QUEUES
    }


def test_every_module_holds_the_tasks_of_its_queue() -> None:
    for name in QUEUES:
        module = getattr(workers, name)
        tasks = [
            each
            for each in vars(module).values()
            if isinstance(each, Task) and each.fn.__module__ == module.__name__
        ]
        assert tasks
        assert {each.queue_name for each in tasks} == {name}


def test_importing_the_tasks_opens_no_connection_and_loads_no_drawing_library() -> None:
    script = (
        "import socket, sys\n"
        "def refuse(*_): raise RuntimeError('a connection was opened')\n"
        "socket.socket.connect = refuse\n"
        "import workers\n"
        "print([name for name in ('matplotlib', 'PIL', 'aiosmtpd') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"
