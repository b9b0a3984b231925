"""Signals as events on a file descriptor.

A handler runs between any two instructions of the main thread, where no lock may be taken, so ours
do nothing: the interpreter's wake-up descriptor says which signals came, to whoever selects on it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType, TracebackType

__all__ = ["DRAIN", "DUMP", "ROLL", "SignalPipe", "describe_exit", "die_with_parent"]

#: Signals that ask for a drain; again: hurry.
DRAIN = frozenset({signal.SIGTERM, signal.SIGINT})
#: Signals that ask for the stacks of all threads and coroutines.
DUMP = frozenset({signal.SIGUSR1, signal.SIGUSR2})
#: The signal that asks for a rolling restart.
ROLL = frozenset({signal.SIGHUP})

#: From <linux/prctl.h>: the signal the kernel sends to this process when its parent dies.
_PR_SET_PDEATHSIG = 1


class SignalPipe:
    """Catches signals and hands them over through ``fileno()``; a context manager.

    Must be entered on the main thread. What was there before is put back at the exit.

    Args:
        signals: which signals to catch.
    """

    def __init__(self, signals: Iterable[signal.Signals]) -> None:
        self._signals = tuple(signals)
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._before: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> Self:
        """Begin to catch."""
        # No warning when full: a thousand signals not yet read say nothing more.
        self._before_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in self._signals:
            self._before[number] = signal.signal(number, _do_nothing)
        return self

    def close(self) -> None:
        """Put back what was there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.set_wakeup_fd(self._before_fd)
        self._reader.close()
        self._writer.close()

    def fileno(self) -> int:
        """Readable when signals wait to be read."""
        return self._reader.fileno()

    def read(self) -> list[signal.Signals]:
        """The signals that came since the last read, oldest first."""
        try:
            numbers = self._reader.recv(4096)
        except BlockingIOError:
            return []
        return [signal.Signals(number) for number in numbers if number in self._signals]


def die_with_parent(parent: int) -> bool:
    """Ask the kernel to send this process a SIGTERM when its parent's thread dies.

    Args:
        parent: the parent's process id as it told it.

    Returns:
        Whether the parent still lived once the bond was made.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    return os.getppid() == parent


def describe_exit(code: int) -> str:
    """A return code of `subprocess.Popen` in words: ``killed by SIGKILL``, ``exit code 1``."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Exist: without a handler the wake-up descriptor is not written."""
