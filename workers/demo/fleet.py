"""The workers of all four queues: as processes of their own, or inside this one."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol

from cifra_jobs.app import current_app
from cifra_jobs.config import WorkerFile
from cifra_jobs.runtime.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from cifra_jobs.dev import Servers

#: The worker file of the application.
WORKER_FILE = Path(__file__).parent.parent / "worker_config.yaml"
#: Seconds that workers may take to finish what they have begun, before they are killed.
_STOP_TIMEOUT = 20
#: Lines of the log that are shown when the workers end unexpectedly.
_LOG_TAIL = 15


class WorkersGoneError(RuntimeError):
    """The workers have ended while there was work to do."""


class Workers(Protocol):
    """Running workers, wherever they run."""

    description: str

    async def gone(self) -> NoReturn:
        """Return never; raise `WorkersGoneError` when the workers end by themselves."""


class WorkerProcess:
    """``cifra worker start --all`` as a child, its output in a log file.

    Args:
        log: Where the output goes.
    """

    description = "as processes of their own"

    def __init__(self, log: Path) -> None:
        """Remember where the log is."""
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the child, in a session of its own so that Ctrl-C comes to us alone."""
        command = ["-m", "cifra_jobs", "worker", "start", "--config", str(WORKER_FILE), "--all"]
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                cwd=WORKER_FILE.parent.parent,
                env=dict(os.environ),
                start_new_session=True,
            )

    async def gone(self) -> NoReturn:
        """Return never, unless the child ends by itself.

        Raises:
            WorkersGoneError: When it does, with the end of its log.
        """
        if self._process is None:
            raise RuntimeError("The workers are not started.")
        code = await self._process.wait()
        text = self._log.read_text(encoding="utf-8", errors="replace")
        tail = "\n".join(text.splitlines()[-_LOG_TAIL:])
        raise WorkersGoneError(
            f"The workers ended with exit code {code}; {self._log} says:\n{tail}"
        )

    async def stop(self) -> None:
        """Let the workers finish what they have begun, then end them."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_TIMEOUT):
                await process.wait()
        except TimeoutError:
            # The session is the child's own: this ends its children as well.
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


class EmbeddedWorkers:
    """One worker for each entry of the worker file, all in this process."""

    description = "inside this process"

    def __init__(self) -> None:
        """Make the workers; nothing runs yet."""
        app = current_app()
        self._workers = [
            Worker(
                app,
                name=name,
                queues=entry.queues,
                concurrency=entry.concurrency,
                # Processes of their own could not see this process's memory.
                mode="auto" if entry.mode == "processes" else entry.mode,
                prefetch_multiplier=entry.prefetch_multiplier,
            )
            for name, entry in WorkerFile.load(WORKER_FILE).workers.items()
        ]

    async def start(self) -> None:
        """Begin to take tasks."""
        for worker in self._workers:
            await asyncio.to_thread(worker.start)

    async def gone(self) -> NoReturn:
        """Return never: these workers end with this process."""
        await asyncio.get_running_loop().create_future()
        raise WorkersGoneError("The workers of this process have ended.")

    async def stop(self) -> None:
        """Let the workers finish what they have begun."""
        for worker in self._workers:
            await asyncio.to_thread(worker.stop, _STOP_TIMEOUT)


@asynccontextmanager
async def start_workers(servers: Servers, log: Path) -> AsyncGenerator[Workers]:
    """Workers of all queues until the end of the block.

    They are processes of their own where there are servers to meet at; the embedded broker and
    store live in one process, so there the workers live in it too.
    """
    has_servers = servers.rabbitmq is not None and servers.redis is not None
    workers = WorkerProcess(log) if has_servers else EmbeddedWorkers()
    try:
        await workers.start()
        yield workers
    finally:
        await workers.stop()
