"""Starts tethered child processes, and keeps ports for them."""

from __future__ import annotations

import os
import queue
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import IO, TypeAlias

from cifra_jobs.dev import tether
from cifra_jobs.errors import ServerUnavailable

__all__ = ["LOOPBACK", "ReservedPort", "spawn"]

LOOPBACK = "127.0.0.1"

#: Below Linux's range for outgoing connections (32768 and up), so that nobody's connection takes
#: the port of a server that is down for a moment.
_PORTS = range(20_000, 32_000)


class ReservedPort:
    """A free TCP port of 127.0.0.1 that no other process using this class will choose.

    The reservation is an abstract Unix socket named after the port: the kernel drops it with the
    process, and the port itself stays free to be bound by a child, again and again.

    Attributes:
        number: the port.
    """

    def __init__(self) -> None:
        for _ in range(200):
            # Not `random`: test runs seed it, and two runs would choose the same ports.
            number = secrets.choice(_PORTS)
            reservation = socket.socket(socket.AF_UNIX)
            try:
                reservation.bind(f"\0cifra-port-{number}")
                with socket.socket() as trial:
                    trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    trial.bind((LOOPBACK, number))
            except OSError:
                reservation.close()
                continue
            self.number = number
            self._reservation = reservation
            return
        raise ServerUnavailable(
            f"No free port on {LOOPBACK} between {_PORTS.start} and {_PORTS.stop}: stop something "
            "that listens there."
        )

    def release(self) -> None:
        """Let others choose the port again."""
        self._reservation.close()


def spawn(
    command: Sequence[str], *, environment: Mapping[str, str], cwd: Path, log: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a child that is killed when this process dies, even by SIGKILL.

    Args:
        command: program and arguments.
        environment: the child's whole environment.
        cwd: its working directory.
        log: where its output goes.

    Returns:
        The process. Its id is the program's own: nothing stands between.
    """
    tethered = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *command]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            tethered,
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # A Ctrl-C in the terminal is for us to handle: the server outlives the drain.
            start_new_session=True,
        )

    return _forker().run(start)


_Start: TypeAlias = Callable[[], "subprocess.Popen[bytes]"]
_Request: TypeAlias = tuple[_Start, "Future[subprocess.Popen[bytes]]"]


class _Forker:
    """One thread that starts all children.

    The kernel's "parent died" signal is sent when the *thread* that forked ends, so children must
    come from a thread that lives as long as the process.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="cifra-dev-forker", daemon=True).start()

    def run(self, start: _Start) -> subprocess.Popen[bytes]:
        answer: Future[subprocess.Popen[bytes]] = Future()
        self._requests.put((start, answer))
        return answer.result()

    def _work(self) -> None:
        while True:
            start, answer = self._requests.get()
            try:
                answer.set_result(start())
            except OSError as error:
                answer.set_exception(error)


_lock = threading.Lock()
_current: list[_Forker] = []


def _forker() -> _Forker:
    with _lock:
        if not _current or _current[0].pid != os.getpid():
            # After a fork the parent's thread is not here.
            _current[:] = [_Forker()]
        return _current[0]
