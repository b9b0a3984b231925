"""A warm process from which worker processes are forked.

A fresh interpreter imports this library anew: 35 MB and a third of a second for each process. The
zygote has imported it once and shares those pages with all that are forked from it. It has one
thread, no connection and no task module: each worker process imports its tasks anew, and a fork
carries over nothing that a fork breaks.

    supervisor ── one more, with this line ──▶ zygote ──fork──▶ middleman ──fork──▶ worker process
        ▲                                        │              ends at once              │
        ├──────────────── its process id ◀───────┘                                        │
        └──────────────────────── adopts the orphan (`PR_SET_CHILD_SUBREAPER`) ◀──────────┘

So a worker process is its supervisor's own child, as if started by it, and the zygote's death
touches none of them.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import importlib
import os
import signal
import socket
import struct
import subprocess
import sys
import traceback
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from cifra_jobs.runtime.children import Forked
from cifra_jobs.runtime.signals import DRAIN, DUMP, ROLL, die_with_parent
from cifra_jobs.runtime.wire import Exit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cifra_jobs.app import App
    from cifra_jobs.runtime.children import Process

__all__ = ["Zygote", "main"]

#: What a worker process on RabbitMQ and Redis needs before it imports its tasks.
_WARM = (
    "cifra_jobs.runtime.process",
    "cifra_jobs.brokers.rabbitmq.transport",
    "cifra_jobs.store.redis",
    # What Python itself puts off until a host name is looked up.
    "encodings.idna",
)
#: The answer to a request: a process id, or an errno below zero.
_ANSWER = struct.Struct("=i")
_REQUEST = b"1"
#: Seconds for one answer; the first one waits for a new interpreter's imports.
_PATIENCE_S = 30.0
#: From <linux/prctl.h>.
_PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 15, 36
#: Descriptors up to here are standard input, output and error.
_STANDARD = 2


class Zygote:
    """The supervisor's side: asks for processes. Belongs to the supervisor's thread.

    Args:
        process: the zygote.
        control: the socket to it.
    """

    def __init__(self, process: Process, control: socket.socket) -> None:
        self.pid = process.pid
        self._process = process
        self._control = control
        self._control.settimeout(_PATIENCE_S)

    @classmethod
    def fork(cls, app: App) -> Zygote:
        """Fork one from this process, which shares its own memory with them all.

        Only for a process of ours that has one thread, no connection, and nobody's code in it.

        Args:
            app: an application without tasks, which each worker process makes its own.
        """
        _warm_up()
        for stream in (sys.stdout, sys.stderr):
            # What waits in a buffer would be written by each of them.
            if stream is not None:
                stream.flush()
        supervisor = os.getpid()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            _end_with(lambda: _live(theirs, supervisor, app))
        theirs.close()
        return cls(Forked(pid), ours)

    @classmethod
    def start(cls) -> Zygote:
        """Start one in a fresh interpreter, which reads this library from the disk anew."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
            )
        return cls(process, ours)

    def spawn(self, line: socket.socket) -> Forked:
        """Have a worker process forked; it gets a duplicate of ``line``.

        Raises:
            ConnectionError: the zygote is gone.
            TimeoutError: it does not answer.
            ChildProcessError: the kernel does not let us adopt the process.
            OSError: no process can be made at this time.
        """
        with _adopting():
            socket.send_fds(self._control, [_REQUEST], [line.fileno()])
            answer = self._control.recv(_ANSWER.size)
        if not answer:
            raise ConnectionResetError(errno.ECONNRESET, "it has ended")
        (pid,) = _ANSWER.unpack(answer)
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        # Of a process that is not our child we would never know how it ended.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return Forked(pid)

    def close(self) -> None:
        """End it; the processes forked from it stay."""
        self._control.close()
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


def main(arguments: Sequence[str]) -> int:
    """Be the zygote in an interpreter of its own.

    Args:
        arguments: the descriptor of the control socket, and the supervisor's process id.
    """
    descriptor, supervisor = (int(each) for each in arguments)
    _warm_up()
    return _live(socket.socket(fileno=descriptor), supervisor)


def _warm_up() -> None:
    for name in _WARM:
        importlib.import_module(name)
    gc.collect()
    # Collections write into each object they look at, and a page written to is shared no more.
    gc.freeze()


def _live(control: socket.socket, supervisor: int, app: App | None = None) -> int:
    """Fork what the supervisor asks for until it hangs up."""
    os.setsid()
    _name_process("cifra-zygote")
    _keep_only(control.fileno())
    for number in DRAIN | DUMP | ROLL:
        signal.signal(number, signal.SIG_DFL)
    if not die_with_parent(supervisor):
        return 0
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, len(_REQUEST), 1)
        if not message:
            return 0
        (line,) = descriptors
        try:
            answer = _fork_orphan(partial(_work, control, line, supervisor, app))
        except OSError as error:
            answer = -(error.errno or errno.EAGAIN)
        os.close(line)
        control.send(_ANSWER.pack(answer))


def _fork_orphan(work: Callable[[], int]) -> int:
    """Fork a process by way of a middleman, who has ended when this returns; gives its id."""
    reader, writer = os.pipe()
    try:
        middleman = os.fork()
        if middleman == 0:
            _leave_orphan(reader, writer, work)
        os.waitpid(middleman, 0)
        # Should the middleman have died without a word, there is nothing to wait for.
        os.set_blocking(reader, False)
        (pid,) = _ANSWER.unpack(os.read(reader, _ANSWER.size))
    finally:
        os.close(reader)
        os.close(writer)
    if pid < 0:
        raise OSError(-pid, os.strerror(-pid))
    return int(pid)


def _leave_orphan(reader: int, writer: int, work: Callable[[], int]) -> NoReturn:
    try:
        answer = os.fork()
    except OSError as error:
        answer = -(error.errno or errno.EAGAIN)
    if answer == 0:
        os.close(reader)
        os.close(writer)
        _end_with(work)
    os.write(writer, _ANSWER.pack(answer))
    os._exit(0)


def _work(control: socket.socket, line: int, supervisor: int, app: App | None) -> int:
    """Be a worker process; Python itself has seeded `random` anew after the fork."""
    from cifra_jobs.runtime import process

    control.close()
    # Ctrl-C in the terminal must reach the supervisor alone.
    os.setsid()
    _name_process("cifra-worker")
    return process.main([str(line), str(supervisor)], app)


def _end_with(work: Callable[[], int]) -> NoReturn:
    """Do the work, then end like any interpreter, with none of the callers below on the stack.

    Those belong to the process that was forked: what they would do on the way out is its affair.
    """
    try:
        code = work()
    except BaseException:  # noqa: BLE001 - the last frame of this process: told, and the code says so
        traceback.print_exc()
        code = Exit.FAILED
    ctypes.pythonapi.Py_Exit(int(code))
    raise AssertionError("Py_Exit does not return")


def _keep_only(descriptor: int) -> None:
    """Close what came over by the fork, and have no terminal to read from."""
    for number in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if number > _STANDARD and number != descriptor:
            with suppress(OSError):
                os.close(number)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


@contextmanager
def _adopting() -> Iterator[None]:
    """Be the parent of what our descendants leave behind, for the moment.

    Not for longer: orphans that a task makes are none of ours, and nobody would wait for them.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        _prctl(_PR_SET_CHILD_SUBREAPER, 0)


def _name_process(name: str) -> None:
    """What `top` and `ps -o comm` show; the command line is the supervisor's."""
    _prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()))


def _prctl(option: int, argument: object) -> None:
    ctypes.CDLL(None).prctl(option, argument, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
