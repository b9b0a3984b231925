"""What a supervisor and its children say to each other: JSON objects, one a line, over a socket.

Orders (supervisor → child): ``boot`` (what to be), ``go`` (take tasks), ``drain``, ``hurry``.
News (child → supervisor): ``standby``, ``ready``, ``facts``, ``successor``, ``draining``,
``refused``. The end of the socket is news as well: the other side is gone.
"""

from __future__ import annotations

import json
import threading
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import socket

__all__ = ["CLEAN_EXITS", "Exit", "Line", "Note"]

#: One object on the line; ``kind`` says what it is.
Note: TypeAlias = dict[str, Any]

_CHUNK = 65_536


class Exit(IntEnum):
    """What a child's exit code tells the supervisor."""

    #: It was asked to drain, and nothing was left undone.
    DRAINED = 0
    #: The start failed for a reason that may pass, such as a database that a lifespan opens.
    FAILED = 1
    #: A thread that must never stand still did; the stacks are in the log.
    UNHEALTHY = 70
    #: A server that the start needs is away; trying again later may work.
    TRY_AGAIN = 75
    #: The start was refused for a reason that a restart does not change; a note said why.
    REFUSED = 78
    #: It had run its share of tasks or memory, and ended as planned.
    RECYCLED = 90
    #: It was told to stop and a task would not: the broker redelivers that one.
    CUT_SHORT = 91


#: Exits that are no failure.
CLEAN_EXITS = frozenset({Exit.DRAINED, Exit.RECYCLED})


class Line:
    """One end of the line. Sending is safe from any thread, reading belongs to one.

    Args:
        end: a connected stream socket; closed with the line.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._pending = b""
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """For selectors: readable when `read` has something."""
        return self._end.fileno()

    def send(self, kind: str, **facts: Any) -> bool:
        """Say something; false when nobody is there to hear it."""
        data = json.dumps({"kind": kind, **facts}, default=str).encode() + b"\n"
        try:
            with self._lock:
                self._end.sendall(data)
        except OSError:
            return False
        return True

    def read(self) -> list[Note] | None:
        """What was said since the last read, after waiting for some of it.

        Returns:
            The notes (none, when a line is not complete yet), or ``None`` when the other side
            has ended.
        """
        try:
            data = self._end.recv(_CHUNK)
        except OSError:
            return None
        if not data:
            return None
        *lines, self._pending = (self._pending + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Hang up; harmless twice."""
        self._end.close()
