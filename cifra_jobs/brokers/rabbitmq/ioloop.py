"""The event loop of one connection's I/O thread, in the form that pika asks for.

pika's own loop spends half of a lone publish in its bookkeeping: it logs, copies and checks at
each turn, and writes to a socket for every call from another thread. This one wakes once for a
burst of calls, and does at each turn what there is to do. A callback that raises ends `start`,
which may be called again; nothing that was due is lost.
"""

from __future__ import annotations

import heapq
import itertools
import math
import select
import socket
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Loop"]

_TROUBLE = select.POLLERR | select.POLLHUP | select.POLLNVAL


class _Timer:
    """A call at its time; without a callback it was taken back."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback


class Loop:
    """Watches descriptors, runs timers and the calls of other threads.

    Only `add_callback_threadsafe` may be called from another thread.
    """

    READ = select.POLLIN
    WRITE = select.POLLOUT
    #: Errors are told to whoever watches for anything: pika finds them at the socket.
    ERROR = select.POLLERR

    def __init__(self) -> None:
        # A handful of descriptors: as quick as epoll, and without a layer of Python above it.
        self._poll = select.poll()
        self._handlers: dict[int, tuple[Callable[[int, int], None], int]] = {}
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._wake_fd = self._wake_in.fileno()
        self._poll.register(self._wake_fd, select.POLLIN)
        self._callbacks: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, _Timer]] = []
        self._order = itertools.count()
        self._is_woken = False
        self._is_stopping = False

    # ── from any thread ──────────────────────────────────────────────────────────────────────────

    def add_callback_threadsafe(self, callback: Callable[[], None]) -> None:
        """Run it soon; what is added before the thread wakes shares one wake-up."""
        self._callbacks.append(callback)
        # The loop lowers the flag before it looks: a lost race is one wake-up too many.
        if not self._is_woken:
            self._is_woken = True
            self._wake()

    add_callback = add_callback_threadsafe

    # ── on the loop's thread ─────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Run until `stop`."""
        try:
            while not self._is_stopping:
                self._turn()
        finally:
            self._is_stopping = False

    def stop(self) -> None:
        """End `start` after this turn."""
        self._is_stopping = True

    def close(self) -> None:
        """Give the descriptors back; not while it runs."""
        self._wake_in.close()
        self._wake_out.close()

    def call_later(self, delay: float, callback: Callable[[], None]) -> _Timer:
        """Run it after so many seconds."""
        timer = _Timer(callback)
        heapq.heappush(self._timers, (monotonic() + delay, next(self._order), timer))
        return timer

    def remove_timeout(self, timer: _Timer) -> None:
        """Take a timer back; harmless after it has run."""
        timer.callback = None

    def add_handler(self, fd: int, handler: Callable[[int, int], None], events: int) -> None:
        """Call ``handler(fd, events)`` when something happens there."""
        self._handlers[fd] = (handler, events)
        self._poll.register(fd, events)

    def update_handler(self, fd: int, events: int) -> None:
        """Watch for other events."""
        self._handlers[fd] = (self._handlers[fd][0], events)
        self._poll.modify(fd, events)

    def remove_handler(self, fd: int) -> None:
        """Watch no more."""
        del self._handlers[fd]
        self._poll.unregister(fd)

    # ── private ──────────────────────────────────────────────────────────────────────────────────

    def _turn(self) -> None:
        for fd, events in self._poll.poll(self._wait_ms()):
            if fd == self._wake_fd:
                self._drain_wakes()
                continue
            # A handler called before may have changed or removed this one.
            found = self._handlers.get(fd)
            if found is not None:
                handler, wanted = found
                told = wanted if events & _TROUBLE else events & wanted
                if told:
                    handler(fd, told)
        self._is_woken = False
        callbacks = self._callbacks
        for _ in range(len(callbacks)):
            callbacks.popleft()()
        timers = self._timers
        while timers and timers[0][0] <= monotonic():
            callback = heapq.heappop(timers)[2].callback
            if callback is not None:
                callback()

    def _wait_ms(self) -> int | None:
        if self._callbacks or self._is_stopping:
            return 0
        timers = self._timers
        while timers and timers[0][2].callback is None:
            heapq.heappop(timers)
        return max(0, math.ceil((timers[0][0] - monotonic()) * 1000)) if timers else None

    def _wake(self) -> None:
        try:
            self._wake_out.send(b"\0")
        except BlockingIOError:
            # Full of wake-ups: one is enough.
            return
        except OSError:
            # Closed meanwhile: there is nobody to wake.
            return

    def _drain_wakes(self) -> None:
        try:
            self._wake_in.recv(4096)
        except BlockingIOError:
            return
