"""A server as a private child process: own port, own data directory, gone with its parent."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from cifra_jobs.clock import system_clock
from cifra_jobs.dev.children import LOOPBACK, ReservedPort, spawn
from cifra_jobs.errors import ServerUnavailable

__all__ = ["PrivateServer"]

#: Seconds between two questions whether the server is ready; its exit is noticed at once.
_PROBE_INTERVAL_S = 0.05
_LOG_TAIL_LINES = 30


class PrivateServer(ABC):
    """One child process that serves on 127.0.0.1 and keeps its port and data until `close`.

    As a context manager it starts on entry and is closed on exit. It may be stopped, killed and
    started again any number of times in between. The kernel kills it when this process dies.

    Args:
        startup_timeout: seconds until a start is given up.

    Attributes:
        host: always 127.0.0.1.
        port: where it serves; the same after every restart.
        directory: its data, configuration and log; removed by `close`.
        version: what the server said it is when it came up; empty before.
    """

    #: How people call the server.
    name: ClassVar[str]

    def __init__(self, *, startup_timeout: float = 60.0) -> None:
        self.host = LOOPBACK
        self.version = ""
        self.directory = Path(tempfile.mkdtemp(prefix=f"cifra-{self.name.lower()}-"))
        self._ports = [ReservedPort()]
        self.port = self._ports[0].number
        self._startup_timeout = startup_timeout
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop it, and remove its data. Harmless when repeated."""
        self.kill()
        for port in self._ports:
            port.release()
        shutil.rmtree(self.directory, ignore_errors=True)

    def kill(self) -> None:
        """Kill it with SIGKILL, as a crash would, and wait until it is gone."""
        self._end(signal.SIGKILL, timeout=30)

    def restart(self) -> None:
        """Stop it and start it again, on the same port and data."""
        self.stop()
        self.start()

    def start(self) -> None:
        """Start it and wait until it serves.

        Raises:
            ServerUnavailable: it ended or did not serve in time; with the end of its log.
        """
        if self.is_running:
            return
        self._prepare()
        with self.log_path.open("ab") as log:
            self._process = spawn(
                self._command(), environment=self._environment(), cwd=self.directory, log=log
            )
        try:
            self._await_ready(self._process)
        except BaseException:
            self.kill()
            raise

    def stop(self, timeout: float = 30.0) -> None:
        """Ask it to stop with SIGTERM and wait until it is gone.

        Args:
            timeout: seconds after which it is killed.
        """
        self._end(signal.SIGTERM, timeout)

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def log_path(self) -> Path:
        """What the server printed, over all its starts."""
        return self.directory / "server.log"

    @property
    def pid(self) -> int:
        """The server's process id.

        Raises:
            ServerUnavailable: it is not running.
        """
        if self._process is None or self._process.poll() is not None:
            raise ServerUnavailable(f"The private {self.name} is not running: start it first.")
        return self._process.pid

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Program and arguments; the program must not fork away."""

    @abstractmethod
    def _probe(self) -> str:
        """The version of the server that serves now; raises `OSError` while none does."""

    def _environment(self) -> Mapping[str, str]:
        return dict(os.environ)

    @abstractmethod
    def _prepare(self) -> None:
        """Write what the process needs before it starts."""

    def _reserve_port(self) -> int:
        """One more port, kept until `close`."""
        self._ports.append(ReservedPort())
        return self._ports[-1].number

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = system_clock.monotonic() + self._startup_timeout
        while True:
            with contextlib.suppress(OSError):
                self.version = self._probe()
                return
            try:
                code = process.wait(timeout=_PROBE_INTERVAL_S)
            except subprocess.TimeoutExpired:
                if system_clock.monotonic() < deadline:
                    continue
                what = f"did not serve within {self._startup_timeout:g} s"
            else:
                what = f"ended with exit code {code} before it served"
            raise ServerUnavailable(
                f"The private {self.name} on {self.host}:{self.port} {what}. "
                f"The end of its log:\n{self._log_tail()}"
            )

    def _end(self, with_signal: signal.Signals, timeout: float) -> None:
        process = self._process
        if process is None:
            return
        process.send_signal(with_signal)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout)
        self._process = None

    def _log_tail(self) -> str:
        lines = self.log_path.read_text(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-_LOG_TAIL_LINES:]) or "    (empty)"
