"""Runs a program that is killed when the process that started it dies, however that dies.

Started as a script of its own (``python tether.py PARENT_PID PROGRAM ARGUMENT…``) because the bond
is made between fork and exec, where a process with threads must not run Python code.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

#: From <linux/prctl.h>: the signal that the kernel sends to this process when its parent dies.
#: It outlives exec.
PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Bond with the parent, then become the program.

    Args:
        arguments: the parent's process id, then the program and its arguments.
    """
    parent, program = int(arguments[0]), arguments[1:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It died before the bond was made.
        sys.exit(1)
    os.execvp(program[0], program)  # noqa: S606 - becoming the program is the purpose


if __name__ == "__main__":
    main(sys.argv[1:])
