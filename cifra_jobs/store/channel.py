"""Pub/sub: all channels of a process on one connection, which comes back by itself.

1. The first subscription starts a listening thread; the thread alone opens, reads and closes the
   connection.
2. After a break it comes back with back-off, subscribes to every channel again, and then says so
   to each listener: what was told meanwhile is lost.
3. A connection that says nothing for `IDLE_S` is asked; one that does not answer is dead.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cifra_jobs.backoff import reconnect_delays
from cifra_jobs.errors import StoreUnavailable
from cifra_jobs.log import get_logger
from cifra_jobs.store.base import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["IDLE_S", "Channels", "Line", "Listener"]

_log = get_logger("cifra.store")

#: Seconds of silence after which the connection is asked whether it lives; as long again for the
#: answer.
IDLE_S = 5.0

#: Seconds that `Channels.close` waits for its thread.
CLOSE_S = 1.0


class Line(Protocol):
    """One connection to the server's pub/sub. Every method raises `StoreUnavailable`."""

    def send(self, verb: str, *args: str) -> None:
        """Send ``SUBSCRIBE``, ``UNSUBSCRIBE`` or ``PING``; the answer is read by `read`."""
        ...

    def read(self, timeout_s: float) -> list[str] | None:
        """The next ``[kind, channel, payload]``; ``None`` when nothing came in time."""
        ...

    def close(self) -> None:
        """Close it; harmless twice."""
        ...


@dataclass(slots=True, eq=False)
class Listener:
    """Who listens to one channel."""

    on_message: Callable[[str], None]
    on_reconnect: Callable[[], None] | None
    #: Set when the subscription is in force, or the first attempt failed.
    is_settled: threading.Event
    #: Whether it was in force before: then the next time is a return.
    was_in_force: bool = False


class Channels:
    """The subscriptions of one process.

    Args:
        connect: opens a connection, or raises `StoreUnavailable`.
        name: of the thread.
    """

    def __init__(self, connect: Callable[[], Line], name: str) -> None:
        self._connect = connect
        self._name = name
        self._lock = threading.Lock()
        self._listeners: dict[str, list[Listener]] = {}
        self._line: Line | None = None
        self._thread: threading.Thread | None = None
        self._is_away = False
        self._closed = threading.Event()

    def subscribe(
        self,
        channel: str,
        on_message: Callable[[str], None],
        on_reconnect: Callable[[], None] | None,
    ) -> Subscription:
        """See `StateStore.subscribe`."""
        listener = Listener(on_message, on_reconnect, threading.Event())
        with self._lock:
            crowd = self._listeners.setdefault(channel, [])
            crowd.append(listener)
            if self._is_away:
                listener.is_settled.set()
            # Asked again for a channel that is in force: the answer settles the new listener.
            self._send("SUBSCRIBE", channel)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        if threading.current_thread() is not self._thread:
            listener.is_settled.wait()
        return Subscription(lambda: self._leave(channel, listener))

    def close(self) -> None:
        """End every subscription and the thread."""
        with self._lock:
            self._closed.set()
            self._listeners.clear()
            # The answer wakes the thread, which closes its own connection.
            self._send("PING")
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            # Longer only when the server does not answer: then the thread ends by itself.
            thread.join(CLOSE_S)

    def _leave(self, channel: str, listener: Listener) -> None:
        with self._lock:
            crowd = self._listeners.get(channel, [])
            if listener not in crowd:
                return
            crowd.remove(listener)
            if not crowd:
                del self._listeners[channel]
                self._send("UNSUBSCRIBE", channel)

    def _send(self, verb: str, *channels: str) -> None:
        """Send on the open connection, if any: the thread subscribes to all when it opens one."""
        if self._line is not None:
            try:
                self._line.send(verb, *channels)
            except StoreUnavailable as error:
                # The reading thread finds the same connection broken and opens another.
                _log.debug("store.channels.send_failed", verb=verb, error=str(error))

    # ── the listening thread ──

    def _run(self) -> None:
        delays = reconnect_delays()
        while not self._closed.is_set():
            try:
                line = self._connect()
                try:
                    self._announce(line)
                    for message in self._messages(line):
                        delays = reconnect_delays()
                        self._take(message)
                finally:
                    with self._lock:
                        self._line = None
                    line.close()
            except StoreUnavailable as error:
                self._settle_all(error)
                self._closed.wait(next(delays))
        self._settle_all(None)

    def _announce(self, line: Line) -> None:
        with self._lock:
            if self._listeners:
                line.send("SUBSCRIBE", *self._listeners)
            self._line = line
            self._is_away = False

    def _messages(self, line: Line) -> Iterator[list[str]]:
        is_asked = False
        while not self._closed.is_set():
            message = line.read(IDLE_S)
            if message is not None:
                is_asked = False
                yield message
            elif is_asked:
                raise StoreUnavailable(f"the pub/sub connection is silent for {2 * IDLE_S:.0f} s")
            else:
                is_asked = True
                line.send("PING")

    def _take(self, message: list[str]) -> None:
        kind, channel = message[0], message[1]
        with self._lock:
            crowd = list(self._listeners.get(channel, ()))
        if kind == "message":
            payload = message[2]
            for listener in crowd:
                self._call(channel, listener.on_message, payload)
        elif kind == "subscribe":
            for listener in crowd:
                self._in_force(channel, listener)

    def _in_force(self, channel: str, listener: Listener) -> None:
        # A listener whose `subscribe` returned while the store was away hears of it here.
        is_return = listener.is_settled.is_set() and not listener.was_in_force
        listener.was_in_force = True
        listener.is_settled.set()
        if is_return and listener.on_reconnect is not None:
            self._call(channel, listener.on_reconnect)

    def _settle_all(self, error: StoreUnavailable | None) -> None:
        """The connection is away: nobody waits for it, and everybody will hear of its return."""
        with self._lock:
            was_away, self._is_away = self._is_away, True
            for listener in (one for crowd in self._listeners.values() for one in crowd):
                listener.was_in_force = False
                listener.is_settled.set()
        if error is not None and not was_away:
            _log.warning("store.channels.away", error=str(error))

    def _call(self, channel: str, callback: Callable[..., None], *args: str) -> None:
        try:
            callback(*args)
        except Exception:  # noqa: BLE001 - a listener's own mistake must not deafen the others
            _log.exception("store.channels.listener_failed", channel=channel)
