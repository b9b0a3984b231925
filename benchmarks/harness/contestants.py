"""Who runs: how each contestant's workers and sender are started."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from benchmarks.contestants.run import Run
from benchmarks.harness import peers

Make = Literal["cifra", "dramatiq", "celery"]

#: Names of our own contestants begin with this.
OURS = "cifra"


@cache
def python_of(make: Make) -> Path:
    """The interpreter that has this contestant installed."""
    return peers.own_interpreter() if make == "cifra" else peers.interpreter(make)


@dataclass(frozen=True)
class Contestant:
    """One make at one setting.

    Attributes:
        name: As the tables show it.
        make: Which library.
        processes: Worker processes that run tasks.
        slots: Tasks at once in each of them.
        mode: How slots are made: `threads`, `async`, `gevent` or `solo`.
        prefetch: Unacknowledged deliveries that one process may hold; None is the run's.
    """

    name: str
    make: Make
    processes: int
    slots: int
    mode: Literal["threads", "async", "gevent", "solo"] = "threads"
    prefetch: int | None = None

    @property
    def module(self) -> str:
        """The module with this contestant's tasks and sender."""
        return f"benchmarks.contestants.with_{self.make}"

    def sender_command(self) -> list[str]:
        """How to start its sending side."""
        return [str(python_of(self.make)), "-m", self.module]

    def worker_commands(self, run: Run, folder: Path) -> list[list[str]]:
        """How to start its workers; `folder` is for files that they need."""
        return _COMMANDS[self.make](self, run, folder)

    def environment(self, run: Run, folder: Path) -> dict[str, str]:
        """What its processes need beside the run itself."""
        if self.make == "dramatiq":
            return {"dramatiq_queue_prefetch": str(run.prefetch)}
        if self.make == "cifra":
            return {
                "CIFRA_CONFIG": str(folder / "config.yaml"),
                "CIFRA_INCLUDE": self.module,
            }
        return {}

    def prepare(self, run: Run, folder: Path) -> None:
        """Write the files that its processes read."""
        if self.make == "cifra":
            _write_cifra_files(self, run, folder)


def _cifra_commands(contestant: Contestant, run: Run, folder: Path) -> list[list[str]]:
    del contestant, run
    command = [str(python_of("cifra").with_name("cifra")), "worker", "start"]
    return [[*command, "--config", str(folder / "worker_config.yaml"), "--worker", "bench"]]


def _write_cifra_files(contestant: Contestant, run: Run, folder: Path) -> None:
    """Both files as JSON, which is YAML too."""
    queue: dict[str, str | int] = {"type": run.queue_arguments["x-queue-type"]}
    if queue["type"] == "classic":
        queue["priorities"] = run.queue_arguments.get("x-max-priority", 0)
    settings = {
        "broker": {"type": "rabbitmq", "url": run.amqp_url},
        "result_backend": {"type": "redis", "url": run.redis_url},
        "queues": dict.fromkeys(run.queues, queue),
        # As quiet as the others: Dramatiq and Celery write no line a task either.
        "logging": {"level": "ERROR"},
    }
    worker = {
        "concurrency": contestant.slots * contestant.processes,
        "processes": contestant.processes,
        "prefetch_multiplier": max(1, run.prefetch // contestant.slots),
        "queues": list(run.queues),
        "mode": contestant.mode,
    }
    (folder / "config.yaml").write_text(json.dumps({"background_jobs": settings}))
    (folder / "worker_config.yaml").write_text(json.dumps({"workers": {"bench": worker}}))


def _dramatiq_commands(contestant: Contestant, run: Run, folder: Path) -> list[list[str]]:
    program = "dramatiq-gevent" if contestant.mode == "gevent" else "dramatiq"
    command = [str(python_of("dramatiq").with_name(program)), contestant.module]
    sizes = ["--processes", str(contestant.processes), "--threads", str(contestant.slots)]
    pid_file = ["--pid-file", str(folder / "dramatiq.pid")]
    return [[*command, *sizes, *pid_file, "--queues", *run.queues]]


def _celery_commands(contestant: Contestant, run: Run, folder: Path) -> list[list[str]]:
    """One command a process: two solo workers beat one prefork worker of two."""
    del folder
    command = [str(python_of("celery")), "-m", "celery", "--app", contestant.module, "worker"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "ERROR"]
    sizes = ["--pool", contestant.mode, "--concurrency", str(contestant.slots)]
    multiplier = ["--prefetch-multiplier", str(max(1, run.prefetch // contestant.slots))]
    queues = ["--queues", ",".join(run.queues)]
    return [
        [*command, *quiet, *sizes, *multiplier, *queues, "--hostname", f"w{index}@%h"]
        for index in range(contestant.processes)
    ]


_COMMANDS: dict[Make, Callable[[Contestant, Run, Path], list[list[str]]]] = {
    "cifra": _cifra_commands,
    "dramatiq": _dramatiq_commands,
    "celery": _celery_commands,
}
