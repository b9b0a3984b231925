"""Where worker processes come from: forked from a zygote, or else fresh interpreters.

Whichever way, they inherit no threads, locks or connections, and are children of the supervisor.
`multiprocessing` is in neither: it would import the command line's ``__main__`` once more.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from cifra_jobs.log import get_logger
from cifra_jobs.runtime.children import Child
from cifra_jobs.runtime.wire import Line
from cifra_jobs.runtime.zygote import Zygote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cifra_jobs.runtime.children import ChildSpec, Process

__all__ = ["FRESH", "Nursery"]

_log = get_logger("cifra.supervisor")

#: The program of a fresh interpreter; the descriptor of its line and our process id are added.
FRESH = (sys.executable, "-m", "cifra_jobs.runtime.process")


class Nursery:
    """Makes worker processes.

    Call it from a thread that lives as long as the processes: the kernel's news of a parent's
    death, which children ask for, is sent at the end of the thread that is their parent.

    Args:
        zygote: what to fork from; without one each process is a fresh interpreter.
        command: the program of a fresh one.
    """

    def __init__(self, zygote: Zygote | None = None, command: Sequence[str] = FRESH) -> None:
        self._zygote = zygote
        self._is_warm = zygote is not None
        self._command = command

    def spawn(self, spec: ChildSpec) -> Child:
        """Start a process and tell it what to be.

        Raises:
            OSError: out of processes, memory or descriptors.
        """
        process, line = self._fork() or self._start()
        return Child.boot(spec, process, line)

    def renew(self) -> None:
        """Make processes of the library and the settings that are on the disk now.

        The new zygote is an interpreter of its own and shares nothing with the supervisor, which
        costs what one interpreter holds, until the supervisor itself is started anew.
        """
        self.close()
        if not self._is_warm:
            return
        try:
            self._zygote = Zygote.start()
        except OSError as error:
            _log.warning("worker processes take more memory: no zygote started", error=str(error))

    def close(self) -> None:
        """End the zygote; harmless twice."""
        zygote, self._zygote = self._zygote, None
        if zygote is not None:
            zygote.close()

    def _fork(self) -> tuple[Process, Line] | None:
        """A forked process and our end of its line; ``None`` when there is nothing to fork from."""
        if self._zygote is None:
            return None
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                return self._zygote.spawn(theirs), Line(ours)
        except (ConnectionError, TimeoutError) as error:
            ours.close()
            _log.warning("the zygote died: one worker process starts without", error=str(error))
            self.renew()
        except ChildProcessError:
            ours.close()
            _log.warning("worker processes take more memory: this kernel gives us no orphans")
            self._is_warm = False
            self.close()
        except OSError:
            ours.close()
            raise
        return None

    def _start(self) -> tuple[Process, Line]:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [*self._command, str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # Ctrl-C in the terminal must reach us alone; children hear of it from us.
                start_new_session=True,
            )
        return process, Line(ours)
