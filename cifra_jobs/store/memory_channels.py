"""Pub/sub inside one process, with a listening thread of its own as over Redis."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

from cifra_jobs.log import get_logger
from cifra_jobs.store.base import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MemoryChannels"]

_log = get_logger("cifra.store")


class MemoryChannels:
    """Who listens to which channel of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[str, list[Callable[[str], None]]] = {}
        self._news: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def publish(self, channel: str, payload: str) -> None:
        """Hand ``payload`` to whoever listens; never waits."""
        if self._listeners.get(channel):
            self._news.put((channel, payload))

    def subscribe(self, channel: str, on_message: Callable[[str], None]) -> Subscription:
        """Call ``on_message`` with every payload, on the listening thread."""
        with self._lock:
            self._listeners.setdefault(channel, []).append(on_message)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._deliver, name="cifra-channels", daemon=True
                )
                self._thread.start()

        def leave() -> None:
            with self._lock:
                crowd = self._listeners.get(channel, [])
                if on_message in crowd:
                    crowd.remove(on_message)

        return Subscription(leave)

    def close(self) -> None:
        """End every subscription and the thread."""
        with self._lock:
            self._listeners.clear()
            thread, self._thread = self._thread, None
        if thread is not None:
            self._news.put(None)
            if thread is not threading.current_thread():
                thread.join()

    def _deliver(self) -> None:
        while (news := self._news.get()) is not None:
            channel, payload = news
            with self._lock:
                crowd = list(self._listeners.get(channel, ()))
            for on_message in crowd:
                try:
                    on_message(payload)
                except Exception:  # noqa: BLE001 - a listener's own mistake must not deafen the others
                    _log.exception("store.channels.listener_failed", channel=channel)
