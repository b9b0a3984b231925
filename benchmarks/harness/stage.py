"""One contestant on stage: its sender, its workers, the ledger, and the meter beside them."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

from benchmarks.contestants.ledger import Ledger
from benchmarks.contestants.run import Run
from benchmarks.harness.accounting import Meter, is_frozen, process_tree
from benchmarks.harness.contestants import Contestant
from benchmarks.harness.servers import Servers

REPOSITORY = Path(__file__).resolve().parent.parent.parent

#: Seconds between looks at the ledger: shared memory rings no bell. A look costs 0.1 ms.
LOOK_S = 0.02

#: Seconds for anything that should happen soon, boots included.
PATIENCE_S = 90.0

#: Seconds after the last task in which acks and state still count as that run's CPU.
SETTLE_S = 0.3

#: CPU seconds within `SETTLE_S` up to which a broker counts as idle.
QUIET_CPU_S = 0.05

#: Tasks sent at a time until every worker process has run one.
WARM_UP = 200

#: Room in the ledger for the warm-up.
WARM_UP_LIMIT = 20 * WARM_UP


class StageError(Exception):
    """A contestant did not do its part; the text says which and where its log is."""


class Stage:
    """Everything of one contestant's run; made by `on_stage`."""

    def __init__(
        self, contestant: Contestant, run: Run, servers: Servers, folder: Path, size: int
    ) -> None:
        self.contestant = contestant
        self.run = run
        self.servers = servers
        self.ledger = Ledger(Path(run.ledger_path), size + WARM_UP_LIMIT)
        self.meter = Meter(
            {
                "worker": lambda: self.worker_pids,
                "broker": lambda: [servers.rabbitmq.pid],
                "redis": lambda: [servers.redis.pid],
            }
        )
        self._size = size
        self._folder = folder
        self._environment = {
            **os.environ,
            **run.to_environment(),
            **contestant.environment(run, folder),
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONWARNINGS": "ignore",
        }
        self._sender = self._start(contestant.sender_command(), "sender", stdin=subprocess.PIPE)
        self._workers: list[subprocess.Popen[bytes]] = []

    @property
    def worker_pids(self) -> list[int]:
        """Roots of the worker's process trees."""
        return [process.pid for process in self._workers]

    def ask(self, do: str, *args: Any) -> Any:
        """Have the sender do something, and wait for its answer.

        Raises:
            StageError: If it fails, or has no answer after `PATIENCE_S`.
        """
        assert self._sender.stdin
        assert self._sender.stdout
        self._sender.stdin.write(json.dumps({"do": do, "args": args}).encode() + b"\n")
        self._sender.stdin.flush()
        if not select.select([self._sender.stdout], [], [], PATIENCE_S)[0]:
            raise StageError(f"{self.contestant.name}, {do}: no answer.\n{self._logs()}")
        line = self._sender.stdout.readline()
        reply = json.loads(line) if line else {"error": "The sender ended."}
        if "error" in reply:
            raise StageError(f"{self.contestant.name}, {do}: {reply['error']}\n{self._logs()}")
        return reply["answer"]

    def start_workers(self, warm_up_task: str, *args: Any) -> None:
        """Start the workers, and warm them until each process has run some tasks.

        Raises:
            StageError: If they do not come up.
        """
        commands = self.contestant.worker_commands(self.run, self._folder)
        self._workers = [self._start(c, f"worker-{i}") for i, c in enumerate(commands)]
        for first in range(self._size, self._size + WARM_UP_LIMIT, WARM_UP):
            self.ask("load", warm_up_task, first, WARM_UP, *args)
            self.wait_for_tasks(first, WARM_UP)
            if len(self.ledger.pids) >= self.contestant.processes:
                self._check_that_all_is_counted()
                return
        raise StageError(f"{self.contestant.name}: not every process runs tasks.\n{self._logs()}")

    def wait_for_tasks(self, first: int, count: int) -> list[float]:
        """When each of these tasks ran, once all have.

        Raises:
            StageError: If some have not after `PATIENCE_S`.
        """
        self.wait_until(
            lambda: not self.ledger.missing(first, count),
            lambda: f"{self.ledger.missing(first, count)} of {count} tasks never ran",
        )
        return self.ledger.times(first, count)

    def wait_until(self, is_true: Callable[[], bool], complaint: Callable[[], str]) -> None:
        """Look until something is so.

        Raises:
            StageError: With `complaint`, after `PATIENCE_S` or when a worker has ended.
        """
        begin, pause = monotonic(), Event()
        while not is_true():
            ended = any(worker.poll() is not None for worker in self._workers)
            if ended or monotonic() - begin > PATIENCE_S:
                reason = "a worker ended" if ended else complaint()
                raise StageError(f"{self.contestant.name}: {reason}.\n{self._logs()}")
            pause.wait(LOOK_S)

    def await_quiet_broker(self) -> None:
        """Wait until the broker has dealt with all that was sent without a confirm."""

        def is_quiet() -> bool:
            self.meter.start()
            self.settle()
            return self.meter.stop()["broker"] <= QUIET_CPU_S

        self.wait_until(is_quiet, lambda: "the broker never came to rest")

    def settle(self) -> None:
        """Let the last acks and states go out."""
        Event().wait(SETTLE_S)

    @contextmanager
    def workers_held(self) -> Iterator[None]:
        """Freeze the warm workers, so that a queue can be filled before they run on.

        The broker meanwhile pushes no more than the prefetch into their sockets.
        """
        pids = [stat.pid for stat in process_tree(self.worker_pids)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            # On a busy machine a thread may run on until another one has taken the signal.
            self.wait_until(lambda: all(map(is_frozen, pids)), lambda: "a worker did not freeze")
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def stop(self) -> None:
        """End sender and workers: politely, and after ten seconds for certain."""
        assert self._sender.stdin
        self._sender.stdin.close()
        for process in self._workers:
            process.terminate()
        for process in (self._sender, *self._workers):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                for stat in process_tree([process.pid]):
                    os.kill(stat.pid, signal.SIGKILL)
                process.wait()

    def _check_that_all_is_counted(self) -> None:
        strays = self.ledger.pids - {stat.pid for stat in process_tree(self.worker_pids)}
        if strays:
            raise StageError(
                f"{self.contestant.name}: {strays} run tasks outside the worker's tree."
            )

    def _start(
        self, command: list[str], name: str, stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("wb") as log:
            try:
                return subprocess.Popen(
                    command,
                    stdin=stdin,
                    stdout=subprocess.PIPE if stdin == subprocess.PIPE else log,
                    stderr=log,
                    cwd=self._folder,
                    env=self._environment,
                )
            except OSError as error:
                raise StageError(f"{self.contestant.name}: cannot be started: {error}") from error

    def _logs(self) -> str:
        logs = sorted(self._folder.glob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text()[-2000:]}" for log in logs)


@contextmanager
def on_stage(
    contestant: Contestant, run: Run, servers: Servers, ledger_size: int
) -> Iterator[Stage]:
    """Start a contestant's sender (workers on request); everything is stopped at the end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cifra-bench-")))
        own_prefetch = contestant.prefetch or run.prefetch
        own = replace(run, ledger_path=str(folder / "ledger"), prefetch=own_prefetch)
        contestant.prepare(own, folder)
        stage = Stage(contestant, own, servers, folder, ledger_size)
        stack.callback(stage.stop)
        yield stage
