"""The event loop of one connection's I/O thread, in the form that pika asks for.

pika's own loop spends half of a lone publish in its bookkeeping: it logs, copies and checks at
each turn, and writes to a socket for every call from another thread. This one wakes once for a
burst of calls, and does at each turn what there is to do. A callback that raises ends `start`,
which may be called again; nothing that was due is lost.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import socket
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Loop"]


class _Timer:
    """A call at its time; without a callback it was taken back."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback


class Loop:
    """Watches descriptors, runs timers and the calls of other threads.

    Only `add_callback_threadsafe` may be called from another thread.
    """

    READ = selectors.EVENT_READ
    WRITE = selectors.EVENT_WRITE
    #: Errors show as readable and writable; pika then finds them at the socket.
    ERROR = 4

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._selector.register(self._wake_in, selectors.EVENT_READ, None)
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
        self._selector.close()
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
        self._selector.register(fd, events & ~self.ERROR or self.READ, (handler, events))

    def update_handler(self, fd: int, events: int) -> None:
        """Watch for other events."""
        handler, _ = self._selector.get_key(fd).data
        self._selector.modify(fd, events & ~self.ERROR or self.READ, (handler, events))

    def remove_handler(self, fd: int) -> None:
        """Watch no more."""
        self._selector.unregister(fd)

    # ── private ──────────────────────────────────────────────────────────────────────────────────

    def _turn(self) -> None:
        for key, events in self._selector.select(self._wait_s()):
            if key.data is None:
                self._drain_wakes()
                continue
            # A handler called before may have changed or removed this one.
            current = self._selector.get_map().get(key.fd)
            if current is not None and current.data is not None:
                handler, wanted = current.data
                if events & wanted:
                    handler(key.fd, events & wanted)
        self._is_woken = False
        callbacks = self._callbacks
        for _ in range(len(callbacks)):
            callbacks.popleft()()
        timers = self._timers
        while timers and timers[0][0] <= monotonic():
            callback = heapq.heappop(timers)[2].callback
            if callback is not None:
                callback()

    def _wait_s(self) -> float | None:
        if self._callbacks or self._is_stopping:
            return 0
        timers = self._timers
        while timers and timers[0][2].callback is None:
            heapq.heappop(timers)
        return max(0.0, timers[0][0] - monotonic()) if timers else None

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
